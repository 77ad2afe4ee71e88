"""The plan: ``plan new``, ``plan check``, ``plan amend``, and the rehearsal of the last."""

from __future__ import annotations

from pathlib import Path

import click

from ceremony.cli.dry_runs import dry_run_option, show_dry_run
from ceremony.cli.options import at_terminal, dir_option, rehearsed_option, scene, show_head
from ceremony.conduct.amend import amend, check_day, read_plan
from ceremony.conduct.directory import CeremonyDirectory
from ceremony.conduct.dry_amend import dry_run_amendment
from ceremony.conduct.setting import Scene
from ceremony.crl import check_fixed
from ceremony.paper import check_papers
from ceremony.plan import EXAMPLE, Plan, next_day
from ceremony.records import Mode
from ceremony.script import build_script
from ceremony.terminal import Rehearsing
from shared import durable, terminal
from shared.command import Group
from shared.crossing.words import digest_words
from shared.names import common_name_of, format_name

_PATH = click.Path(path_type=Path)
_begun_option = click.option("--dir", "directory", type=_PATH, help="The ceremony of a later day's plan.")


@click.group(cls=Group)
def plan() -> None:
    """Write, check and compare the plan: the one reviewed input of a ceremony."""


@plan.command("new")
@_begun_option
def plan_new(directory: Path | None) -> None:
    """Print a plan to start from: `ceremony plan new > plan.toml`.

    With --dir, the plan of another day of that ceremony, with the digest of the plan in force.

    \b
    Example:
      ceremony plan new --dir root-2026 > plan-2.toml
    """
    if directory is None:
        terminal.result(EXAMPLE.rstrip("\n"))
        return
    place = CeremonyDirectory(path=directory)
    terminal.result(next_day(place.load_plans(place.load_records()).current).rstrip("\n"))


@plan.command("check")
@click.argument("file", type=_PATH)
@_begun_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def plan_check(file: Path, directory: Path | None, as_json: bool) -> None:
    """Check a plan and print what it says, with the digest words that everybody compares.

    With --dir, the plan of a later day is checked against the ceremony that it goes on with.

    \b
    Example:
      ceremony plan check plan.toml
    """
    place = CeremonyDirectory(path=directory) if directory is not None else None
    found = read_plan(durable.read_file(file), place)
    build_script(found)
    check_fixed(found)
    check_papers(
        title=found.title,
        root_name=common_name_of(found.root.subject),
        custodians=found.shares.custodians,
        groups=[group.name for group in found.shares.groups],
    )
    if place is not None and found.previous is not None:
        check_day(found, place.load_records())
    if as_json:
        terminal.result_json(_plan_json(found))
        return
    terminal.result(f"title       {found.title}")
    terminal.result(f"root        {format_name(found.root.subject)}, {found.root.key}, {found.root.years} years")
    for each in found.intermediates:
        signer = f", signed by the root of {each.issuer}" if each.issuer else ""
        terminal.result(f"intermediate  {format_name(each.subject)}, {each.years} years, {each.file}.crt{signer}")
    shares = found.shares
    terminal.result(f"shares      {shares.describe()}: {', '.join(shares.custodians)}")
    terminal.result(f"acts        {', '.join(map(str, found.acts))}")
    if found.previous is not None:
        terminal.result(f"day         {found.number}")
        terminal.result(f"follows     {found.previous.hex()}")
    terminal.result(f"sha256      {found.digest.hex()}")
    terminal.result(f"words       {' '.join(digest_words(found.digest))}")


@plan.command("amend")
@dir_option
@rehearsed_option
@dry_run_option
@click.argument("file", type=_PATH)
def plan_amend(directory: Path, file: Path, *, rehearsed: Path | None, dry_run: bool) -> None:
    """Begin another day of a real ceremony: FILE becomes its plan.

    FILE names the plan before it by its digest, and lists what is done from now on. Its words are read aloud from a
    paper and typed. No HSM and no share is needed; the acts that follow need both.

    \b
    Example:
      ceremony plan amend --dir root-2026 plan-2.toml
    """
    _amend(scene(directory, Mode.REAL, at_terminal(), rehearsed=rehearsed), file, dry_run=dry_run)


@click.command("amend")
@dir_option
@dry_run_option
@click.argument("file", type=_PATH)
def rehearse_amend(directory: Path, file: Path, *, dry_run: bool) -> None:
    """Rehearse another day: FILE becomes its plan.

    \b
    Example:
      ceremony rehearse amend --dir practice plan-2.toml
    """
    _amend(scene(directory, Mode.REHEARSAL, Rehearsing()), file, dry_run=dry_run)


def _amend(here: Scene, file: Path, *, dry_run: bool) -> None:
    data = durable.read_file(file)
    if dry_run:
        show_dry_run(dry_run_amendment(here, data))
        return
    made = amend(here, data)
    show_head(made.head)
    terminal.result(str(here.directory.path / made.file))


def _plan_json(found: Plan) -> dict[str, object]:
    return {
        "title": found.title,
        "root": {"subject": format_name(found.root.subject), "key": found.root.key, "years": found.root.years},
        "intermediates": [
            {"subject": format_name(each.subject), "years": each.years, "file": f"{each.file}.crt"}
            for each in found.intermediates
        ],
        "shares": {
            "group_threshold": found.shares.group_threshold,
            "groups": [
                {"name": group.name, "threshold": group.threshold, "custodians": list(group.custodians)}
                for group in found.shares.groups
            ],
        },
        "acts": [str(act) for act in found.acts],
        "number": found.number,
        "previous": found.previous.hex() if found.previous is not None else None,
        "sha256": found.digest.hex(),
        "words": list(digest_words(found.digest)),
    }
