"""What the record shows about the machines, for whoever verifies: each act looked at its host, and found it fit.

Checked: every act records what it found of its host, and one that was resumed did so again; in a real ceremony nothing
failed, and nothing could not be found out. Later acts of earlier programs looked without recording it: nothing is
claimed of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ceremony.host import Check, Status
from ceremony.records import OPENINGS, Kind, Mode
from ceremony.transcript import Record
from shared.errors import RequestRejected

_RECORDED_SINCE = 2
"""Format of an act's records from which later acts record their host, too."""


def host_claims(records: Sequence[Record], mode: Mode) -> Iterator[tuple[str, str]]:
    """Check what was found of the hosts; yield each claim that holds with what shows it.

    Raises:
        RequestRejected: ``verify.host``.
    """
    looked = [record for record in records if record.kind in {Kind.HOST_CHECKED, Kind.ACT_RESUMED}]
    for record in looked:
        if mode is Mode.REAL and (bad := _bad(record)):
            raise _false(f"the host of record {record.seq} was not fit: {', '.join(bad)}")
    for place, record in enumerate(records):
        version = record.body.get("format")
        recorded = record.kind == Kind.GENESIS or (isinstance(version, int) and version >= _RECORDED_SINCE)
        if record.kind in OPENINGS and recorded and not _followed(records[place + 1 :]):
            raise _false(f"the act of record {record.seq} does not say what its host was like")
    where = "and nothing failed" if mode is Mode.REAL else "as a rehearsal may run anywhere, whatever was found"
    yield (
        f"the host was looked at {len(looked)} times, {where}",
        f"records {', '.join(str(each.seq) for each in looked)}",
    )


def _followed(after: Sequence[Record]) -> bool:
    """Tell whether the look comes next; an act that was killed right at its opening is closed without one."""
    for record in after:
        if record.kind in {Kind.HOST_CHECKED, Kind.ACT_RESUMED, Kind.ACT_ABANDONED, Kind.ACT_FAILED}:
            return True
        if record.kind not in {Kind.FACT_CONFIRMED, Kind.STEP_CONFIRMED, Kind.EXCEPTION}:
            return False
    return False


def _bad(record: Record) -> list[str]:
    findings = record.body.get("findings")
    if not isinstance(findings, list) or not findings:
        return ["nothing was recorded"]
    return [
        str(each.get("check")) if isinstance(each, Mapping) else "?"
        for each in findings
        if not isinstance(each, Mapping)
        # As in ``host.breaches``: without swap, which is its own check, nothing can be swapped out.
        or (each.get("status") != Status.PASS and each.get("check") != Check.MEMORY_LOCK)
    ]


def _false(why: str) -> RequestRejected:
    return RequestRejected("verify.host", f"this ceremony does not verify: {why}")
