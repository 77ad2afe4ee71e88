"""What stands on the printed script besides the steps: one text for PDF and HTML.

Invariant: all of it follows from the plan and the tool's name; there is no clock and no file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ceremony.plan import Plan
from ceremony.script import Script, Section, Step
from ceremony.script.making import ADMINISTRATOR, WITNESSES
from shared.crossing.words import digest_words
from shared.names import common_name_of

EXCEPTION_SHEETS = 6
_FEWEST_WITNESSES = 2

RULES = (
    "Every person has a copy. The administrator reads each step aloud before it is done, by its number.",
    "A box is ticked when what stands beside it was seen. Nobody ticks for somebody else.",
    (
        "A box that cannot be ticked is an exception: stop, take an exception sheet, write what was expected and what "
        "happened, decide together, and sign. Then record it: ceremony exception --dir DIR"
    ),
    "Times are in UTC. Words of digests are read aloud and followed with the finger; the words of share sheets never.",
    "What was written wrong is crossed out once, stays readable, and gets initials. Nothing is erased.",
    "In practice commands begin with ceremony rehearse and have no --rehearsed; the record is marked so, for ever.",
    "Each step shows its name on the screen too, in brackets: what the screen says belongs to the step of that name.",
    (
        "To stop is free until a step that says otherwise. Whoever is tired says so; a break is written down as an "
        "exception, and two people stay with the machine."
    ),
)

COMMITS = "FROM HERE ON, TO STOP IS NOT FREE: SOMETHING THAT LASTS WAS BEGUN"

MEANING = (
    "I was present for all steps beside which my initials stand. I saw what is ticked there, as it is printed. "
    "Every deviation that I noticed is on an exception sheet. I copied the head of the transcript myself."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who takes part. An empty name is a blank to fill."""

    role: str
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptPaper:
    """A script that shall be printed."""

    script: Script
    tool: str
    """Name and version of the program, such as ``coldroot 0.1.0``."""

    @property
    def plan(self) -> Plan:
        """The plan that the script was made from."""
        return self.script.plan

    @property
    def root_name(self) -> str:
        """The root's common name."""
        return common_name_of(self.plan.root.subject)

    @property
    def plan_words(self) -> tuple[str, ...]:
        """The plan's digest in words."""
        return digest_words(self.plan.digest)

    @property
    def qr_payload(self) -> str:
        """What the QR code of each page says: the plan's digest."""
        return f"SHA256:{self.plan.digest.hex().upper()}"

    def sections(self) -> Iterator[tuple[int, Section]]:
        """Return the sections with their numbers."""
        return enumerate(self.script.sections, start=1)

    def who(self, step: Step) -> str:
        """Say who acts, by name where the plan names them."""
        roles = self.plan.roles
        names = {ADMINISTRATOR: (roles.administrator,), WITNESSES: roles.witnesses}.get(step.who, ())
        named = ", ".join(name for name in names if name)
        return f"{step.who}: {named}" if named else step.who

    def people(self) -> list[Person]:
        """Return everybody who takes part, with blanks for those whom the plan does not name."""
        roles = self.plan.roles
        found = [Person(role="Administrator", name=roles.administrator)]
        found += [Person(role="Auditor", name=roles.auditor)] if roles.auditor else []
        witnesses = roles.witnesses or ("",) * _FEWEST_WITNESSES
        found += [Person(role=f"Witness {place}", name=name) for place, name in enumerate(witnesses, start=1)]
        found += [Person(role=role, name=name) for name, role in _custodians(self.plan).items()]
        return [*found, Person(role=""), Person(role="")]


def _custodians(plan: Plan) -> dict[str, str]:
    """Return every custodian, those of rotations too, with the groups that they belong to."""
    # On a later day, the custodians of earlier days' rotations hold nothing any more, unless they are today's.
    today = [each for each in plan.rotations if plan.previous is None or f"rotate:{each.name}" in map(str, plan.acts)]
    groups = [*plan.shares.groups, *(group for rotation in today for group in rotation.shares.groups)]
    found: dict[str, list[str]] = {}
    for group in groups:
        for name in group.custodians:
            named = found.setdefault(name, [])
            if group.name != "custodians" and group.name not in named:
                named.append(group.name)
    return {name: ", ".join(["Custodian", *named]) for name, named in found.items()}


def initials(paper: ScriptPaper) -> tuple[str, ...]:
    """Return the blanks that every step ends with."""
    auditor = ("Initials, auditor",) if paper.plan.roles.auditor else ()
    return ("Time (UTC)", "Initials, administrator", "Initials, witness", *auditor)
