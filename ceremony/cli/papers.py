"""The commands that change nothing: ``host``, ``transcript``, ``verify``."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from ceremony import host as host_room
from ceremony import verify as verify_room
from ceremony.conduct.directory import CeremonyDirectory
from ceremony.plan import load_plan, not_accepted
from ceremony.records import Mode
from ceremony.transcript import LIMIT_BYTES, verify_chain
from shared import durable, terminal
from shared.clock import SystemClock, rfc3339
from shared.command import Group
from shared.crossing.words import digest_words, parse_words
from shared.errors import PolicyDenied, RequestRejected

_PATH = click.Path(path_type=Path)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


@click.group(cls=Group)
def host() -> None:
    """Look at this machine: is it fit for a ceremony?"""


@host.command("check")
@click.option("--rehearsal", is_flag=True, help="Report breaches and exit 0: a rehearsal may run anywhere.")
@click.option("--utc", metavar="TIME", help="The time by somebody's watch, as 2026-11-24T08:30.")
@click.option("--dir", "directory", type=_PATH, help="A ceremony that began: the clock must be past its last record.")
@click.option("--plan", "plan_file", type=_PATH, help="A plan: what it accepts of the machine is no breach.")
@_json_option
def host_check(
    *, rehearsal: bool, utc: str | None, directory: Path | None, plan_file: Path | None, as_json: bool
) -> None:
    """Check this machine, this process and this installation. Unknown counts as a breach.

    Network, routes, radios, USB; swap, hibernation, disks mounted for writing; dumps and tracing; the clock against the
    hardware's, a person's and the last record's; every installed file against its record. What a plan accepts of the
    machine (--plan, or the plan in force in --dir) is no breach.
    Exits 1 when the machine is not fit, unless --rehearsal is given.

    \b
    Example:
      ceremony host check --utc 2026-11-24T08:30 --dir root-2026
    """
    stated = host_room.parse_stated_time(utc) if utc is not None else None
    accepted = load_plan(durable.read_file(plan_file)).accepted if plan_file is not None else ()
    not_before = host_room.BUILT
    if directory is not None:
        place = CeremonyDirectory(path=directory)
        records = place.load_records()
        not_before = records[-1].time
        accepted += place.load_plans(records).current.accepted
    host_room.harden_process()
    clock = SystemClock()
    findings = host_room.check_host(clock=clock, not_before=not_before)
    if stated is not None:
        findings = (*findings, host_room.check_stated_time(clock.now(), stated))
    if as_json:
        terminal.result_json([finding.to_json() for finding in findings])
    else:
        for finding in findings:
            terminal.result(f"{finding.status.value:8}{finding.check.value:16}{finding.detail}")
    breaches = not_accepted(findings, accepted)
    if breaches and not rehearsal:
        named = ", ".join(finding.check.value for finding in breaches)
        raise PolicyDenied("host.not-fit", f"this host is not fit for a ceremony: {named}", hint="mend what fails")


@click.group(cls=Group)
def transcript() -> None:
    """Read the transcript."""


@transcript.command("show")
@click.argument("directory", type=_PATH)
@_json_option
def transcript_show(directory: Path, as_json: bool) -> None:
    """Verify the chain and print every record."""
    path = CeremonyDirectory(path=directory).transcript
    records = verify_chain(durable.read_file(path, limit=LIMIT_BYTES))
    if as_json:
        terminal.result_json(
            [{"seq": each.seq, "time": rfc3339(each.time), "kind": each.kind, "body": each.body} for each in records]
        )
        return
    for each in records:
        terminal.result(f"{each.seq:4} {rfc3339(each.time)} {each.kind}")
        for name, value in each.body.items():
            terminal.result(f"       {name}: {value}")


@transcript.command("head")
@click.argument("directory", type=_PATH)
def transcript_head(directory: Path) -> None:
    """Print the head digest in hex and in words: what the witnesses copied by hand."""
    path = CeremonyDirectory(path=directory).transcript
    head = verify_chain(durable.read_file(path, limit=LIMIT_BYTES))[-1].digest
    terminal.result(head.hex())
    terminal.result(" ".join(digest_words(head)))


@click.command()
@click.argument("directory", type=_PATH)
@click.option("--head", metavar="WORDS|HEX", help="The head digest from the witnesses' paper.")
@_json_option
def verify(directory: Path, head: str | None, as_json: bool) -> None:
    """Verify a finished ceremony: no HSM, no shares, no network.

    Prints each claim with what shows it, and exits 1 at the first that does not hold.

    \b
    Example:
      ceremony verify root-2026 --head "adroitness adviser …"
    """
    expected = _head(head) if head is not None else None

    def report(claim: verify_room.Claim) -> None:
        if not as_json:
            terminal.result(f"ok  {claim.text}\n      {claim.evidence}")

    verdict = verify_room.verify(directory, expected_head=expected, report=report)
    words = digest_words(verdict.head)
    if as_json:
        claims = [{"code": each.code, "text": each.text, "evidence": each.evidence} for each in verdict.claims]
        terminal.result_json({"mode": verdict.mode, "head": verdict.head.hex(), "words": list(words), "claims": claims})
        return
    terminal.result(f"verified: {len(verdict.claims)} claims; head of the transcript:\n  {' '.join(words)}")
    if verdict.mode is Mode.REHEARSAL:
        terminal.warn("this was a rehearsal: nobody may trust this root")


def _head(text: str) -> bytes:
    words = text.split()
    if len(words) == 1 and len(text) == 64:  # noqa: PLR2004 (hex digits of SHA-256)
        with contextlib.suppress(ValueError):
            return bytes.fromhex(text)
    elif len(words) == 32:  # noqa: PLR2004 (a word for each byte of SHA-256)
        return parse_words(words)
    raise RequestRejected("head.malformed", "--head is neither 64 hex digits nor 32 digest words")
