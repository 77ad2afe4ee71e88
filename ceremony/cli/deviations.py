"""What was otherwise: ``exception`` records it, ``compare`` finds it."""

from __future__ import annotations

from pathlib import Path

import click

from ceremony.compare import Watch, compare
from ceremony.conduct.directory import CeremonyDirectory
from ceremony.conduct.exceptions import Deviation, record_exception
from ceremony.transcript import LIMIT_BYTES, Record, verify_chain
from shared import durable, terminal
from shared.clock import SystemClock
from shared.errors import PolicyDenied

_PATH = click.Path(path_type=Path)


def watch_of(rehearsal: Path | None) -> Watch | None:
    """Return what holds a run against the rehearsal in a directory; nothing without one.

    Raises:
        RequestRejected: ``compare.no-rehearsal``, ``transcript.*`` or ``file.*``.
    """
    return Watch(_records(rehearsal)) if rehearsal is not None else None


@click.command("exception")
@click.option("--dir", "directory", type=_PATH, required=True, help="The ceremony's directory.")
@click.option("--step", help="The step's number or name on the script; asked for when it is not given.")
@click.option("--expected", help="What should have happened; asked for.")
@click.option("--happened", help="What happened; asked for.")
@click.option("--decided", help="What was decided, and why it is safe; asked for.")
@click.option("--by", help="Who decided; asked for.")
@click.option("--interrupted", is_flag=True, help="The act that is still open in the record is dead: it was killed.")
def exception(
    *,
    directory: Path,
    step: str | None,
    expected: str | None,
    happened: str | None,
    decided: str | None,
    by: str | None,
    interrupted: bool,
) -> None:
    """Record an exception: something that went otherwise than the script says.

    Fill in an exception sheet first, and copy it here: one line for each question. The number that is printed goes
    onto the sheet. No secret may stand in it; the record is published.

    \b
    Example:
      ceremony exception --dir root-2026
    """

    def asked(value: str | None, question: str) -> str:
        return value if value is not None else terminal.ask_line(question)

    deviation = Deviation(
        step=asked(step, "Step (number or name on the script)"),
        expected=asked(expected, "What was expected"),
        happened=asked(happened, "What happened"),
        decided=asked(decided, "What was decided, and why it is safe"),
        by=asked(by, "Decided by"),
    )
    place = CeremonyDirectory(path=directory)
    number = record_exception(place, SystemClock(), deviation, interrupted=interrupted)
    terminal.say("write this number on the exception sheet:")
    terminal.result(str(number))


@click.command("compare")
@click.argument("rehearsal", type=_PATH)
@click.argument("real", type=_PATH)
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def compare_command(rehearsal: Path, real: Path, as_json: bool) -> None:
    """Compare a real ceremony with its rehearsal, record by record.

    The two may differ in what was declared to vary: times, serial numbers, keys and what follows from them, the
    token, the machine, which custodians came. Everything else must be equal. Prints each difference, and exits 1
    when there is one.

    \b
    Example:
      ceremony compare practice root-2026
    """
    before, after = _records(rehearsal), _records(real)
    differences = compare(before, after)
    if as_json:
        terminal.result_json(
            [{"where": each.where, "rehearsal": each.rehearsal, "real": each.real} for each in differences]
        )
    else:
        for each in differences:
            terminal.result(str(each))
    if differences:
        raise PolicyDenied(
            "compare.differs",
            f"{len(differences)} differences that were not declared",
            hint="each needs an exception that explains it",
        )
    if not as_json:
        terminal.result(f"the {len(after)} records are as rehearsed, except for what was declared to vary")


def _records(directory: Path) -> tuple[Record, ...]:
    path = CeremonyDirectory(path=directory).transcript
    return verify_chain(durable.read_file(path, limit=LIMIT_BYTES))
