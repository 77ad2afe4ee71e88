"""Exceptions: what went otherwise than the script says, recorded where everything else is.

An exception stands between the acts: while an act runs, its program alone writes the transcript. People stop, write
on an exception sheet, decide, finish or end the act, and record the sheet then.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from ceremony.conduct.directory import CeremonyDirectory, open_journal
from ceremony.records import Kind
from shared import names
from shared.clock import Clock
from shared.errors import RequestRejected

_LONGEST_TEXT = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """What stands on an exception sheet. No secret: the record is published.

    Raises:
        RequestRejected: ``exception.malformed`` for a text that is empty, too long or not printable.
    """

    step: str
    """The step's number or name on the script, such as ``2.3`` or ``hsm.initialised``."""
    expected: str
    happened: str
    decided: str
    by: str
    """Who decided."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = str(getattr(self, field.name))
            if not value.strip() or names.printable(value, limit=_LONGEST_TEXT) != value:
                raise RequestRejected(
                    "exception.malformed",
                    f"{field.name}: 1 to {_LONGEST_TEXT} visible characters are wanted",
                    hint="one line for each; the sheet holds the rest",
                )


def record_exception(directory: CeremonyDirectory, clock: Clock, deviation: Deviation, *, interrupted: bool) -> int:
    """Append an exception to the transcript of a ceremony.

    Args:
        directory: the ceremony's.
        clock: gives the record its time.
        deviation: what happened.
        interrupted: whether the act that is still open in the transcript is known to be dead: its program was killed.

    Returns:
        The exception's number, from 1.

    Raises:
        RequestRejected: ``exception.act-open`` while an act is open; ``transcript.*``.
        StoreFailed: ``transcript.in-use`` or ``file.write-failed``.
    """
    journal = open_journal(directory, clock)
    inside = journal.abandoned()
    if inside is not None and not interrupted:
        raise RequestRejected(
            "exception.act-open",
            f"the act {inside} is open: while it runs, it alone writes the record",
            hint="finish or end it first; when its program is dead, add --interrupted",
        )
    number = len(journal.find(Kind.EXCEPTION)) + 1
    facts = {field.name: str(getattr(deviation, field.name)) for field in fields(deviation)}
    journal.append(Kind.EXCEPTION, {"number": number, **facts})
    return number
