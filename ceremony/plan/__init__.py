"""The plan: the one reviewed input of a ceremony."""

from ceremony.plan.example import EXAMPLE
from ceremony.plan.load import end_of_validity, load_plan
from ceremony.plan.model import (
    ActKind,
    CrlPlan,
    CrossPlan,
    Fixed,
    GroupPlan,
    IntermediatePlan,
    Plan,
    PlannedAct,
    PlannedRevocation,
    Roles,
    RolloverPlan,
    RootPlan,
    RotationPlan,
    SharesPlan,
)

__all__ = [
    "EXAMPLE",
    "ActKind",
    "CrlPlan",
    "CrossPlan",
    "Fixed",
    "GroupPlan",
    "IntermediatePlan",
    "Plan",
    "PlannedAct",
    "PlannedRevocation",
    "Roles",
    "RolloverPlan",
    "RootPlan",
    "RotationPlan",
    "SharesPlan",
    "end_of_validity",
    "load_plan",
]
