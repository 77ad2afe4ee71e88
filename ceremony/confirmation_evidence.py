"""What people confirmed, for whoever verifies: which digests were read aloud and typed, by whom, and what was ticked.

Checked; the numbers return in the code.

1. whatever came into the ceremony from outside (a request, another root, a later day's plan) was compared by its digest
   in the very act that took it; in a real ceremony the words were typed, and somebody is named who read them aloud.
   Acts of earlier programs did not record it: nothing is claimed of them;
2. the steps that were ticked on the paper are listed as they were confirmed, and so are the exceptions.

That a person looked is no fact that a machine can check. What is claimed is that the program asked, and what was
answered when.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ceremony.plan_history import PlanHistory
from ceremony.records import ENDINGS, OPENINGS, DigestCheck, Kind, Mode
from ceremony.transcript import Record
from shared.clock import rfc3339
from shared.errors import RequestRejected

_RECORDED_SINCE = 2
"""Format of an act's records from which confirmations stand in them."""
# The record of what was taken, and which of its facts is the digest that was compared.
_COMPARED: Mapping[str, str] = {
    Kind.REQUEST_ACCEPTED: "bundle_sha256",
    Kind.OTHER_ROOT_ACCEPTED: "sha256",
    Kind.PLAN_AMENDED: "sha256",
}


def confirmation_claims(plans: PlanHistory, records: Sequence[Record], mode: Mode) -> Iterator[tuple[str, str, str]]:
    """Check the confirmations; yield code, text and evidence of each claim that holds.

    Raises:
        RequestRejected: ``verify.confirmed.*``.
    """
    compared = list(_digests(records, mode))
    for record in compared:
        reader = str(record.body.get("read_by"))
        how = f"read aloud by {reader} ({_role(plans, record, reader)}) and typed"
        if record.body.get("how") == DigestCheck.REHEARSED:
            how = "shown, as in a rehearsal that runs by itself"
        yield (
            "digest-confirmed",
            f"the digest of the {record.body.get('what')} was {how}",
            f"sha256 {record.body.get('sha256')}, record {record.seq}, {rfc3339(record.time)}",
        )
    # 2.
    steps = [record for record in records if record.kind == Kind.STEP_CONFIRMED]
    facts = [record for record in records if record.kind == Kind.FACT_CONFIRMED]
    if steps or facts:
        typists = sorted({str(record.body.get("typed_by")) or "somebody" for record in (*steps, *facts)})
        yield (
            "steps-confirmed",
            f"{len(steps)} steps and {len(facts)} questions were confirmed at the machine by {', '.join(typists)}",
            ", ".join(f"{record.body.get('number')} in record {record.seq}" for record in steps) or "no steps",
        )
    exceptions = [record for record in records if record.kind == Kind.EXCEPTION]
    if exceptions:
        yield (
            "exceptions",
            f"{len(exceptions)} exceptions were recorded: read each one",
            "; ".join(
                f"{each.body.get('number')} at {each.body.get('step')}, by {each.body.get('by')}, record {each.seq}"
                for each in exceptions
            ),
        )


def _digests(records: Sequence[Record], mode: Mode) -> Iterator[Record]:
    # 1.
    opening: Record | None = None
    confirmed: dict[str, Record] = {}
    for record in records:
        if record.kind in OPENINGS:
            opening, confirmed = record, {}
        elif record.kind in ENDINGS:
            opening = None
        elif record.kind == Kind.DIGEST_CONFIRMED:
            _check_digest(record, mode)
            confirmed[str(record.body.get("sha256"))] = record
            yield record
        elif record.kind in _COMPARED and opening is not None and _recorded(opening):
            digest = str(record.body.get(_COMPARED[record.kind]))
            if digest not in confirmed:
                raise _false("digest", f"nobody compared the digest of what record {record.seq} took")


def _recorded(opening: Record) -> bool:
    version = opening.body.get("format")
    return isinstance(version, int) and version >= _RECORDED_SINCE


def _check_digest(record: Record, mode: Mode) -> None:
    # 1.
    typed = record.body.get("how") == DigestCheck.TYPED and record.body.get("read_by")
    if not typed and (mode is Mode.REAL or record.body.get("how") != DigestCheck.REHEARSED):
        raise _false("digest", f"record {record.seq} tells of a comparison that nobody made")


def _role(plans: PlanHistory, record: Record, name: str) -> str:
    plan = plans.at(record.seq)
    people = {
        **dict.fromkeys(plan.shares.custodians, "custodian"),
        **dict.fromkeys(plan.roles.witnesses, "witness"),
        plan.roles.auditor: "auditor",
        plan.roles.administrator: "administrator",
    }
    return people.get(name, "whom the plan does not name")


def _false(claim: str, why: str) -> RequestRejected:
    return RequestRejected(f"verify.confirmed.{claim}", f"this ceremony does not verify: {why}")
