"""The act of looking: a quorum unlocks the HSM, and everything in it is compared with the record."""

from __future__ import annotations

from dataclasses import dataclass

from ceremony.conduct.continuing import later_act
from ceremony.conduct.later import continue_ceremony, root_key, unlocked_hsm
from ceremony.conduct.setting import Setting
from ceremony.records import Act
from ceremony.script import StepName
from shared.keystore import TokenObject


@dataclass(frozen=True, slots=True, kw_only=True)
class LookedAt:
    """What the act finds."""

    serial: str
    objects: tuple[TokenObject, ...]
    head: bytes
    """The transcript's head digest."""


def look(setting: Setting) -> LookedAt:
    """Conduct the act: needs no plan, changes nothing in the HSM, and is recorded like any other.

    Args:
        setting: where, with which HSM and people.

    Raises:
        RequestRejected: ``ceremony.*``, ``share.*``, ``transcript.*``.
        PolicyDenied: ``host.not-fit``.
        PeerFailed: ``hsm.*``.
        Fatal: ``inventory.*`` or ``ceremony.other-key``.
    """
    continued = continue_ceremony(
        setting, None, command="ceremony hsm inventory", rehearsal="ceremony rehearse inventory"
    )
    with (
        later_act(setting, continued.journal, continued.plan, Act.INVENTORY),
        unlocked_hsm(continued) as opened,
    ):
        root_key(continued, opened.token)
        serial, objects = opened.serial, opened.token.inventory()
    setting.people.step(StepName.TRANSCRIPT_CLOSED)
    return LookedAt(serial=serial, objects=objects, head=continued.journal.head())
