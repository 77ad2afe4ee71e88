"""The steps of the acts that change who can use the root key: rotation, backup, destruction."""

from __future__ import annotations

from ceremony.plan import ActKind, Plan, PlannedAct, SharesPlan
from ceremony.script import facts
from ceremony.script.making import (
    ADMINISTRATOR,
    CUSTODIANS,
    OF_DAY,
    PRINTED,
    WITNESSES,
    Making,
    closed,
    dealing,
    holders,
    host,
    unlocked,
)
from ceremony.script.model import Expected, Step
from ceremony.script.names import StepName


def shares_after(plan: Plan, act: PlannedAct, shares: SharesPlan) -> SharesPlan:
    """Return who holds the shares after an act."""
    if act.kind is not ActKind.ROTATE:
        return shares
    return next(each.shares for each in plan.rotations if each.name == act.name)


def rotate(making: Making) -> tuple[Step, ...]:
    """Return the steps of a change of custodians: the old sheets die only when the new ones were proven."""
    new = next(each.shares for each in making.plan.rotations if each.name == making.name)
    return (
        host(making, f"ceremony share rotate {OF_DAY} --hsm hsm.toml {PRINTED} {making.name}"),
        unlocked(making),
        *dealing(making, new, provides={facts.NEW_SHEETS}),
        making.step(
            StepName.PINS_REPLACED,
            CUSTODIANS,
            f"A quorum of the new custodians types its sheets: {new.describe()}.",
            "The screen says that the new shares unlock the HSM, and that the old PINs are refused.",
            says="From here on the old sheets unlock nothing.",
            blanks=("Shares used",),
            commits=True,
            requires={facts.NEW_SHEETS, facts.SECRET, facts.UNLOCKED},
            provides={facts.HELD, facts.OLD_SHEETS},
            # A backup is opened by the shares that it was made under, and by no others.
            ends={facts.SECRET, facts.NEW_SHEETS, facts.WRAPPED, facts.BACKUP},
        ),
        closed(making),
        making.step(
            StepName.OLD_SHEETS_DESTROYED,
            WITNESSES,
            *(f"The sheet of {share} ({name}) is shredded." for share, name in holders(making.shares)),
            announced=False,
            requires={facts.OLD_SHEETS, facts.CLOSED},
            ends={facts.OLD_SHEETS},
        ),
    )


def backup(making: Making) -> tuple[Step, ...]:
    """Return the steps of a wrapped backup."""
    return (
        host(making, f"ceremony backup wrap {OF_DAY} --hsm hsm.toml"),
        unlocked(making),
        making.step(
            StepName.KEY_WRAPPED,
            ADMINISTRATOR,
            "The screen names the file of the wrapped key and its digest.",
            expects=(Expected(what="backup"),),
            blanks=("Medium",),
            commits=True,
            requires={facts.UNLOCKED, facts.ROOT_KEY},
            provides={facts.WRAPPED},
        ),
        closed(making),
        making.step(
            StepName.BACKUP_SEALED,
            WITNESSES,
            "The medium with the wrapped key is sealed in a numbered bag; its number is read aloud.",
            blanks=("Bag number", "Where it is kept"),
            announced=False,
            requires={facts.WRAPPED},
            provides={facts.BACKUP},
        ),
    )


def restore_test(making: Making) -> tuple[Step, ...]:
    """Return the steps of the backup's trial."""
    return (
        host(making, f"ceremony backup restore-test {OF_DAY} --hsm hsm.toml"),
        unlocked(making),
        making.step(
            StepName.BACKUP_RESTORED,
            ADMINISTRATOR,
            "The backup is read from its medium; the screen shows its digest, which begins and ends as below.",
            "The screen says that a signature of the restored key verifies under the root's certificate.",
            "The screen says that the restored key is gone again.",
            expects=(Expected(what="backup"),),
            requires={facts.UNLOCKED, facts.BACKUP, facts.ROOT},
        ),
        closed(making),
    )


def destroy(making: Making) -> tuple[Step, ...]:
    """Return the steps of the end of the root key."""
    return (
        host(making, f"ceremony destroy {OF_DAY} --hsm hsm.toml"),
        unlocked(making),
        making.step(
            StepName.KEY_DESTROYED,
            ADMINISTRATOR,
            f"The screen names what shall be destroyed, {making.plan.root.label} among it; a witness reads it aloud.",
            "Everybody agrees; only then the question is answered with yes.",
            "The screen says that the token holds nothing any more.",
            says="What is destroyed now cannot be brought back by anybody.",
            commits=True,
            requires={facts.UNLOCKED, facts.ROOT_KEY},
            ends={facts.ROOT_KEY},
        ),
        making.step(
            StepName.TOKEN_DESTROYED,
            ADMINISTRATOR,
            "The screen says that the token was erased, and that the PIN that opened it is refused.",
            "The certificate of destruction is printed, and signed by the witnesses.",
            blanks=("Token serial",),
            requires={facts.TOKEN},
            ends={facts.TOKEN, facts.UNLOCKED},
        ),
        closed(making),
        making.step(
            StepName.OLD_SHEETS_DESTROYED,
            WITNESSES,
            *(f"The sheet of {share} ({name}) is shredded." for share, name in holders(making.shares)),
            announced=False,
            requires={facts.HELD, facts.CLOSED},
            ends={facts.HELD},
        ),
    )
