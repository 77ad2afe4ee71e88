"""What the record shows about the machines, for whoever verifies: each act looked at its host, and found it fit.

Checked: every act records what it found of its host, and one that was resumed did so again; in a real ceremony nothing
failed, and nothing could not be found out, but for what a plan of this ceremony accepted word for word. Later acts of
earlier programs looked without recording it: nothing is claimed of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ceremony.host import Check, Status
from ceremony.plan import AcceptedFinding
from ceremony.plan_history import PlanHistory
from ceremony.records import OPENINGS, Kind, Mode
from ceremony.transcript import Record
from shared.errors import RequestRejected

_RECORDED_SINCE = 2
"""Format of an act's records from which later acts record their host, too."""


def host_claims(plans: PlanHistory, records: Sequence[Record], mode: Mode) -> Iterator[tuple[str, str]]:
    """Check what was found of the hosts; yield each claim that holds with what shows it.

    Raises:
        RequestRejected: ``verify.host``.
    """
    looked = [record for record in records if record.kind in {Kind.HOST_CHECKED, Kind.ACT_RESUMED}]
    planned = {(each.check.value, each.finding): each for day in plans.days for each in day.plan.accepted}
    used: set[str] = set()
    for record in looked:
        if mode is Mode.REAL and (bad := _bad(record, planned, used)):
            raise _false(f"the host of record {record.seq} was not fit: {', '.join(bad)}")
    for place, record in enumerate(records):
        version = record.body.get("format")
        recorded = record.kind == Kind.GENESIS or (isinstance(version, int) and version >= _RECORDED_SINCE)
        if record.kind in OPENINGS and recorded and not _followed(records[place + 1 :]):
            raise _false(f"the act of record {record.seq} does not say what its host was like")
    fit = "and nothing failed" + (" but what a plan accepted" if used else "")
    where = fit if mode is Mode.REAL else "as a rehearsal may run anywhere, whatever was found"
    yield (
        f"the host was looked at {len(looked)} times, {where}",
        f"records {', '.join(str(each.seq) for each in looked)}",
    )
    for each in sorted(used):
        yield f"a finding was accepted by the plan: {each}", "the plan's digest, and the records of these looks"


def _followed(after: Sequence[Record]) -> bool:
    """Tell whether the look comes next; an act that was killed right at its opening is closed without one."""
    for record in after:
        if record.kind in {Kind.HOST_CHECKED, Kind.ACT_RESUMED, Kind.ACT_ABANDONED, Kind.ACT_FAILED}:
            return True
        if record.kind not in {Kind.FACT_CONFIRMED, Kind.STEP_CONFIRMED, Kind.EXCEPTION, Kind.TRANSCRIPT_MENDED}:
            return False
    return False


def _bad(record: Record, planned: Mapping[tuple[str, str], AcceptedFinding], used: set[str]) -> list[str]:
    """Name the checks that did not pass and that nobody accepted; note what was accepted."""
    findings, found = _rows(record, "findings"), []
    if not findings:
        return ["nothing was recorded"]
    said = {(str(row.get("check")), str(row.get("finding"))) for row in _rows(record, "accepted")}
    for row in findings:
        check, place = str(row.get("check")), (str(row.get("check")), str(row.get("detail")))
        # As in ``host.breaches``: without swap, which is its own check, nothing can be swapped out.
        if row.get("status") == Status.PASS or check == Check.MEMORY_LOCK:
            continue
        if place in planned and place in said:
            used.add(str(planned[place]))
        else:
            found.append(check)
    return found


def _rows(record: Record, name: str) -> list[Mapping[str, object]]:
    rows = record.body.get(name)
    # What has another form is a finding of no check, which did not pass.
    return [row if isinstance(row, Mapping) else {} for row in rows] if isinstance(rows, list) else []


def _false(why: str) -> RequestRejected:
    return RequestRejected("verify.host", f"this ceremony does not verify: {why}")
