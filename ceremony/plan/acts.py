"""The order of the day, and the rules about who may be who."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ceremony.plan.model import ActKind, PlannedAct, Roles, SharesPlan
from ceremony.plan.values import alike
from shared.errors import RequestRejected
from shared.strict import Table

_LISTED = tuple(kind for kind in ActKind if kind is not ActKind.AMEND)


def read_acts(
    top: Table, *, known: Mapping[str, Sequence[str]], backup: bool, later: bool = False
) -> tuple[PlannedAct, ...]:
    """Return the acts that the plan lists, in their order; none when it lists none.

    Args:
        top: the plan.
        known: for each kind of act that has names, the names that the plan describes.
        backup: whether the plan allows wrapping the root key.
        later: whether it is the plan of a later day: the root is there, and so may be a backup.

    Raises:
        RequestRejected: ``plan.*`` with the element's number: an unknown act, a name that nothing describes, an act
            that stands twice, or acts in an order that cannot be.
    """
    if top.optional("acts", list) is None:
        return ()
    acts: list[PlannedAct] = []
    for number, entry in enumerate(top.texts("acts")):
        kind, _, name = entry.partition(":")
        where = f"acts[{number}]"
        if kind not in _LISTED:
            raise top.refuse(where, f"one of {', '.join(_LISTED)} is wanted")
        if kind == ActKind.ROOT and later:
            raise top.refuse(where, "the root was made on the first day")
        if kind in known and name not in known[kind]:
            described = ", ".join(known[kind]) or "none"
            raise top.refuse(where, f"the plan describes no {kind} of this name", hint=f"described: {described}")
        if kind not in known and name:
            raise top.refuse(where, f"{kind} has no name")
        if kind in {ActKind.BACKUP, ActKind.RESTORE_TEST} and not backup:
            raise top.refuse(where, "the plan does not allow a backup of the root key", hint="set backup = true")
        act = PlannedAct(kind=ActKind(kind), name=name)
        if act in acts:
            raise top.refuse(where, "it stands in the list already")
        acts.append(act)
    _check_order(top, acts, later=later)
    return tuple(acts)


def default_acts(intermediates: Sequence[str]) -> tuple[PlannedAct, ...]:
    """Return the acts of a plan that lists none: the root, then each intermediate."""
    return (
        PlannedAct(kind=ActKind.ROOT),
        *(PlannedAct(kind=ActKind.INTERMEDIATE, name=name) for name in intermediates),
    )


def check_roles(roles: Roles, shares: SharesPlan) -> None:
    """Insist on the separation of duties.

    Args:
        roles: who does what.
        shares: who holds shares, now or after a rotation.

    Raises:
        RequestRejected: ``plan.roles``.
    """
    if len(roles.witnesses) < roles.least_witnesses:
        raise RequestRejected("plan.roles", f"roles.witnesses: at least {roles.least_witnesses} witnesses are wanted")
    # Compared as people read them, not as bytes: see ``alike``.
    administrator, auditor = alike(roles.administrator), alike(roles.auditor)
    witnesses = set(map(alike, roles.witnesses))
    if len(witnesses) != len(roles.witnesses):
        raise RequestRejected("plan.roles", "roles.witnesses: a witness is named twice")
    if administrator in map(alike, shares.custodians) and not roles.administrator_may_hold:
        raise RequestRejected(
            "plan.roles",
            "roles.administrator: the administrator holds a share",
            hint="name somebody else, or allow it with roles.administrator_holds_share = true",
        )
    for role, holder in (("administrator", administrator), ("auditor", auditor)):
        if holder and holder in witnesses:
            raise RequestRejected("plan.roles", f"roles.{role}: the {role} cannot be a witness of the own acts")
    if auditor and auditor == administrator:
        raise RequestRejected("plan.roles", "roles.auditor: the auditor cannot be the administrator")


def _check_order(top: Table, acts: Sequence[PlannedAct], *, later: bool) -> None:
    kinds = [act.kind for act in acts]
    if kinds[:1] != [ActKind.ROOT] and ActKind.ROOT in kinds:
        raise top.refuse(f"acts[{kinds.index(ActKind.ROOT)}]", "the root comes first")
    if ActKind.DESTROY in kinds[:-1]:
        raise top.refuse(f"acts[{kinds.index(ActKind.DESTROY)}]", "nothing can follow the destruction of the key")
    if not later and ActKind.RESTORE_TEST in kinds and ActKind.BACKUP not in kinds[: kinds.index(ActKind.RESTORE_TEST)]:
        raise top.refuse(f"acts[{kinds.index(ActKind.RESTORE_TEST)}]", "there is no backup before it")
