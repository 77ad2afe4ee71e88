"""What the roots of a plan need of each other: room in the path for one more CA, and a label of their own.

A certificate for another root's key stands in a path like an intermediate does. Path lengths count it (RFC 5280
§4.2.1.9), unless it is self-issued: a next root that keeps the name costs nothing, one with another name, or
another CA's root, costs one level. A root that does not leave that room signs what nobody can use, for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ceremony.plan.model import CrossPlan, RolloverPlan, RootPlan
from shared.errors import RequestRejected

UNSAID = 0
"""A path length that the plan does not say. None is left when ``settle`` is done."""


def settle(
    root: RootPlan, crosses: Sequence[CrossPlan], rollovers: Sequence[RolloverPlan]
) -> tuple[RootPlan, tuple[RolloverPlan, ...]]:
    """Fill in the path lengths that the plan leaves open, and refuse those that cannot work.

    Args:
        root: as read, perhaps with ``UNSAID``.
        crosses: the other roots that it shall certify.
        rollovers: its successors, perhaps with ``UNSAID``.

    Raises:
        RequestRejected: ``plan.invalid``.
    """
    renamed = [each.root.subject != root.subject for each in rollovers]
    least = max([1, *(each.path_length + 1 for each in crosses), *(1 + other for other in renamed)])
    if UNSAID < root.path_length < least:
        raise RequestRejected(
            "plan.invalid",
            f"root.path_length: {least} is needed by the cross-certificates, or by a next root of another name",
            hint="leave it out, and it is chosen",
        )
    root = replace(root, path_length=root.path_length or least)
    settled: list[RolloverPlan] = []
    for number, (each, other) in enumerate(zip(rollovers, renamed, strict=True)):
        if UNSAID < each.root.path_length < 1 + other:
            raise RequestRejected("plan.invalid", f"rollover[{number}].path_length: {1 + other} is needed")
        labels = {root.label, *(before.root.label for before in settled)}
        if each.root.label in labels:
            raise RequestRejected("plan.invalid", f"rollover[{number}].label: another key has this label")
        length = each.root.path_length or max(root.path_length, 1 + other)
        settled.append(replace(each, root=replace(each.root, path_length=length)))
    return root, tuple(settled)
