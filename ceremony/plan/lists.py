"""The revocation lists of a plan: single ones, and calendars of lists that are signed ahead."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta

from ceremony.plan.model import (
    FIRST_ROOT,
    CrlPlan,
    CrossPlan,
    IntermediatePlan,
    PlannedRevocation,
    RolloverPlan,
)
from ceremony.plan.values import moment, name_of
from shared.clock import rfc3339
from shared.strict import Table

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?", re.ASCII)
# CA/B baseline §4.9.7: a list of CA certificates is renewed at least once within twelve months.
_LONGEST = timedelta(days=366)
_MOST_LISTS = 120
# RFC 5280 §5.3.1, without those that mean nothing on a full list of CA certificates. That a CA is revoked is never
# left without a reason (CA/B baseline §7.2.2).
REASONS = (
    "keyCompromise",
    "cACompromise",
    "affiliationChanged",
    "superseded",
    "cessationOfOperation",
    "privilegeWithdrawn",
)


# Where each kind of certificate lies, by the key that names it in a revocation.
_PLACES = {
    "file": "{}",
    "cross": "cross/{}",
    "new_root": "rollover/{}/new-with-old",
    "old_root": "rollover/{}/old-with-new",
}
_CALLED = {"file": "intermediate", "cross": "cross-certificate", "new_root": "rollover", "old_root": "rollover"}


def read_crls(top: Table, known: Mapping[str, str], *, above: int = 0) -> tuple[CrlPlan, ...]:
    """Read the ``[[crl]]`` tables.

    Args:
        top: the plan.
        known: what can be revoked, from ``revocable``.
        above: the highest number of earlier plans' lists.

    Raises:
        RequestRejected: ``plan.*``.
    """
    found: list[CrlPlan] = []
    for table in top.tables("crl"):
        with table:
            crl = _crl(table, known)
        if any(crl.name == other.name for other in found):
            raise table.refuse("name", "another list has this name")
        if crl.number <= above:
            raise table.refuse("number", f"it must be greater than every number of the lists before: {above}")
        above = crl.number + crl.count - 1
        found.append(crl)
    return tuple(found)


def revocable(
    intermediates: Iterable[IntermediatePlan], crosses: Iterable[CrossPlan], rollovers: Iterable[RolloverPlan]
) -> dict[str, str]:
    """Return what can be revoked: where each certificate lies, without ``.crt``, and which root issues it."""
    found = {each.file: each.issuer for each in intermediates}
    found |= {_PLACES["cross"].format(each.name): each.issuer for each in crosses}
    for each in rollovers:
        found[_PLACES["new_root"].format(each.name)] = each.issuer
        found[_PLACES["old_root"].format(each.name)] = each.name
    return found


def as_revoked(revocation: PlannedRevocation) -> str:
    """Return a revocation as the plan writes it, for a later plan that repeats it."""
    for key, place in _PLACES.items():
        before, after = place.split("{}")
        name = revocation.file.removeprefix(before).removesuffix(after)
        if name and "/" not in name and place.format(name) == revocation.file:
            lines = (f'{key} = "{name}"', f'reason = "{revocation.reason}"', f'date = "{rfc3339(revocation.date)}"')
            return "\n".join(("[[crl.revoked]]", *lines, ""))
    raise ValueError(revocation.file)


def _crl(table: Table, known: Mapping[str, str]) -> CrlPlan:
    number = table.required("number", int)
    if not 1 <= number < 1 << 62:
        raise table.refuse("number", "a positive number is wanted")
    this_update, next_update = moment(table, "this_update"), moment(table, "next_update")
    if not timedelta(0) < next_update - this_update <= _LONGEST:
        raise table.refuse("next_update", "it must lie behind this_update, by at most 12 months")
    count = table.optional("count", int) or 1
    days = table.optional("period_days", int) or 0
    if not 1 <= count <= _MOST_LISTS:
        raise table.refuse("count", f"1 to {_MOST_LISTS} lists are possible")
    if (count > 1) != (days > 0) or not 0 <= days <= (next_update - this_update).days:
        raise table.refuse("period_days", "a calendar needs a period, no longer than each list is valid")
    issuer = table.optional("issuer", str) or FIRST_ROOT
    return CrlPlan(
        name=name_of(table, "name", _NAME, frozenset()),
        number=number,
        this_update=this_update,
        next_update=next_update,
        count=count,
        period=timedelta(days=days),
        issuer=issuer,
        revoked=tuple(_revocation(each, known, issuer) for each in table.tables("revoked")),
    )


def _revocation(table: Table, known: Mapping[str, str], issuer: str) -> PlannedRevocation:
    with table:
        given = {key: name for key in _PLACES if (name := table.optional(key, str)) is not None}
        if len(given) != 1:
            raise table.refuse("file", f"exactly one of {', '.join(_PLACES)} is wanted: it names what is revoked")
        ((key, name),) = given.items()
        file = _PLACES[key].format(name)
        if file not in known:
            raise table.refuse(key, f"the plan has no {_CALLED[key]} of this name")
        if known[file] != issuer:
            raise table.refuse(key, "another root issues it, and that root alone can revoke it")
        reason = table.required("reason", str)
        if reason not in REASONS:
            raise table.refuse("reason", f"one of {', '.join(REASONS)} is wanted")
        return PlannedRevocation(file=file, reason=reason, date=moment(table, "date"))
