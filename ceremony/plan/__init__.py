"""The plan: the one reviewed input of a ceremony."""

from ceremony.plan.amend import AMENDMENT, Standing, amend_plan, previous_of
from ceremony.plan.example import EXAMPLE, next_day
from ceremony.plan.host import not_accepted
from ceremony.plan.load import end_of_validity, load_plan
from ceremony.plan.model import (
    FIRST_ROOT,
    AcceptedFinding,
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
    "AMENDMENT",
    "EXAMPLE",
    "FIRST_ROOT",
    "AcceptedFinding",
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
    "Standing",
    "amend_plan",
    "end_of_validity",
    "load_plan",
    "next_day",
    "not_accepted",
    "previous_of",
]
