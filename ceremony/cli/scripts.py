"""What is done before the day: ``script render``, ``script show`` and ``plan tbs``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from ceremony.cli.plans import plan
from ceremony.conduct.amend import read_plan
from ceremony.conduct.directory import CeremonyDirectory
from ceremony.conduct.scripting import record_script
from ceremony.crosscert import read_other_root
from ceremony.document.script_html import script_html
from ceremony.document.script_pdf import script_pdf
from ceremony.foresight import AtHand, Foreseen, foresee, known_beforehand
from ceremony.intermediate import SigningRequest, read_request
from ceremony.plan import FIRST_ROOT, Plan
from ceremony.plan.lists import revocable
from ceremony.script import Script, Step, build_script
from ceremony.script_evidence import rendered
from shared import durable, terminal
from shared.clock import SystemClock
from shared.command import Group
from shared.crossing import qr
from shared.crossing.bundle import Purpose
from shared.crossing.transfer import read_bundle
from shared.crossing.words import digest_words
from shared.errors import RequestRejected
from shared.keys import CaPublicKey, check_ca_key, fingerprint
from shared.pem import load_certificate

_PATH = click.Path(path_type=Path)
_Command = Callable[..., Any]


def _known_options(command: _Command) -> _Command:
    for option in (
        click.option("--plan", "plan_file", type=_PATH, required=True, help="The plan that was agreed on."),
        click.option(
            "--dir",
            "directory",
            type=_PATH,
            help="A ceremony that began: what was signed there is known.",
        ),
        click.option(
            "--request", "requests", type=_PATH, multiple=True, help="A request bundle, or a QR image of it. Repeat it."
        ),
        click.option(
            "--other-root", "other_roots", type=_PATH, multiple=True, help="Another CA's root to be cross-certified."
        ),
        click.option("--public-key", type=_PATH, help="The root's public key in PEM, when it exists before root.crt."),
    ):
        command = option(command)
    return command


def _only_option(command: _Command) -> _Command:
    return click.option(
        "--act",
        "only",
        multiple=True,
        help="Only this act of the plan, such as crl:yearly; repeat it for a day's acts.",
    )(command)


@plan.command("tbs")
@_known_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def plan_tbs(*, plan_file: Path, as_json: bool, **known: Any) -> None:
    """Compute what will be signed: the SHA-256 of every TBSCertificate that can be known before the day.

    Serial and not_before must be fixed in the plan, and the keys known. What cannot be known is listed with what is
    missing. On the day, the screen shows the same digests before anything is signed.

    \b
    Example:
      ceremony plan tbs --plan plan.toml --dir root-2026 --request request.bundle
    """
    found = _plan(plan_file, known["directory"])
    foreseen = foresee(found, _at_hand(found, **known))
    if as_json:
        terminal.result_json([_foreseen_json(each) for each in foreseen])
        return
    for each in foreseen:
        terminal.result(f"{each.act!s:28}{each.file}".rstrip())
        if each.digest is not None:
            terminal.result(f"    sha256  {each.digest.hex()}")
            terminal.result(f"    words   {' '.join(digest_words(each.digest))}")
        for missing in each.missing:
            terminal.result(f"    not known: {missing}")


@click.group(cls=Group)
def script() -> None:
    """Print what people work from on the day."""


@script.command("render")
@_known_options
@_only_option
@click.option("--pdf", type=_PATH, help="Write the script as PDF to this new file.")
@click.option("--html", type=_PATH, help="Write the script as one HTML file to this new file.")
@click.option("--record", is_flag=True, help="Record its digest in the ceremony of --dir; verify draws it again.")
def script_render(
    *,
    plan_file: Path,
    pdf: Path | None,
    html: Path | None,
    only: tuple[str, ...],
    record: bool,
    **known: Any,
) -> None:
    """Print the script: every step with who does what, what is read aloud, and what is expected.

    The same plan, keys and requests give the same bytes. With --dir, --request and --public-key, digests that are
    known beforehand stand in it as words to compare; without, there are places to write them down.

    \b
    Example:
      ceremony script render --plan plan.toml --request request.bundle --pdf script.pdf --html script.html
    """
    if pdf is None and html is None:
        raise click.UsageError("give --pdf FILE or --html FILE, or both")
    found = _plan(plan_file, known["directory"])
    beforehand = known_beforehand(found, _at_hand(found, **known))
    paper, facts = rendered(found, beforehand, only)
    directory = known["directory"]
    if record and directory is None:
        raise click.UsageError("--record needs --dir, the ceremony that the script is for")
    with durable.Staging() as staging:
        for path, draw in ((pdf, script_pdf), (html, script_html)):
            if path is not None:
                staging.add(path, draw(paper))
        if record:
            record_script(CeremonyDirectory(path=directory), SystemClock(), found, facts)
    for path in (pdf, html):
        if path is not None:
            terminal.result(str(path))


@script.command("show")
@click.option("--plan", "plan_file", type=_PATH, required=True, help="The plan that was agreed on.")
@click.option("--dir", "directory", type=_PATH, help="The ceremony that the plan of a later day goes on with.")
@_only_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def script_show(plan_file: Path, directory: Path | None, only: tuple[str, ...], as_json: bool) -> None:
    """Print the steps of the day, and refuse a plan whose acts cannot be done in their order.

    \b
    Example:
      ceremony script show --plan plan.toml
    """
    found = build_script(_plan(plan_file, directory), only=only)
    if as_json:
        terminal.result_json([_step_json(number, step) for number, step in _numbered(found)])
        return
    for place, section in enumerate(found.sections, start=1):
        terminal.result(f"{place}  {section.title}")
        for number, step in _numbered(found):
            if step in section.steps:
                terminal.result(f"   {number:6}[{step.name}] {step.name.heading}")


def _numbered(found: Script) -> list[tuple[str, Step]]:
    return [
        (f"{place}.{number}", step)
        for place, section in enumerate(found.sections, start=1)
        for number, step in enumerate(section.steps, start=1)
    ]


def _step_json(number: str, step: Step) -> dict[str, object]:
    return {
        "number": number,
        "id": step.id,
        "title": step.name.heading,
        "who": step.who,
        "does": list(step.does),
        "says": step.says,
        "command": step.command,
        "announced": step.announced,
        "commits": step.commits,
        "requires": sorted(step.requires),
        "provides": sorted(step.provides),
        "ends": sorted(step.ends),
    }


def _foreseen_json(foreseen: Foreseen) -> dict[str, object]:
    digest = foreseen.digest
    return {
        "act": str(foreseen.act),
        "file": foreseen.file,
        "tbs_sha256": digest.hex() if digest is not None else None,
        "words": list(digest_words(digest)) if digest is not None else [],
        "missing": list(foreseen.missing),
    }


def _at_hand(
    found: Plan,
    *,
    directory: Path | None,
    requests: Sequence[Path],
    other_roots: Sequence[Path],
    public_key: Path | None,
) -> AtHand:
    """Read what the options name, and what lies in a ceremony's directory already."""
    roots, issued = {}, {}
    if directory is not None:
        root_files = {FIRST_ROOT: "root", **{each.name: f"rollover/{each.name}/root" for each in found.rollovers}}
        for name, file in root_files.items():
            if (root := _certificate(directory, file)) is not None:
                roots[name] = root
        for file in revocable(found.intermediates, found.crosses, found.rollovers):
            if (certificate := _certificate(directory, file)) is not None:
                issued[file] = certificate
    return AtHand(
        roots=roots,
        root_key=_public_key(public_key) if public_key is not None else None,
        requests=_requests(found, requests),
        issued=issued,
        other_roots=tuple(_other_root(found, path) for path in other_roots),
    )


def _plan(path: Path, directory: Path | None) -> Plan:
    """Read a plan of any day: one of a later day means something only in its ceremony."""
    place = CeremonyDirectory(path=directory) if directory is not None else None
    return read_plan(durable.read_file(path), place)


def _certificate(directory: Path, stem: str) -> x509.Certificate | None:
    path = directory / f"{stem}.crt"
    return load_certificate(durable.read_file(path), what=path.name) if path.exists() else None


def _other_root(found: Plan, path: Path) -> x509.Certificate:
    data = durable.read_file(path)
    digest = fingerprint(load_certificate(data, what=str(path)))
    planned = next((each for each in found.crosses if each.fingerprint == digest), None)
    if planned is None:
        raise RequestRejected("foresight.other-root", f"{path} is not the root of any planned cross-certificate")
    return read_other_root(planned, data)


def _requests(found: Plan, paths: Sequence[Path]) -> tuple[SigningRequest, ...]:
    """Read bundles: each file is one, and all images together are one."""
    images = [path for path in paths if qr.is_image(durable.read_file(path, limit=qr.LARGEST_IMAGE_BYTES))]
    groups = [[path] for path in paths if path not in images] + ([images] if images else [])
    read = []
    for group in groups:
        bundle, encoded = read_bundle(group, purpose=Purpose.INTERMEDIATE_REQUEST)
        read.append(read_request(found, bundle, encoded))
    return tuple(read)


def _public_key(path: Path) -> CaPublicKey:
    try:
        key = load_pem_public_key(durable.read_file(path, limit=64 << 10))
    except ValueError:
        raise RequestRejected("key.malformed", f"{path} is not a public key in PEM") from None
    return check_ca_key(key, what=f"public key in {path}")
