"""Acts after the root's: each continues the transcript of the ceremony that made the root."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ceremony.conduct.directory import Journal, act
from ceremony.conduct.setting import Scene, host_facts
from ceremony.plan import Plan
from ceremony.plan_history import PlanHistory
from ceremony.records import Act, Kind, Mode, opening
from shared.errors import RequestRejected


def check_continues(setting: Scene, journal: Journal, plans: PlanHistory, *, command: str, rehearsal: str) -> None:
    """Insist that this ceremony has a root, is of the same kind as this act, and still has its plan.

    Args:
        setting: the act's.
        journal: of the ceremony.
        plans: as they lie in the directory now.
        command: what does the act in a real ceremony, for the hint.
        rehearsal: what rehearses it.

    Raises:
        RequestRejected: ``ceremony.other-mode``, ``ceremony.plan-changed`` or ``ceremony.incomplete``.
    """
    if journal.mode is not setting.mode:
        rehearsed = journal.mode is Mode.REHEARSAL
        raise RequestRejected(
            "ceremony.other-mode",
            f"this ceremony is {'a rehearsal' if rehearsed else 'a real one'}",
            hint=f"use `{rehearsal if rehearsed else command}` for it",
        )
    if str(journal.find(Kind.GENESIS)[0].body["plan"]) != plans.first.digest.hex():
        raise RequestRejected("ceremony.plan-changed", "plan.toml is not the plan that this ceremony began with")
    if not journal.find(Kind.QUORUM_UNLOCKED):
        raise RequestRejected("ceremony.incomplete", "the root act of this ceremony did not finish")


@contextmanager
def later_act(setting: Scene, journal: Journal, plan: Plan, act_: Act, *, name: str = "") -> Iterator[None]:
    """Open an act and close it; an act before it that was never closed is noted first.

    Args:
        setting: the act's.
        journal: of the ceremony.
        plan: for its digest and title.
        act_: which act.
        name: which of its kind, as the plan calls it.

    Raises:
        StoreFailed: ``file.write-failed``.
    """
    abandoned = journal.abandoned()
    if abandoned is not None:
        journal.append(Kind.ACT_ABANDONED, {"act": abandoned})
        setting.people.tell(f"the act before, {abandoned}, was never closed: recorded as abandoned")
    facts = dict(opening(act_, setting.mode, plan_digest=plan.digest, title=plan.title))
    journal.open_act(Kind.ACT_OPENED, facts | ({"name": name} if name else {}))
    journal.append(Kind.HOST_CHECKED, host_facts(journal.host, journal.host_plan or plan))
    setting.people.listen(journal.hear)
    with act(journal, act_):
        yield
