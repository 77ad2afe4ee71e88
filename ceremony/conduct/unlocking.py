"""A quorum of custodians unlocks the HSM: the one way to a PIN."""

from __future__ import annotations

from dataclasses import dataclass

from ceremony import shares
from ceremony.conduct.directory import Journal
from ceremony.conduct.setting import Setting
from ceremony.records import Kind
from ceremony.script import StepName
from ceremony.secret import CeremonySecret
from shared.errors import RequestRejected


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlocked:
    """What a quorum gives: the secret, and which token it opens."""

    serial: str
    """The token's."""
    secret: CeremonySecret


def unlock(setting: Setting, journal: Journal) -> Unlocked:
    """Have a quorum recover the secret, check it against its commitment, and record who it was.

    The HSM is not asked: a wrong secret never costs a try of its PIN.

    Raises:
        RequestRejected: ``share.*``, or as ``Journal.commitments``.
        Fatal: ``share.wrong-secret``.
    """
    people, commitments = setting.people, journal.commitments()
    people.step(StepName.HSM_UNLOCKED)
    quorum = people.quorum(commitments)
    secret = shares.combine(quorum, commitments)
    serial = token_serial(journal)
    used = [commitments.recognise(share).index for share in quorum]
    journal.append(Kind.QUORUM_UNLOCKED, {"set_id": commitments.set_id, "indexes": list(used), "token": serial})
    people.tell(f"{commitments.shape.names(used)} recover the secret")
    return Unlocked(serial=serial, secret=secret)


def token_serial(journal: Journal) -> str:
    """Return the serial of the token that holds the root's key.

    Raises:
        RequestRejected: ``ceremony.incomplete``.
    """
    initialised = journal.find(Kind.TOKEN_INITIALISED)
    if not initialised:
        raise RequestRejected("ceremony.incomplete", "no token was ever initialised here: the root act did not finish")
    return str(initialised[-1].body["serial"])
