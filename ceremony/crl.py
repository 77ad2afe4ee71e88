"""The act of the root's revocation lists, pure: from a plan to prepared lists, one or a calendar of them.

A calendar is a series of lists that are signed in one act and published one after another: the root can sleep while
its lists stay fresh. Each is complete, names CA certificates only (RFC 5280 §5.2.5 ``onlyContainsCACerts``: a root
certifies nothing else), and holds the revocations that are dated when it begins or before.

Invariants: a number is bound to one content for ever; numbers only grow (§5.2.3); every list begins and ends inside
the root's own validity and stands at most twelve months; what is revoked is a certificate that the record shows, for
a reason that the plan names.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from ceremony.plan import ActKind, CrlPlan, Plan, end_of_validity
from ceremony.records import Facts, Kind, recorded_certificate
from ceremony.transcript import Json, Record
from shared.clock import rfc3339
from shared.crl import CrlRequest, PreparedCrl, Reason, RevokedEntry, Scope, prepare_crl
from shared.errors import PolicyDenied, RequestRejected
from shared.issue import Issuer
from shared.names import format_name
from shared.pem import load_crl

FOLDER = "crl"
_ROOT = "root.crt"
_REASONS = {reason.label: reason for reason in Reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedList:
    """One list of a calendar, as the plan fixes it."""

    file: str
    """Relative to the ceremony's directory, for example ``crl/yearly-0001.crl``."""
    number: int
    this_update: datetime
    next_update: datetime


def planned_lists(plan: CrlPlan) -> tuple[PlannedList, ...]:
    """Return the lists of a plan, in the order of their numbers."""
    return tuple(
        PlannedList(
            file=f"{FOLDER}/{plan.name}-{at + 1:04}.crl",
            number=plan.number + at,
            this_update=plan.this_update + at * plan.period,
            next_update=plan.next_update + at * plan.period,
        )
        for at in range(plan.count)
    )


def entries_of(plan: CrlPlan, planned: PlannedList, issued: Mapping[str, x509.Certificate]) -> tuple[RevokedEntry, ...]:
    """Return what a list revokes: whatever is dated when it begins or before.

    Args:
        plan: with its revocations.
        planned: one of its lists.
        issued: what was issued, by where it lies without ``.crt``.

    Raises:
        RequestRejected: ``crl.not-issued``.
    """
    entries = []
    for each in plan.revoked:
        certificate = issued.get(each.file)
        if certificate is None:
            raise RequestRejected(
                "crl.not-issued", f"{each.file} was never issued here, so it cannot be revoked", hint="sign it first"
            )
        if each.date <= planned.this_update:
            entries.append(
                RevokedEntry(serial=certificate.serial_number, revoked_at=each.date, reason=_REASONS[each.reason])
            )
    return tuple(entries)


def check_fixed(plan: Plan) -> None:
    """Refuse lists that cannot be inside their root's validity, where the plan fixes when that begins.

    Only what this plan's acts sign is looked at: a record may hold an earlier plan that a later one corrected, and
    stays readable.

    Raises:
        PolicyDenied: ``crl.outside-root``.
    """
    today = {act.name for act in plan.acts if act.kind is ActKind.CRL}
    for each in plan.crls:
        root = plan.roots[each.issuer]
        begin = root.fixed.not_before
        if each.name in today and begin is not None:
            _check_inside(planned_lists(each), begin, end_of_validity(begin, root.years))


def check_plan(plan: CrlPlan, *, root: x509.Certificate, now: datetime) -> None:
    """Refuse lists that would help nobody.

    Args:
        plan: of the lists.
        root: their issuer.
        now: aware UTC.

    Raises:
        PolicyDenied: ``crl.expired``, ``crl.outside-root`` or ``crl.revokes-later``.
    """
    lists = planned_lists(plan)
    if lists[0].next_update <= now:
        raise PolicyDenied(
            "crl.expired", f"the list {lists[0].number} ended at {rfc3339(lists[0].next_update)}, before it was signed"
        )
    _check_inside(lists, root.not_valid_before_utc, root.not_valid_after_utc)
    for revoked in plan.revoked:
        if revoked.date > lists[-1].this_update:
            raise PolicyDenied(
                "crl.revokes-later",
                f"{revoked.file} is revoked at {rfc3339(revoked.date)}, after the last list begins: none would say so",
            )


def check_numbers(plan: CrlPlan, records: Iterable[Record]) -> int | None:
    """Insist that the numbers of a plan's lists are above all that were ever used, except for these very lists.

    Args:
        plan: of the lists.
        records: of all acts so far.

    Returns:
        The highest number of other lists, or ``None``.

    Raises:
        PolicyDenied: ``crl.number-used``.
    """
    own = {each.file for each in planned_lists(plan)}
    used = [
        int(str(record.body.get("number")))
        for record in records
        if record.kind in {Kind.LIST_PREPARED, Kind.LIST_ISSUED} and record.body.get("file") not in own
    ]
    highest = max(used, default=None)
    if highest is not None and plan.number <= highest:
        raise PolicyDenied(
            "crl.number-used",
            f"the lists of {plan.name} begin with number {plan.number}, and {highest} was used already",
            hint="numbers only grow: who sees a smaller one takes the list for an old one",
        )
    return highest


def act_that_signs(file: str) -> str:
    """Return the act, in the plan's spelling, that signs a certificate.

    Args:
        file: where it lies, without ``.crt``.
    """
    folder, _, rest = file.rpartition("/")
    if not folder:
        return f"{ActKind.INTERMEDIATE}:{rest}"
    kind, _, name = file.partition("/")
    return f"{kind}:{name.partition('/')[0]}"


def issued_certificates(records: Iterable[Record]) -> dict[str, x509.Certificate]:
    """Return the certificates of CAs that the records show as issued, by where they lie without ``.crt``.

    Args:
        records: of all acts so far.

    Raises:
        RequestRejected: ``certificate.malformed``.
    """
    found = {}
    for record in records:
        file = str(record.body.get("file"))
        if record.kind in {Kind.CERTIFICATE_ISSUED, Kind.CROSS_ISSUED} and file != _ROOT:
            found[file.removesuffix(".crt")] = recorded_certificate(record.body)
    return found


def check_kept(plan: Plan, crl: CrlPlan, records: Sequence[Record]) -> None:
    """Insist that what an earlier list of this issuer revoked stays revoked until it ended (RFC 5280 §3.3, §5.1).

    Args:
        plan: in force, with the lists of earlier days.
        crl: what will be signed.
        records: of all acts so far.

    Raises:
        PolicyDenied: ``crl.forgets``.
        RequestRejected: ``crl.not-issued``.
    """
    issued = issued_certificates(records)
    stems = {certificate.serial_number: stem for stem, certificate in issued.items()}
    issuers = {each.file: listed.issuer for listed in plan.crls for each in planned_lists(listed)}
    before = [
        load_crl(recorded_list(record.body), what="recorded list")
        for record in records
        if record.kind == Kind.LIST_ISSUED
        and issuers.get(str(record.body.get("file"))) == crl.issuer
        and int(str(record.body.get("number"))) < crl.number
    ]
    revoked = {entry.serial_number: entry.revocation_date_utc for each in before for entry in each}
    for planned in planned_lists(crl):
        kept = {each.serial for each in entries_of(crl, planned, issued)}
        for serial, since in revoked.items():
            stem = stems.get(serial)
            ended = stem is not None and issued[stem].not_valid_after_utc < planned.this_update
            if since <= planned.this_update and not ended and serial not in kept:
                raise PolicyDenied(
                    "crl.forgets",
                    f"the list {planned.number} does not revoke {stem or f'{serial:x}'}, which an earlier list revoked",
                    hint="what is revoked stays on every later list: add it to the plan's [[crl.revoked]]",
                )


def prepare_list(
    plan: CrlPlan,
    planned: PlannedList,
    *,
    root: x509.Certificate,
    issued: Mapping[str, x509.Certificate],
    previous_number: int | None,
) -> PreparedCrl:
    """Build and lint one list.

    Args:
        plan: with its revocations.
        planned: which of its lists.
        root: the issuer.
        issued: what was issued, by where it lies without ``.crt``.
        previous_number: of the list before, in this calendar or an earlier one.

    Raises:
        RequestRejected: ``crl.not-issued`` or ``crl.entry``.
        PolicyDenied: ``lint.*``.
    """
    request = CrlRequest(
        number=planned.number,
        this_update=planned.this_update,
        next_update=planned.next_update,
        entries=entries_of(plan, planned, issued),
        scope=Scope.CAS,
        previous_number=previous_number,
    )
    return prepare_crl(request, Issuer.from_certificate(root))


def list_facts(file: str, der: bytes) -> Facts:
    """Return what is recorded of a list, all of it computed from its bytes.

    Args:
        file: its name in the ceremony's directory.
        der: the list.

    Raises:
        RequestRejected: ``crl.malformed``.
    """
    crl = load_crl(der, what=file)
    next_update = crl.next_update_utc
    revoked: list[Json] = [
        {
            "serial": f"{entry.serial_number:x}",
            "date": rfc3339(entry.revocation_date_utc),
            "reason": _reason_of(entry),
        }
        for entry in crl
    ]
    return {
        "file": file,
        "issuer": format_name(crl.issuer),
        "number": crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number,
        "this_update": rfc3339(crl.last_update_utc),
        "next_update": rfc3339(next_update) if next_update is not None else "",
        "revoked": revoked,
        "tbs_sha256": hashlib.sha256(crl.tbs_certlist_bytes).hexdigest(),
        "sha256": hashlib.sha256(der).hexdigest(),
        "der": base64.b64encode(der).decode("ascii"),
    }


def recorded_list(body: Mapping[str, Json]) -> bytes:
    """Return the list that a record holds, in DER.

    Raises:
        RequestRejected: ``crl.malformed``.
    """
    try:
        return base64.b64decode(str(body.get("der")), validate=True)
    except ValueError:
        raise RequestRejected("crl.malformed", "the recorded list is malformed") from None


def _reason_of(entry: x509.RevokedCertificate) -> str:
    try:
        return str(entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.value)
    except x509.ExtensionNotFound:
        return Reason.UNSPECIFIED.label


def _check_inside(lists: Sequence[PlannedList], begin: datetime, end: datetime) -> None:
    for each in lists:
        if each.this_update < begin or each.next_update > end:
            raise PolicyDenied(
                "crl.outside-root",
                f"the list {each.number} is not inside the root's validity, {rfc3339(begin)} to {rfc3339(end)}",
            )
