"""What the steps of all acts are made from, and the steps that several acts share."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography import x509

from ceremony.plan import FIRST_ROOT, Plan, SharesPlan
from ceremony.script import facts
from ceremony.script.model import Expected, Fact, Known, Step
from ceremony.script.names import StepName
from shared.ca_extensions import CaExtensions, describe_subtree
from shared.names import format_name

ADMINISTRATOR = "Administrator"
CUSTODIANS = "Custodians"
EVERYBODY = "Everybody"
WITNESSES = "Witnesses"

# What is printed is what is typed: the run that is held against its rehearsal, which lies beside the plan.
REHEARSED = "--rehearsed practice"
OF_DAY = f"--dir DIR {REHEARSED}"
PRINTED = '--print-with "lp -d sheets"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """What the steps of an act are made from."""

    plan: Plan
    part: str
    """The act in the plan's spelling, or a part of the day."""
    shares: SharesPlan
    """Who holds the shares when the act begins."""
    name: str = ""
    """The act's name among those of its kind."""
    known: Known = field(default_factory=Known)
    people_only: bool = False
    """Whether no program announces these steps."""

    def step(
        self,
        name: StepName,
        who: str,
        *does: str,
        requires: frozenset[Fact] | set[Fact] = frozenset(),
        provides: frozenset[Fact] | set[Fact] = frozenset(),
        ends: frozenset[Fact] | set[Fact] = frozenset(),
        says: str = "",
        command: str = "",
        expects: tuple[Expected, ...] = (),
        blanks: tuple[str, ...] = (),
        announced: bool = True,
        commits: bool = False,
    ) -> Step:
        """Make a step of this part."""
        return Step(
            name=name,
            act=self.part,
            who=who,
            does=does,
            says=says,
            command=command,
            expects=expects,
            blanks=blanks,
            announced=announced and not self.people_only,
            commits=commits,
            requires=frozenset(requires),
            provides=frozenset(provides),
            ends=frozenset(ends),
        )


def host(making: Making, command: str, *, plan: Fact = facts.PLAN) -> Step:
    """Return the first step of every act: its command runs, and looks at the machine."""
    return making.step(
        StepName.HOST_CHECKED,
        ADMINISTRATOR,
        "The command is typed as printed here, and read back by a witness before it runs.",
        "The screen lists the checks; every line says pass. (In practice, what fails is read aloud.)",
        *(f"But for what this plan accepts, if it is still so: {each}" for each in making.plan.accepted),
        command=command,
        requires={facts.MACHINE, plan},
        provides={facts.HOST},
    )


def closed(making: Making, *ends: Fact) -> Step:
    """Return the step that every act's transcript ends with."""
    return making.step(
        StepName.TRANSCRIPT_CLOSED,
        ADMINISTRATOR,
        "The screen shows the transcript's head in words; a witness writes some of them down here.",
        expects=(Expected(what="head of the transcript after this act"),),
        requires={facts.TRANSCRIPT},
        provides={facts.CLOSED},
        ends={facts.TRANSCRIPT, facts.HOST, facts.UNLOCKED, *ends},
    )


def unlocked(making: Making) -> Step:
    """Return the step in which the custodians open the HSM for an act."""
    return making.step(
        StepName.HSM_UNLOCKED,
        CUSTODIANS,
        f"One custodian after another types their own sheet, seen by nobody: {making.shares.describe()}.",
        "The screen says of each share that it is one of this set.",
        "The screen says that the shares recover the secret, and shows the token's serial: it is the device's.",
        says="Nobody but the custodian looks at the keyboard and the sheet. The words are not said aloud.",
        blanks=("Shares used", "Token serial"),
        requires={facts.HELD, facts.TOKEN, facts.HOST},
        # The transcript opens silently in every act but the root's.
        provides={facts.UNLOCKED, facts.TRANSCRIPT},
    )


def fields(
    subject: x509.Name, years: int, extensions: CaExtensions, serial: int | None, begin: str | None
) -> tuple[str, ...]:
    """Say what stands in a certificate, one sentence a check box."""
    found = [f"The subject is {format_name(subject)}.", f"It is valid for {years} years."]
    if begin is not None:
        found.append(f"Its validity begins at {begin}.")
    if serial is not None:
        found.append(f"Its serial number is {serial:x}.")
    for label, subtrees in (("permits only", extensions.permitted), ("excludes", extensions.excluded)):
        if subtrees:
            found.append(f"It {label}: {', '.join(describe_subtree(each) for each in subtrees)}.")
    if extensions.policies:
        found.append(f"Its policies are {', '.join(each.dotted_string for each in extensions.policies)}.")
    for label, urls in (
        ("Its revocation list is at", extensions.crl_urls),
        ("Its issuer is at", extensions.issuer_urls),
    ):
        if urls:
            found.append(f"{label} {', '.join(urls)}.")
    return tuple(found)


def signed(making: Making, file: str) -> tuple[Expected, ...]:
    """Return the two digests of a certificate: of what is signed, and of what came out."""
    return (
        Expected(what=f"content of {file}, to be signed", digest=making.known.tbs.get(file)),
        Expected(what=f"certificate {file}"),
    )


def signed_by(making: Making, issuer: str) -> tuple[str, ...]:
    """Say which root signs, when it is not the first one."""
    if issuer == FIRST_ROOT:
        return ()
    return (f"The next root {issuer} signs it: {format_name(making.plan.roots[issuer].subject)}.",)


def dealing(making: Making, shares: SharesPlan, *, provides: set[Fact]) -> tuple[Step, ...]:
    """Return the steps from a new secret to sheets that their custodians read back, and what that brings."""
    return (
        making.step(
            StepName.SECRET_MIXED,
            ADMINISTRATOR,
            "The screen names two sources: the operating system and the HSM.",
            requires={facts.TOKEN, facts.TRANSCRIPT},
            provides={facts.SECRET},
        ),
        making.step(
            StepName.SHARES_SPLIT,
            ADMINISTRATOR,
            f"The screen says: {shares.describe()}; all {shares.shape.quorums} quorums recover the secret.",
            blanks=("Set of shares (first 8 digits)",),
            requires={facts.SECRET},
            provides={facts.SPLIT},
        ),
        making.step(
            StepName.SHEETS_WRITTEN,
            CUSTODIANS,
            "Each custodian comes to the printer alone, takes the sheet, and types its words back; nobody else looks.",
            "A sheet that cannot be read is printed again, and the bad one shredded at once.",
            *(f"{name} holds {share}, and typed it back." for share, name in holders(shares)),
            requires={facts.SPLIT},
            provides={facts.SHEETS},
            ends={facts.SPLIT},
        ),
        making.step(
            StepName.SHEETS_READ_BACK,
            ADMINISTRATOR,
            "The screen lists every share as read back and recognised.",
            requires={facts.SHEETS},
            provides=provides,
            ends={facts.SHEETS},
        ),
    )


def unlocked_anew(making: Making, shares: SharesPlan, *, requires: set[Fact]) -> Step:
    """Return the step that proves the shares: nothing else opens the HSM in it."""
    return making.step(
        StepName.HSM_UNLOCKED_ANEW,
        CUSTODIANS,
        f"A quorum types its sheets once more: {shares.describe()}.",
        "The screen says that these shares unlocked the HSM, and that it holds the root's key.",
        blanks=("Shares used",),
        requires=requires,
    )


def holders(shares: SharesPlan) -> list[tuple[str, str]]:
    """Return each custodian with the name of their share, as the screen and the sheet call it."""
    shape = shares.shape
    pairs = zip(shape.sheets(), shares.custodians, strict=True)
    return [(shape.name(index), custodian) for (index, _), custodian in pairs]
