"""The plans of a ceremony, day by day, told from its transcript and the files beside it.

The first day's plan is ``plan.toml``. Each later day has one of its own, ``plans/0002.toml`` and on, which names the
plan before by its digest; it takes over with the record that names it. Whatever is done follows the plan that was in
force then.

Invariant: a plan in hand has the digest that the record names, and was read with what the record showed at that
moment: whose shares lived, and which acts were begun. The first plan's digest stands in the first record; who uses it
compares it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ceremony.plan import ActKind, Plan, Standing, amend_plan, load_plan
from ceremony.records import OPENINGS, Kind
from ceremony.share_history import ShareHistory
from ceremony.transcript import Record
from shared.errors import RequestRejected

FIRST_FILE = "plan.toml"
FOLDER = "plans"


def plan_file(number: int) -> str:
    """Return where the plan of a day lies, relative to the ceremony's directory.

    Args:
        number: counts the days from 1.
    """
    return FIRST_FILE if number == 1 else f"{FOLDER}/{number:04}.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanDay:
    """One plan, and since when it holds."""

    plan: Plan
    file: str
    since: int
    """Number of the record from which it holds."""


class PlanHistory:
    """The plans of a ceremony. Read one with ``read_plans``."""

    def __init__(self, days: Sequence[PlanDay]) -> None:
        """Hold the plans of all days, the first one first."""
        self.days = tuple(days)

    @classmethod
    def of(cls, plan: Plan) -> PlanHistory:
        """Return the plans of a ceremony that has only its first day."""
        return cls([PlanDay(plan=plan, file=FIRST_FILE, since=0)])

    @property
    def first(self) -> Plan:
        """The plan of the first day."""
        return self.days[0].plan

    @property
    def current(self) -> Plan:
        """The plan in force."""
        return self.days[-1].plan

    def at(self, seq: int) -> Plan:
        """Return the plan that was in force when a record was written."""
        return next(day.plan for day in reversed(self.days) if day.since <= seq)

    def find(self, digest: bytes) -> Plan | None:
        """Return the plan of a digest, when it is one of these."""
        return next((day.plan for day in self.days if day.plan.digest == digest), None)


def read_plans(records: Sequence[Record], read: Callable[[str], bytes]) -> PlanHistory:
    """Read the plans of a ceremony.

    Args:
        records: of the ceremony, verified as a chain.
        read: returns the bytes of a file in the ceremony's directory.

    Raises:
        RequestRejected: ``plan.*``; ``plan.not-recorded`` for a file that is not the plan of its record.
    """
    days = [PlanDay(plan=load_plan(read(FIRST_FILE)), file=FIRST_FILE, since=0)]
    for record in records:
        if record.kind != Kind.PLAN_AMENDED:
            continue
        file = plan_file(len(days) + 1)
        plan = amend_plan(days[-1].plan, read(file), standing(records[: record.seq]))
        if record.body != amendment_facts(plan):
            raise RequestRejected("plan.not-recorded", f"{file} is not the plan of record {record.seq}")
        days.append(PlanDay(plan=plan, file=file, since=record.seq))
    return PlanHistory(days)


def amendment_facts(plan: Plan) -> dict[str, str | int]:
    """Return what is recorded of a plan that takes over.

    Args:
        plan: of a later day.
    """
    assert plan.previous is not None
    return {
        "number": plan.number,
        "file": plan_file(plan.number),
        "title": plan.title,
        "sha256": plan.digest.hex(),
        "previous": plan.previous.hex(),
    }


def standing(records: Sequence[Record]) -> Standing:
    """Return how far a ceremony came.

    Args:
        records: up to the moment.

    Raises:
        RequestRejected: ``ceremony.incomplete`` when no shares were ever dealt; ``share.bad-history``.
    """
    live = ShareHistory(records).live
    if live is None:
        raise RequestRejected("ceremony.incomplete", "the root act of this ceremony did not finish")
    begun = set()
    for record in records:
        body = record.body
        if record.kind in OPENINGS and body.get("name"):
            begun.add(f"{body.get('act')}:{body.get('name')}")
        elif record.kind == Kind.CERTIFICATE_PREPARED:
            # Openings of intermediates did not name theirs at first.
            begun.add(f"{ActKind.INTERMEDIATE}:{str(body.get('file')).removesuffix('.crt')}")
    return Standing(dealt_by=live.act, begun=frozenset(begun))
