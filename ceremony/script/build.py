"""From a plan to its script: preparation, the acts in their order, and the end of the day."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from ceremony.crl import act_that_signs
from ceremony.plan import AMENDMENT, ActKind, Plan, PlannedAct, SharesPlan
from ceremony.plan.lists import revocable
from ceremony.script import acts, custody, facts
from ceremony.script.making import ADMINISTRATOR, CUSTODIANS, EVERYBODY, WITNESSES, Making, holders
from ceremony.script.model import Expected, Fact, Known, Material, Script, Section, Step
from ceremony.script.names import StepName
from shared.errors import RequestRejected

PREPARATION = "preparation"
CLOSING = "closing"

_ACTS: Mapping[ActKind, tuple[str, Callable[[Making], tuple[Step, ...]]]] = {
    ActKind.ROOT: ("The root", acts.root),
    ActKind.AMEND: ("The plan of this day", acts.amend),
    ActKind.INTERMEDIATE: ("The intermediate {name}", acts.intermediate),
    ActKind.CRL: ("The revocation list {name}", acts.crl),
    ActKind.CROSS: ("The cross-certificate {name}", acts.cross),
    ActKind.ROLLOVER: ("The rollover {name}", acts.rollover),
    ActKind.ROTATE: ("New custodians: {name}", custody.rotate),
    ActKind.BACKUP: ("The backup of the root key", custody.backup),
    ActKind.RESTORE_TEST: ("The test of the backup", custody.restore_test),
    ActKind.DESTROY: ("The end of the root key", custody.destroy),
}


def build_script(plan: Plan, known: Known | None = None, *, only: Sequence[str] = ()) -> Script:
    """Make the script of a plan, or of one day of it.

    Args:
        plan: validated.
        known: digests that are known before the day.
        only: the acts of this day, in the plan's spelling, when it has others on other days. What the plan has before
            the first of them counts as done.

    Raises:
        RequestRejected: ``script.impossible`` when the acts cannot be done in the order of the plan;
            ``script.unplanned-act`` for one that it does not have.
    """
    known = known or Known()
    shares = plan.shares
    if only:
        plan, shares = _one_day(plan, only)
    sections = [_preparation(plan, shares)]
    for act in plan.acts:
        title, make = _ACTS[act.kind]
        making = Making(plan=plan, part=str(act), name=act.name, shares=shares, known=known)
        sections.append(Section(title=title.format(name=act.name), act=act, steps=make(making)))
        shares = custody.shares_after(plan, act, shares)
    sections.append(_closing(plan, shares))
    return Script.make(plan, sections, given=_given(plan), materials=tuple(_materials(plan, shares)))


def _one_day(plan: Plan, only: Sequence[str]) -> tuple[Plan, SharesPlan]:
    """Return the plan with the acts of one day alone, and who holds the shares when it begins."""
    for name in only:
        if name not in map(str, plan.acts):
            planned = ", ".join(map(str, plan.acts))
            raise RequestRejected("script.unplanned-act", f"the plan has no act {name}", hint=f"planned: {planned}")
    acts = tuple(act for act in plan.acts if str(act) in only)
    shares = plan.shares
    for act in plan.acts[: plan.acts.index(acts[0])]:
        shares = custody.shares_after(plan, act, shares)
    return replace(plan, acts=acts), shares


def numbered(plan: Plan, act: PlannedAct) -> tuple[tuple[str, Step], ...]:
    """Return the steps of one act with their numbers on the printed script.

    Raises:
        RequestRejected: ``script.impossible`` or ``script.unplanned-act``.
    """
    script = build_script(plan)
    section = script.section(act)
    place = script.sections.index(section) + 1
    return tuple((f"{place}.{number}", step) for number, step in enumerate(section.steps, start=1))


def _begins(plan: Plan) -> bool:
    return PlannedAct(kind=ActKind.ROOT) in plan.acts


def _ends(plan: Plan) -> bool:
    return PlannedAct(kind=ActKind.DESTROY) in plan.acts


def _given(plan: Plan) -> set[Fact]:
    """What earlier days left: nothing when the plan makes the root, else all that it does not make itself."""
    if _begins(plan):
        return set()
    today = set(map(str, plan.acts))
    found = {facts.ROOT, facts.ROOT_KEY, facts.TOKEN}
    for file in revocable(plan.intermediates, plan.crosses, plan.rollovers):
        if act_that_signs(file) not in today:
            found.add(facts.certificate(file))
    for each in plan.rollovers:
        if f"{ActKind.ROLLOVER}:{each.name}" not in today:
            found |= facts.issuer(each.name)
    if plan.backup and PlannedAct(kind=ActKind.BACKUP) not in plan.acts:
        found.add(facts.BACKUP)
    return found


def _preparation(plan: Plan, shares: SharesPlan) -> Section:
    making = Making(plan=plan, part=PREPARATION, shares=shares, people_only=True)
    amends = AMENDMENT in plan.acts
    brought: set[Fact] = {facts.MATERIALS}
    brought |= {facts.BLANK_TOKEN} if _begins(plan) else set()
    steps = [
        making.step(
            StepName.ROOM_PREPARED,
            EVERYBODY,
            "Telephones, watches with radio and other computers are outside the room.",
            "The camera runs; the room's clock, the screen and the HSM are in its picture.",
            "Until the end nobody is alone with the machine or the HSM. Who leaves is written down.",
            says="We follow this script step by step. Whoever sees something that is not as printed says: stop.",
            blanks=("Camera", "Clock of the room (UTC)"),
        ),
        making.step(
            StepName.PEOPLE_PRESENT,
            WITNESSES,
            "Each person is in the table of roles; a document with a picture was seen, and the box is ticked.",
            "Each person knows what their role is, and holds no role that the table rules out.",
            provides={facts.PEOPLE},
        ),
        making.step(
            StepName.MATERIALS_PRESENT,
            ADMINISTRATOR,
            "Everything in the table of materials lies on the table; every number is written down and read back.",
            "No seal is broken.",
            requires={facts.PEOPLE},
            provides=brought,
        ),
        making.step(
            StepName.MACHINE_STARTED,
            ADMINISTRATOR,
            "No cable but power, screen, keyboard, printer and HSM is connected; there is no radio in the machine.",
            "The machine was started from the medium in the table, whose digest a witness compared.",
            "The program's version is the one on the first page.",
            "The machine's clock and the clock of the room agree to the minute, in UTC.",
            command="ceremony --version",
            blanks=("Clock of the machine (UTC)",),
            requires={facts.MATERIALS},
            provides={facts.MACHINE},
        ),
        making.step(
            StepName.PLAN_COMPARED,
            EVERYBODY,
            "The administrator reads the words from the screen; everybody follows them on a paper of their own.",
            says="These words stand for every letter of the plan. Whoever has other words says so now.",
            command=f"ceremony plan check {'plan.toml' if plan.previous is None else '--dir DIR PLAN'}",
            expects=(Expected(what="plan", digest=plan.digest),),
            requires={facts.MACHINE},
            provides={facts.NEXT_PLAN if amends else facts.PLAN},
        ),
    ]
    if not _begins(plan):
        steps.append(
            making.step(
                StepName.BAGS_OPENED,
                CUSTODIANS,
                *(
                    f"{name}: the bag is whole, and its number is the one on the receipt."
                    for _, name in holders(shares)
                ),
                blanks=tuple(f"Bag of {name}" for _, name in holders(shares)),
                requires={facts.NEXT_PLAN if amends else facts.PLAN},
                provides={facts.HELD},
            )
        )
    return Section(title="Before the first act", act=None, steps=tuple(steps))


def _closing(plan: Plan, shares: SharesPlan) -> Section:
    making = Making(plan=plan, part=CLOSING, shares=shares, people_only=True)
    steps = []
    if not _ends(plan):
        steps.append(
            making.step(
                StepName.SHEETS_SEALED,
                CUSTODIANS,
                *(
                    f"{name} sealed their sheet; the number was read aloud; the receipt is signed."
                    for _, name in holders(shares)
                ),
                blanks=tuple(f"Bag of {name}" for _, name in holders(shares)),
                requires={facts.HELD},
                ends={facts.HELD},
            )
        )
    steps += [
        making.step(
            StepName.HEAD_COPIED,
            WITNESSES,
            "The screen shows the head of the transcript; each witness copies it onto a paper of their own, too.",
            says="This is what we leave with. Whoever changes the record later cannot change our papers.",
            command="ceremony transcript head DIR",
            expects=(Expected(what="head of the transcript", whole=True),),
            requires={facts.CLOSED},
        ),
        making.step(
            StepName.COPIES_TAKEN,
            ADMINISTRATOR,
            "The ceremony's directory, without sheets and tokens, is copied to each medium in the table.",
            "The copy is verified on another machine; its last line shows the head that was copied by hand.",
            command="ceremony verify DIR",
            blanks=("Media",),
            requires={facts.CLOSED},
        ),
        making.step(
            StepName.EXCEPTIONS_REVIEWED,
            EVERYBODY,
            "Every exception sheet that was used is complete and signed; the unused ones are crossed out.",
            blanks=("Exceptions, how many",),
        ),
        making.step(
            StepName.MACHINE_STOPPED,
            ADMINISTRATOR,
            "The HSM is disconnected and sealed in a numbered bag.",
            "The machine and the printer are switched off and stay without power for five minutes.",
            "Misprints and notes with words of a sheet are shredded in front of the witnesses.",
            blanks=("Bag of the HSM", "Where it is kept"),
        ),
    ]
    return Section(title="After the last act", act=None, steps=tuple(steps))


def _materials(plan: Plan, shares: SharesPlan) -> Iterator[Material]:
    kinds = {act.kind for act in plan.acts}
    yield Material(name="Machine without radio, of which no disk is used", number="Serial number")
    yield Material(name="Medium that the machine is started from", number="SHA-256, first 8 digits")
    yield Material(name="HSM" if _begins(plan) else "HSM in its bag", number="Serial, bag number")
    if ActKind.RESTORE_TEST in kinds:
        yield Material(name="Medium with the wrapped backup, for its test", number="Bag number")
    plans = "plan.toml" if plan.previous is None else "the plan of this day"
    yield Material(
        name=f"Medium with {plans}, hsm.toml and the rehearsal's directory, practice", number="Bag or serial number"
    )
    for act in plan.acts:
        if act.kind is ActKind.INTERMEDIATE:
            yield Material(name=f"Request of {act.name}, and the paper with its digest words", number="Medium")
        if act.kind is ActKind.CROSS:
            yield Material(name=f"Certificate of the other root for {act.name}, and its owner's paper", number="Medium")
    if kinds & {ActKind.ROOT, ActKind.ROTATE}:
        yield Material(name="Printer without memory or network, connected by cable", number="Serial number")
        yield Material(name="Paper for sheets and receipts", count=2 * len(shares.custodians))
    bags = 1 + (0 if _ends(plan) else len(shares.custodians)) + (1 if ActKind.BACKUP in kinds else 0)
    yield Material(name="Numbered bags that show tampering, new", count=bags, number="First and last number")
    yield Material(name="Media for copies of the record", count=2, number="Serial numbers")
    yield Material(name="Pens, black or blue; scissors; a shredder")
    yield Material(name="This script, one printed copy for each person")
