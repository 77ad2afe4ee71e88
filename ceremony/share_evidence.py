"""What the transcript shows about the shares, for whoever verifies: plan kept, quorums proven, sheets read back.

Checked for each set that ever unlocked the HSM; the numbers return in the code.

1. its groups are the planned ones, and every quorum was proven;
2. each custodian got a sheet of their own and read it back, before the set unlocked anything; in a real ceremony
   its file was removed;
3. the HSM was only ever unlocked by a quorum of the set that was live then;
4. where a set took the place of another: a quorum of its sheets was put together first, and the other one was
   declared dead afterwards. A rotation that was interrupted and not finished is no state to leave a root in.

A set that was dealt and given up before it unlocked anything is told, and proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ceremony.plan import SharesPlan
from ceremony.plan_history import PlanHistory
from ceremony.records import Kind, Mode, Retirement
from ceremony.share_history import DealtSet, ShareHistory
from ceremony.transcript import Record
from shared.errors import RequestRejected


def share_claims(plans: PlanHistory, records: Sequence[Record], mode: Mode) -> Iterator[tuple[str, str]]:
    """Check the shares; yield each claim that holds with what shows it.

    Raises:
        RequestRejected: ``verify.shares-dealt``, ``verify.shares.*``, ``share.bad-history`` or
            ``share.bad-commitments``.
    """
    history = ShareHistory(records)
    if history.live is None:
        raise _false("shares-dealt", "no shares were dealt")
    # 4.
    if history.replacing is not None:
        raise _false("shares.rotation", "a rotation was interrupted: nobody knows which set unlocks the HSM")
    unlocked = [record for record in records if record.kind == Kind.QUORUM_UNLOCKED]
    for record in unlocked:
        _check_quorum(record, history.live_at(record.seq))
    for dealt in history.dealt:
        why = history.retired(dealt)
        if dealt is not history.live and why is not Retirement.REPLACED:
            if any(_makes_live(record, dealt) for record in records):
                raise _false("shares.retired", f"the set {dealt.set_id} was replaced and never declared dead")
            yield f"the set of {dealt.act} was given up before it unlocked anything", f"set {dealt.set_id}"
            continue
        yield _check_set(plans, records, mode, dealt, unlocked)
    for record in records:
        if record.kind == Kind.PINS_REPLACED:
            yield _check_replaced(records, record)


def _check_set(
    plans: PlanHistory, records: Sequence[Record], mode: Mode, dealt: DealtSet, unlocked: Sequence[Record]
) -> tuple[str, str]:
    # 1.
    planned = _planned(plans, dealt)
    shape = dealt.commitments.shape
    if shape != planned.shape:
        raise _false("shares.plan", f"the shares of {dealt.act} are not as planned")
    if dealt.quorums_proven != shape.quorums:
        raise _false("shares.proven", "not every quorum was proven")
    # 2.
    holders = list(zip(shape.sheets(), planned.custodians, strict=True))
    until = next((each.seq for each in records if _makes_live(each, dealt)), records[-1].seq + 1)
    stages = [(Kind.SHEET_WRITTEN, "sheets", "not every custodian has a sheet of their own")]
    stages += [(Kind.SHEET_READ_BACK, "read-back", "not every sheet was read back")]
    if mode is Mode.REAL:
        stages += [(Kind.SHEET_REMOVED, "removed", "not every sheet was removed from the machine")]
    for kind, code, why in stages:
        told = [
            ((each.body.get("index"), each.body.get("copy")), each.body.get("custodian"))
            for each in _of(records, kind, dealt, until)
        ]
        if told != holders:
            raise _false(f"shares.{code}", why)
    summed = [each.body.get("indexes") for each in _of(records, Kind.SHARES_READ_BACK, dealt, until)]
    if summed != [[index for index, _ in shape.sheets()]]:
        raise _false("shares.read-back", "not every sheet was read back")
    times = sum(1 for each in unlocked if each.body.get("set_id") == dealt.set_id)
    proven = f"{dealt.quorums_proven} quorums proven, every sheet read back"
    text = f"{shape.describe()} unlock the HSM: {proven}, unlocked {times} times"
    return text, f"set {dealt.set_id}, record {dealt.record.seq}"


def _check_quorum(record: Record, live: DealtSet | None) -> None:
    # 3.
    indexes = record.body.get("indexes")
    if (
        live is None
        or record.body.get("set_id") != live.set_id
        or not isinstance(indexes, list)
        or not live.commitments.shape.quorum(indexes)
    ):
        raise _false("shares.quorum", f"record {record.seq} unlocked the HSM without a quorum of the set that was live")


def _check_replaced(records: Sequence[Record], replaced: Record) -> tuple[str, str]:
    # 4.
    before, after = replaced.body.get("from_set"), replaced.body.get("to_set")
    recombined = [
        each
        for each in records[: replaced.seq]
        if each.kind == Kind.QUORUM_RECOMBINED and each.body.get("set_id") == after
    ]
    if not recombined:
        raise _false("shares.recombined", f"no quorum of the set {after} was put together before it took over")
    refused = replaced.body.get("old_pins")
    how = "its PINs were tried and refused" if refused == "refused" else "its PINs were replaced, and not tried again"
    return f"the set {before} is dead: {how}", f"replaced by the set {after}, record {replaced.seq}"


def _planned(plans: PlanHistory, dealt: DealtSet) -> SharesPlan:
    if dealt.act == "root":
        return plans.first.shares
    for rotation in plans.at(dealt.record.seq).rotations:
        if dealt.act == f"rotate:{rotation.name}":
            return rotation.shares
    raise _false("shares.plan", f"the plan knows no act {dealt.act!r} that deals shares")


def _makes_live(record: Record, dealt: DealtSet) -> bool:
    if dealt.act == "root":
        return record.kind == Kind.TOKEN_INITIALISED
    return record.kind == Kind.PINS_REPLACED and record.body.get("to_set") == dealt.set_id


def _of(records: Sequence[Record], kind: Kind, dealt: DealtSet, until: int) -> list[Record]:
    return [
        each
        for each in records[dealt.record.seq : until]
        if each.kind == kind and each.body.get("set_id") == dealt.set_id
    ]


def _false(claim: str, why: str) -> RequestRejected:
    return RequestRejected(f"verify.{claim}", f"this ceremony does not verify: {why}")
