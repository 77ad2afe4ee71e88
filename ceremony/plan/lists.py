"""The revocation lists of a plan: single ones, and calendars of lists that are signed ahead."""

from __future__ import annotations

import re
from datetime import timedelta

from ceremony.plan.model import CrlPlan, PlannedRevocation
from ceremony.plan.values import moment, name_of
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


def read_crls(top: Table, files: set[str]) -> tuple[CrlPlan, ...]:
    """Read the ``[[crl]]`` tables.

    Args:
        top: the plan.
        files: the file stems of the planned intermediates, the only ones that can be revoked.

    Raises:
        RequestRejected: ``plan.*``.
    """
    found: list[CrlPlan] = []
    for table in top.tables("crl"):
        with table:
            crl = _crl(table, files)
        if any(crl.name == other.name for other in found):
            raise table.refuse("name", "another list has this name")
        if found and crl.number < found[-1].number + found[-1].count:
            raise table.refuse("number", "it must be greater than every number of the list before")
        found.append(crl)
    return tuple(found)


def _crl(table: Table, files: set[str]) -> CrlPlan:
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
    if (count > 1) != (days > 0) or timedelta(days=days) > next_update - this_update:
        raise table.refuse("period_days", "a calendar needs a period, no longer than each list is valid")
    return CrlPlan(
        name=name_of(table, "name", _NAME, frozenset()),
        number=number,
        this_update=this_update,
        next_update=next_update,
        count=count,
        period=timedelta(days=days),
        revoked=tuple(_revocation(each, files) for each in table.tables("revoked")),
    )


def _revocation(table: Table, files: set[str]) -> PlannedRevocation:
    with table:
        file = table.required("file", str)
        if file not in files:
            raise table.refuse("file", "the plan has no intermediate of this name")
        reason = table.required("reason", str)
        if reason not in REASONS:
            raise table.refuse("reason", f"one of {', '.join(REASONS)} is wanted")
        return PlannedRevocation(file=file, reason=reason, date=moment(table, "date"))
