"""The script as a graph: each step says what must be there before it, and what is there after it.

Invariant: a ``Script`` in hand can be done from the first step to the last. ``Script.make`` walks it, as people
would, and refuses the first step that lacks something, by its name and with what is missing.

No clock, no file, nobody is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ceremony.plan import Plan, PlannedAct
from ceremony.script.names import StepName
from shared.errors import RequestRejected

Fact = str
"""Something that is there or not, in words that fit after "lacks": ``the root key in the HSM``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """A digest that people compare, or write down when nobody can know it before the day."""

    what: str
    digest: bytes | None = None
    """SHA-256 when it is known beforehand."""
    whole: bool = False
    """Whether all of its words are written down; else the first two and the last two, as the program asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step: what people see on the paper, and where it stands in the graph."""

    name: StepName
    act: str
    """The act that it belongs to, such as ``intermediate:alpha``; or a part of the day, such as ``preparation``."""
    who: str
    does: tuple[str, ...]
    """What is done and seen, one check box each."""
    says: str = ""
    """What is read aloud."""
    command: str = ""
    """What the administrator types."""
    expects: tuple[Expected, ...] = ()
    blanks: tuple[str, ...] = ()
    """What is written by hand besides time and initials."""
    announced: bool = True
    """Whether the program announces it."""
    commits: bool = False
    """Whether stopping is no longer free from here on."""
    requires: frozenset[Fact] = frozenset()
    provides: frozenset[Fact] = frozenset()
    ends: frozenset[Fact] = frozenset()

    @property
    def id(self) -> str:
        """Its name in this script, unique: the act and the step."""
        return f"{self.act}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """The steps of one act, or of what comes before the first and after the last."""

    title: str
    act: PlannedAct | None
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What happens on the day. Only ``make`` makes one, so one in hand can be done."""

    plan: Plan
    sections: tuple[Section, ...]
    materials: tuple[Material, ...] = field(default=())

    @classmethod
    def make(
        cls, plan: Plan, sections: Sequence[Section], *, given: Iterable[Fact], materials: Sequence[Material] = ()
    ) -> Script:
        """Check the order of all steps.

        Args:
            plan: what the steps were made from.
            sections: in their order.
            given: what is there before the first step.
            materials: what must lie ready.

        Raises:
            RequestRejected: ``script.impossible`` naming the step, what it lacks, and what would bring it.
        """
        steps = [step for section in sections for step in section.steps]
        there = set(given)
        for place, step in enumerate(steps):
            for fact in sorted(step.requires - there):
                raise _impossible(step, fact, before=steps[:place], after=steps[place + 1 :])
            there = there - step.ends | step.provides
        return cls(plan=plan, sections=tuple(sections), materials=tuple(materials))

    def section(self, act: PlannedAct) -> Section:
        """Return the steps of one act of the plan.

        Raises:
            RequestRejected: ``script.unplanned-act``.
        """
        for section in self.sections:
            if section.act == act:
                return section
        planned = ", ".join(str(section.act) for section in self.sections if section.act)
        raise RequestRejected("script.unplanned-act", f"the plan has no act {act}", hint=f"planned: {planned}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Something that must lie ready, counted and numbered."""

    name: str
    count: int = 1
    number: str = ""
    """Which number is written beside it, such as ``Bag number``; empty when it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What can be known before the day, so that the paper shows it instead of a blank."""

    tbs: Mapping[str, bytes] = field(default_factory=dict)
    """SHA-256 of what will be signed, by file name such as ``root.crt``."""
    requests: Mapping[str, bytes] = field(default_factory=dict)
    """SHA-256 of the request bundles, by the planned intermediate's file stem."""


def _impossible(step: Step, fact: Fact, *, before: Sequence[Step], after: Sequence[Step]) -> RequestRejected:
    hint = f"nothing in this plan brings {fact}"
    for each in after:
        if fact in each.provides:
            hint = f"{each.id} brings it, and comes later"
            break
    for each in before:
        if fact in each.ends:
            hint = f"{each.id} took it away"
    return RequestRejected("script.impossible", f"the step {step.id} cannot be done: it lacks {fact}", hint=hint)
