"""What the roots of a plan need of each other: room in the path for one more CA, a label and a name of their own.

A certificate for another root's key stands in a path like an intermediate does. Path lengths count it (RFC 5280
§4.2.1.9), unless it is self-issued: a next root that keeps the name costs nothing, one with another name, or
another CA's root, costs one level. A root that does not leave that room signs what nobody can use, for ever.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from ceremony.plan.model import FIRST_ROOT, CrlPlan, CrossPlan, IntermediatePlan, RolloverPlan, RootPlan
from shared.errors import RequestRejected

UNSAID = 0
"""A path length that the plan does not say. None is left when ``settle`` is done."""


def settle(
    root: RootPlan,
    crosses: Sequence[CrossPlan],
    rollovers: Sequence[RolloverPlan],
    *,
    made: Collection[str] = (),
) -> tuple[RootPlan, tuple[RolloverPlan, ...]]:
    """Fill in the path lengths that the plan leaves open, and refuse those that cannot work.

    Args:
        root: as read, perhaps with ``UNSAID``.
        crosses: the other roots that it, or a successor, shall certify.
        rollovers: its successors in their order, perhaps with ``UNSAID``.
        made: names of the roots that an earlier plan settled; ``FIRST_ROOT`` for the first one.

    Raises:
        RequestRejected: ``plan.invalid``.
    """
    settled: dict[str, RootPlan] = {}
    labels: set[str] = set()
    for number, name in enumerate((FIRST_ROOT, *(each.name for each in rollovers)), start=-1):
        before = next((each for each in rollovers if each.name == name), None)
        where = f"rollover[{number}]" if before is not None else "root"
        if before is not None and before.issuer not in settled:
            raise _invalid(f"{where}.issuer: no rollover of this name stands before it")
        found = before.root if before is not None else root
        if found.label in labels:
            raise _invalid(f"{where}.label: another key has this label")
        labels.add(found.label)
        # Both links are needed: the old root certifies the new one, and is certified by it.
        follows = settled[before.issuer] if before is not None else None
        least = max(
            1 + (follows is not None and follows.subject != found.subject),
            *(each.path_length + 1 for each in crosses if each.issuer == name),
            *(1 + (each.root.subject != found.subject) for each in rollovers if each.issuer == name),
            1,
        )
        if UNSAID < found.path_length < least:
            hint = "leave it out, and it is chosen"
            if name in made:
                hint = "the root was made with less, for ever: only a next root can have more"
            raise _invalid(
                f"{where}.path_length: {least} is needed by the cross-certificates, or by a next root of another name",
                hint=hint,
            )
        room = max(least, follows.path_length if follows is not None else 1)
        settled[name] = replace(found, path_length=found.path_length or room)
    return settled[FIRST_ROOT], tuple(replace(each, root=settled[each.name]) for each in rollovers)


def check_cas(roots: dict[str, RootPlan], intermediates: Sequence[IntermediatePlan], *, known: int = 0) -> None:
    """Insist that each intermediate has an issuer that outlives it, and a name, file and serial of its own.

    Args:
        roots: by the name that issues.
        intermediates: in their order.
        known: how many of them stand in earlier plans: the others are counted from there in complaints.

    Raises:
        RequestRejected: ``plan.invalid``.
    """
    seen: list[IntermediatePlan] = []
    for number, each in enumerate(intermediates, start=-known):
        where = f"intermediate[{number}]"
        issuer = roots.get(each.issuer)
        if issuer is None:
            raise _invalid(f"{where}.issuer: the plan has no rollover of this name")
        if each.years > issuer.years:
            raise _invalid(f"{where}.years: an intermediate cannot outlive its root")
        if any(each.subject == root.subject for root in roots.values()):
            raise _invalid(f"{where}.common_name: it is the root's own name")
        if any(each.file == other.file or each.subject == other.subject for other in seen):
            raise _invalid(f"{where}: file and common_name must be its own")
        taken = {*(root.fixed.serial for root in roots.values()), *(other.fixed.serial for other in seen)}
        if each.fixed.serial is not None and each.fixed.serial in taken:
            raise _invalid(f"{where}.serial: it must be its own")
        seen.append(each)


def check_issuers(roots: dict[str, RootPlan], crosses: Sequence[CrossPlan], crls: Sequence[CrlPlan]) -> None:
    """Insist that each cross-certificate and each list has an issuer.

    Raises:
        RequestRejected: ``plan.invalid``.
    """
    for kind, signed in (("cross", crosses), ("crl", crls)):
        for each in signed:
            if each.issuer not in roots:
                raise _invalid(f"{kind} {each.name}: the plan has no rollover {each.issuer!r} that could issue it")


def _invalid(message: str, *, hint: str | None = None) -> RequestRejected:
    return RequestRejected("plan.invalid", message, hint=hint)
