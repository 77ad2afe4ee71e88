"""The order of the day, and the rules about who may be who."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ceremony.plan.model import ActKind, PlannedAct, Roles, SharesPlan
from shared.errors import RequestRejected
from shared.strict import Table

_KINDS = frozenset(kind.value for kind in ActKind)


def read_acts(top: Table, *, known: Mapping[str, Sequence[str]], backup: bool) -> tuple[PlannedAct, ...]:
    """Return the acts that the plan lists, in their order; none when it lists none.

    Args:
        top: the plan.
        known: for each kind of act that has names, the names that the plan describes.
        backup: whether the plan allows wrapping the root key.

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
        if kind not in _KINDS:
            raise top.refuse(where, f"one of {', '.join(ActKind)} is wanted")
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
    _check_order(top, acts)
    return tuple(acts)


def default_acts(intermediates: Sequence[str]) -> tuple[PlannedAct, ...]:
    """Return the acts of a plan that lists none: the root, then each intermediate."""
    return (
        PlannedAct(kind=ActKind.ROOT),
        *(PlannedAct(kind=ActKind.INTERMEDIATE, name=name) for name in intermediates),
    )


def check_roles(roles: Roles, shares: SharesPlan, *, least_witnesses: int, administrator_may_hold: bool) -> None:
    """Insist on the separation of duties.

    Raises:
        RequestRejected: ``plan.roles``.
    """
    if len(roles.witnesses) < least_witnesses:
        raise RequestRejected("plan.roles", f"roles.witnesses: at least {least_witnesses} witnesses are wanted")
    if len(set(roles.witnesses)) != len(roles.witnesses):
        raise RequestRejected("plan.roles", "roles.witnesses: a witness is named twice")
    if roles.administrator in shares.custodians and not administrator_may_hold:
        raise RequestRejected(
            "plan.roles",
            "roles.administrator: the administrator holds a share",
            hint="name somebody else, or allow it with roles.administrator_holds_share = true",
        )
    for role, holder in (("administrator", roles.administrator), ("auditor", roles.auditor)):
        if holder and holder in roles.witnesses:
            raise RequestRejected("plan.roles", f"roles.{role}: the {role} cannot be a witness of the own acts")
    if roles.auditor and roles.auditor == roles.administrator:
        raise RequestRejected("plan.roles", "roles.auditor: the auditor cannot be the administrator")


def _check_order(top: Table, acts: Sequence[PlannedAct]) -> None:
    kinds = [act.kind for act in acts]
    if kinds[:1] != [ActKind.ROOT] and ActKind.ROOT in kinds:
        raise top.refuse(f"acts[{kinds.index(ActKind.ROOT)}]", "the root comes first")
    if ActKind.DESTROY in kinds[:-1]:
        raise top.refuse(f"acts[{kinds.index(ActKind.DESTROY)}]", "nothing can follow the destruction of the key")
    if ActKind.RESTORE_TEST in kinds and ActKind.BACKUP not in kinds[: kinds.index(ActKind.RESTORE_TEST)]:
        raise top.refuse(f"acts[{kinds.index(ActKind.RESTORE_TEST)}]", "there is no backup before it")
