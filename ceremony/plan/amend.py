"""The plan of a later day: what is done now, by a ceremony that began, and which plan it follows.

It has tables for what is new, and none for what can never change: the root, the organization, whether there may be a
backup. Who holds the shares is no matter of a plan either: the record says which set unlocks the HSM, and new
custodians need a rotation. What earlier days described stays described, and can be listed as an act again.

Invariants:

* it names the plan before it by its digest, so the plans are one chain, like the records;
* what was begun is never described anew: another intermediate has another file and another name;
* the people may change, the rules about them only become stricter: not fewer witnesses, no new right for the
  administrator to hold a share;
* numbers of lists only grow, over all days and all roots.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from ceremony.plan.acts import check_roles, read_acts
from ceremony.plan.host import read_accepted
from ceremony.plan.lineage import check_cas, check_issuers, settle
from ceremony.plan.lists import read_crls, revocable
from ceremony.plan.load import Described, check_version, names_of, read_descriptions, read_roles, read_toml
from ceremony.plan.model import (
    FIRST_ROOT,
    ActKind,
    CrlPlan,
    CrossPlan,
    IntermediatePlan,
    Plan,
    PlannedAct,
    Roles,
    RolloverPlan,
    RotationPlan,
    SharesPlan,
)
from ceremony.plan.values import text
from shared.errors import RequestRejected
from shared.strict import Table

AMENDMENT = PlannedAct(kind=ActKind.AMEND)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_NEVER = {
    "root": "the root is what it is; a next root needs a [[rollover]]",
    "organization": "the organization is part of names that were signed",
    "backup": "whether a key can leave wrapped is decided when it is made",
    "shares": "who holds them says the record; new custodians need a [[rotation]]",
}

_Named = TypeVar("_Named", IntermediatePlan, CrossPlan, RolloverPlan, RotationPlan, CrlPlan)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far the ceremony has come when a plan takes over, told from its record."""

    dealt_by: str
    """The act that dealt the shares which unlock the HSM: ``root`` or ``rotate:NAME``."""
    begun: frozenset[str]
    """The acts that were ever begun, in the plan's spelling."""


def previous_of(data: bytes) -> bytes | None:
    """Return the digest of the plan that this one follows; ``None`` for the plan of a first day.

    Raises:
        RequestRejected: ``plan.malformed`` or ``plan.invalid``.
    """
    found = read_toml(data).get("previous")
    if found is None:
        return None
    if not isinstance(found, str) or not _DIGEST.fullmatch(found):
        raise RequestRejected("plan.invalid", "previous: the SHA-256 of the plan before is wanted, 64 hex digits")
    return bytes.fromhex(found)


def amend_plan(before: Plan, data: bytes, standing: Standing) -> Plan:
    """Read the plan of the next day.

    Args:
        before: the plan of the day before.
        data: the bytes of the TOML file.
        standing: how far the ceremony came.

    Returns:
        The whole plan of the day: what earlier days described stands in it too.

    Raises:
        RequestRejected: ``plan.*`` with the dotted key; ``plan.other-previous`` when it follows another plan.
    """
    values = read_toml(data)
    with Table(values, code="plan") as top:
        check_version(top)
        top.required("previous", str)
        if previous_of(data) != before.digest:
            raise RequestRejected(
                "plan.other-previous",
                "previous: this plan follows another one than the plan in force",
                hint=f"the plan in force has the digest {before.digest.hex()}",
            )
        for key, why in _NEVER.items():
            if key in values:
                raise top.refuse(key, f"no later day can change it: {why}")
        title = text(top, "title")
        new = read_descriptions(top, before.organization)
        found = _merged(before, new, standing)
        kept = _kept(before.crls, {_name(table, "name") for table in _raw(values, "crl")}, ActKind.CRL, standing)
        above = max((each.number + each.count - 1 for each in kept), default=0)
        crls = (*kept, *read_crls(top, revocable(found.intermediates, found.crosses, found.rollovers), above=above))
        roles = _roles(top, before.roles)
        # The machine of another day is another one: what was accepted of the last holds no more.
        accepted = read_accepted(top, roles, _alive(found.rotations, before, standing))
        acts = read_acts(top, known=names_of(found, crls), backup=before.backup, later=True)
        if not acts:
            raise top.refuse("acts", "the acts of the day are wanted")
    made = {FIRST_ROOT, *(each.name for each in before.rollovers)} - {each.name for each in new.rollovers}
    root, rollovers = settle(before.root, found.crosses, found.rollovers, made=made)
    plan = replace(
        before,
        title=title,
        roles=roles,
        root=root,
        shares=_alive(found.rotations, before, standing),
        digest=hashlib.sha256(data).digest(),
        acts=(AMENDMENT, *acts),
        intermediates=found.intermediates,
        crls=crls,
        crosses=found.crosses,
        rollovers=rollovers,
        rotations=found.rotations,
        accepted=accepted,
        number=before.number + 1,
        previous=before.digest,
    )
    check_cas(plan.roots, plan.intermediates, known=len(plan.intermediates) - len(new.intermediates))
    check_issuers(plan.roots, plan.crosses, plan.crls)
    for shares in (plan.shares, *(each.shares for each in new.rotations)):
        check_roles(roles, shares)
    return plan


def _merged(before: Plan, new: Described, standing: Standing) -> Described:
    """Put the new descriptions behind the earlier ones; what was never begun may be described anew."""
    return Described(
        intermediates=_both(ActKind.INTERMEDIATE, before.intermediates, new.intermediates, standing),
        crosses=_both(ActKind.CROSS, before.crosses, new.crosses, standing),
        rollovers=_both(ActKind.ROLLOVER, before.rollovers, new.rollovers, standing),
        rotations=_both(ActKind.ROTATE, before.rotations, new.rotations, standing),
    )


def _both(kind: ActKind, old: Sequence[_Named], added: Sequence[_Named], standing: Standing) -> tuple[_Named, ...]:
    return tuple(itertools.chain(_kept(old, {_name_of(each) for each in added}, kind, standing), added))


def _kept(old: Iterable[_Named], anew: set[str], kind: ActKind, standing: Standing) -> list[_Named]:
    kept = []
    for each in old:
        name = _name_of(each)
        if name not in anew:
            kept.append(each)
        elif f"{kind}:{name}" in standing.begun:
            raise RequestRejected(
                "plan.described-before",
                f"{kind} {name}: an earlier day did it, or began it: it cannot be described anew",
                hint="give it another name",
            )
    return kept


def _name_of(described: IntermediatePlan | CrossPlan | RolloverPlan | RotationPlan | CrlPlan) -> str:
    return described.file if isinstance(described, IntermediatePlan) else described.name


def _raw(values: dict[str, object], key: str) -> list[object]:
    found = values.get(key)
    return found if isinstance(found, list) else []


def _name(table: object, key: str) -> str:
    return str(table.get(key)) if isinstance(table, dict) else ""


def _roles(top: Table, before: Roles) -> Roles:
    """Return who does what today: the people of the day before, unless the plan names all of them anew."""
    if top.optional("roles", dict) is None:
        return before
    found = read_roles(top)
    # A first day without the table ruled nothing out.
    ruled = before != Roles()
    if found.least_witnesses and found.least_witnesses < before.least_witnesses:
        raise top.refuse("roles.min_witnesses", f"no later day can have fewer than {before.least_witnesses}")
    if ruled and found.administrator_may_hold and not before.administrator_may_hold:
        raise top.refuse("roles.administrator_holds_share", "an earlier day ruled it out")
    return replace(found, least_witnesses=max(found.least_witnesses, before.least_witnesses))


def _alive(rotations: Iterable[RotationPlan], before: Plan, standing: Standing) -> SharesPlan:
    for each in rotations:
        if standing.dealt_by == f"{ActKind.ROTATE}:{each.name}":
            return each.shares
    return before.shares
