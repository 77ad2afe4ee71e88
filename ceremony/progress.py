"""How far a day has come: each act of the plan in force, and whether the record shows it done.

Invariant: an act is done when one of its openings came to a good end since the plan took over; nothing else counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ceremony.plan import ActKind, PlannedAct
from ceremony.plan_history import PlanDay
from ceremony.records import ENDINGS, OPENINGS, Kind
from ceremony.transcript import Record


class State(StrEnum):
    """What became of a planned act."""

    DONE = "done"
    OPEN = "open"
    """It was begun, and its program is gone or still runs."""
    BROKEN = "broken off"
    """It was tried, and can be tried again."""
    TO_DO = "to do"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One act of the day."""

    act: PlannedAct
    state: State


def progress_of(day: PlanDay, records: Sequence[Record]) -> tuple[Progress, ...]:
    """Return every act of a day with its state.

    Args:
        day: the plan in force.
        records: of the ceremony, verified.
    """
    states: dict[str, State] = {}
    for name, ending in _tries(records):
        # The act that brings the plan is opened before the plan holds.
        if ending is not None and ending.seq < day.since:
            continue
        before = states.get(name, State.TO_DO)
        if ending is None:
            states[name] = State.OPEN
        elif ending.kind == Kind.ACT_CLOSED:
            states[name] = State.DONE
        elif before is not State.DONE:
            states[name] = State.BROKEN
    if states.get(ActKind.AMEND) is State.BROKEN:
        # However its act ended: the plan is in force.
        states[ActKind.AMEND] = State.DONE
    return tuple(Progress(act=act, state=states.get(str(act), State.TO_DO)) for act in day.plan.acts)


def _tries(records: Sequence[Record]) -> Iterator[tuple[str, Record | None]]:
    """Return each time that an act was opened, in the plan's spelling, with its end."""
    opening: Record | None = None
    issued = ""
    for record in records:
        if record.kind in OPENINGS:
            opening, issued = record, ""
        elif record.kind == Kind.CERTIFICATE_ISSUED:
            issued = str(record.body.get("file")).removesuffix(".crt")
        elif record.kind in ENDINGS and opening is not None:
            yield _name(opening, issued), record
            opening = None
    if opening is not None:
        yield _name(opening, issued), None


def _name(opening: Record, issued: str) -> str:
    act, name = str(opening.body.get("act")), opening.body.get("name")
    # Openings of intermediates did not name theirs at first.
    if not name and act == ActKind.INTERMEDIATE:
        name = issued
    return f"{act}:{name}" if name else act
