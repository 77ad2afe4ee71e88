"""What of the machine is accepted beforehand: a finding that no hand can mend, with its reason and who stands by it.

A radio that is soldered to the board and cut off by a jumper is still found, and stops every real act. The plan may
accept that very finding, word for word as ``ceremony host check`` prints it: the plan is what everybody agrees on, its
digest is read aloud, and each act's record holds it. Another radio on the day is another finding, and is not accepted.

Invariants: only hardware can be accepted, nothing that a command or another medium would mend; two people other than
the administrator stand by each finding, and the plan names them.
"""

from __future__ import annotations

from collections.abc import Iterable

from ceremony.host import Check, HostFinding, breaches
from ceremony.plan.model import AcceptedFinding, Roles, SharesPlan
from shared import names
from shared.strict import Table

ACCEPTABLE = (Check.INTERFACES, Check.RADIOS, Check.USB, Check.HARDWARE_CLOCK)
_LONGEST = 300
_LEAST_PEOPLE = 2


def read_accepted(top: Table, roles: Roles, shares: SharesPlan) -> tuple[AcceptedFinding, ...]:
    """Read the findings that a plan accepts.

    Args:
        top: the plan's table.
        roles: of the plan.
        shares: who holds shares that day.

    Raises:
        RequestRejected: ``plan.*`` with the dotted key.
    """
    known = {roles.auditor, *roles.witnesses, *shares.custodians} - {"", roles.administrator}
    found: list[AcceptedFinding] = []
    for table in top.tables("host_exception"):
        with table:
            each = _read(table, known)
            if any((each.check, each.finding) == (other.check, other.finding) for other in found):
                raise table.refuse("finding", "it is accepted already")
            found.append(each)
    return tuple(found)


def not_accepted(findings: Iterable[HostFinding], accepted: Iterable[AcceptedFinding]) -> tuple[HostFinding, ...]:
    """Return the findings that a real ceremony must not start with, and that no plan accepted."""
    taken = {(each.check, each.finding) for each in accepted}
    return tuple(each for each in breaches(findings) if (each.check, each.detail) not in taken)


def _read(table: Table, known: set[str]) -> AcceptedFinding:
    check = table.required("check", str)
    if check not in ACCEPTABLE:
        raise table.refuse("check", f"one of {', '.join(ACCEPTABLE)} is wanted: everything else can be mended")
    people = table.texts("accepted_by")
    for number, person in enumerate(people):
        if person not in known:
            raise table.refuse(
                f"accepted_by[{number}]", "a witness, the auditor or a custodian is wanted, and not the administrator"
            )
    if len(set(people)) != len(people) or len(people) < _LEAST_PEOPLE:
        raise table.refuse("accepted_by", f"at least {_LEAST_PEOPLE} different people are wanted")
    return AcceptedFinding(
        check=Check(check), finding=_line(table, "finding"), reason=_line(table, "reason"), accepted_by=people
    )


def _line(table: Table, key: str) -> str:
    value = table.required(key, str)
    if not value.strip() or names.printable(value, limit=_LONGEST) != value:
        raise table.refuse(key, f"1 to {_LONGEST} visible characters are wanted")
    return value
