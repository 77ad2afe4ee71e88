"""What the record shows about the plans, for whoever verifies: one chain of them, and every act in the plan of its day.

Checked; the numbers return in the code.

1. each later day's plan names the one before by its digest, and is the file of its record (``plan_history`` reads none
   that is not);
2. each act was opened under the plan that was in force, and is one that this plan lists;
3. no plan lies here that no record tells of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ceremony.plan import ActKind, Plan
from ceremony.plan_history import FOLDER, PlanHistory
from ceremony.records import OPENINGS, Act
from ceremony.transcript import Record
from shared.errors import RequestRejected

_UNPLANNED = frozenset({Act.AMEND, Act.INVENTORY})
"""Acts that need no plan: the one that changes it, and the one that looks only."""


def plan_claims(directory: Path, plans: PlanHistory, records: Sequence[Record]) -> Iterator[tuple[str, str]]:
    """Check the plans; yield each claim that holds with what shows it.

    Raises:
        RequestRejected: ``verify.plan.*``.
    """
    for record in records:
        if record.kind in OPENINGS:
            _check_opening(plans.at(record.seq), record)
    # 3.
    known = {day.file for day in plans.days}
    for path in sorted((directory / FOLDER).rglob("*")):
        name = str(path.relative_to(directory))
        if (path.is_symlink() or not path.is_dir()) and name not in known:
            raise _false("unrecorded", f"{name} lies here, and no record tells of it")
    for day in plans.days:
        who = "every act followed" if len(plans.days) == 1 else f"every act of day {day.plan.number} followed"
        follows = f", record {day.since}, and follows {day.plan.previous.hex()}" if day.plan.previous else ""
        yield f"{who} {day.file} ({day.plan.title!r})", f"sha256 {day.plan.digest.hex()}{follows}"


def _check_opening(plan: Plan, record: Record) -> None:
    # 1., 2.
    body, act = record.body, str(record.body.get("act"))
    if body.get("plan") != plan.digest.hex():
        raise _false("digest", f"record {record.seq} followed another plan than the one in force")
    if act in _UNPLANNED:
        return
    planned = [str(each) for each in plan.acts]
    wanted = f"{act}:{body['name']}" if body.get("name") else act
    # Openings of intermediates did not name theirs at first: the certificate is held against the plan elsewhere.
    unnamed = act == Act.INTERMEDIATE and not body.get("name")
    if wanted not in planned and not (unnamed and any(each.kind is ActKind.INTERMEDIATE for each in plan.acts)):
        raise _false("act", f"record {record.seq} opens the act {wanted}, which the plan of its day does not list")


def _false(claim: str, why: str) -> RequestRejected:
    return RequestRejected(f"verify.plan.{claim}", f"this ceremony does not verify: {why}")
