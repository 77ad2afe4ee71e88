"""The end of the root key: destroyed by a quorum, its absence proven, the token erased, a certificate for people.

The steps; the numbers return in the code. After 3 there is no way back.

1. the host is fit; the transcript verifies and is continued; the plan lists the act;
2. a quorum unlocks the HSM, whose inventory is as recorded; people confirm which keys shall end;
3. each key is destroyed, private and public half, after the intent was recorded;
4. its absence is proven: a search by its label, a search by its id, and the inventory find nothing;
5. whatever else the token holds is destroyed; its inventory is empty;
6. the token is erased, and refuses the PIN that opened it;
7. the certificate of destruction is drawn from the record; the transcript closes.

After a crash the act goes on where it stopped: destroying what is gone already is no error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ceremony import inventory
from ceremony.conduct.continuing import later_act
from ceremony.conduct.later import (
    Continued,
    File,
    OpenHsm,
    continue_ceremony,
    places_taken,
    probe_places,
    unlocked_hsm,
    write_files,
)
from ceremony.conduct.setting import Setting
from ceremony.conduct.unlocking import unlock
from ceremony.destruction import FILE, destruction_of, draw
from ceremony.hsm.erasing import erase_token
from ceremony.inventory import DESTROY_KEY, Key
from ceremony.plan import ActKind, PlannedAct
from ceremony.records import Act, Kind
from ceremony.script import StepName
from ceremony.transcript import Record
from shared.errors import Fatal, NotFound, RequestRejected, Unsupported
from shared.keystore import Token

_ERASE = "erase-token"


@dataclass(frozen=True, slots=True, kw_only=True)
class Destroyed:
    """What the act leaves."""

    labels: tuple[str, ...]
    """Of the keys that are no more."""
    file: str
    """The certificate of destruction, relative to the ceremony's directory."""
    head: bytes
    """The transcript's head digest."""


def destroy(setting: Setting) -> Destroyed:
    """Conduct the end of the root key.

    Args:
        setting: where, with which HSM and people.

    Raises:
        RequestRejected: ``ceremony.*``, ``share.*``, ``transcript.*``, ``file.*``.
        PolicyDenied: ``host.not-fit`` or ``people.refused``.
        PeerFailed: ``hsm.*``.
        Fatal: ``destroy.remains`` or ``hsm.not-erased``: the key may still exist.
    """
    people = setting.people
    # 1. Refused before anything is recorded.
    continued = examine_destruction(setting)
    journal = continued.journal
    probe_places(continued, FILE)
    with later_act(setting, journal, continued.plan, Act.DESTROY):
        if not journal.find(Kind.TOKEN_ERASED):
            _erase(continued, _empty(continued))
        # 7.
        end = destruction_of(journal.records)
        assert end is not None
        write_files(continued, File(name=FILE, content=draw(continued.plan, setting.mode, end)))
    people.step(StepName.TRANSCRIPT_CLOSED)
    return Destroyed(labels=tuple(key.label for key in end.keys), file=FILE, head=journal.head())


def examine_destruction(setting: Setting) -> Continued:
    """Check what can be before a share is asked for.

    Raises:
        RequestRejected, PolicyDenied: as ``destroy``.
    """
    continued = continue_ceremony(
        setting,
        PlannedAct(kind=ActKind.DESTROY),
        command="ceremony destroy",
        rehearsal="ceremony rehearse destroy",
        even_destroyed=True,
    )
    if not inventory.recorded_quirks(continued.journal.records).erasable:
        raise Unsupported(
            "hsm.not-erasable",
            "the module of this token does not erase a token that is in use",
            hint="destroy it with the vendor's tool before witnesses, and record that as an exception",
        )
    end = destruction_of(continued.journal.records)
    page = draw(continued.plan, setting.mode, end) if end is not None else None
    if places_taken(continued, {FILE: page}):
        raise RequestRejected("ceremony.destroyed", "the root key of this ceremony was destroyed: nothing can follow")
    return continued


@dataclass(frozen=True, slots=True, kw_only=True)
class _Emptied:
    serial: str
    so_pin: bytes
    user_pin: bytes
    tried_before: bool

    def __repr__(self) -> str:
        return "_Emptied(hidden)"


def _empty(continued: Continued) -> _Emptied:
    """Destroy what the token holds; return what erasing it needs. An erased token cannot be looked into again."""
    journal, people = continued.journal, continued.setting.people
    if any(record.body.get("operation") == _ERASE for record in journal.find(Kind.HSM_INTENT)):
        people.tell("an earlier attempt emptied the token, and may have erased it: it is erased again")
        unlocked = unlock(continued.setting, journal)
        secret, serial = unlocked.secret, unlocked.serial
        return _Emptied(serial=serial, so_pin=secret.so_pin(), user_pin=secret.user_pin(), tried_before=True)
    # 2.
    with unlocked_hsm(continued, writable=True) as opened:
        people.step(StepName.KEY_DESTROYED)
        for key in _unproven(journal.records):
            # An earlier attempt destroyed it, and could not prove it any more.
            _prove_absence(continued, opened.token, key)
        keys = inventory.expected(journal.records).keys
        for key in keys:
            people.tell(f"to be destroyed: key {key.label!r}, id {key.key_id}")
            people.tell(f"sha256 of its public key: {key.public_key_sha256}")
        people.confirm(f"{', '.join(key.label for key in keys) or 'what is left'} shall be destroyed for ever")
        for key in keys:
            _destroy_key(continued, opened, key)
        # 5.
        opened.token.destroy()
        if opened.token.inventory():
            raise Fatal("destroy.remains", "the token still holds objects after they were destroyed")
        people.tell("the token holds nothing any more")
        secret = opened.secret
        return _Emptied(serial=opened.serial, so_pin=secret.so_pin(), user_pin=secret.user_pin(), tried_before=False)


def _destroy_key(continued: Continued, opened: OpenHsm, key: Key) -> None:
    journal, token, key_id = continued.journal, opened.token, bytes.fromhex(key.key_id)
    # 3.
    journal.append(Kind.HSM_INTENT, {"operation": DESTROY_KEY, "label": key.label, "id": key.key_id})
    gone = token.destroy(key_id)
    facts = {"label": key.label, "id": key.key_id, "public_key_sha256": key.public_key_sha256}
    journal.append(Kind.KEY_DESTROYED, {**facts, "objects": inventory.to_json(gone)})
    _prove_absence(continued, token, key)


def _unproven(records: Sequence[Record]) -> list[Key]:
    proven = {record.body.get("id") for record in records if record.kind == Kind.ABSENCE_PROVEN}
    return [
        Key(
            label=str(record.body["label"]),
            key_id=str(record.body["id"]),
            public_key_sha256=str(record.body["public_key_sha256"]),
        )
        for record in records
        if record.kind == Kind.KEY_DESTROYED and record.body.get("id") not in proven
    ]


def _prove_absence(continued: Continued, token: Token, key: Key) -> None:
    # 4.
    journal, key_id = continued.journal, bytes.fromhex(key.key_id)
    _check_absent(token, label=key.label)
    _check_absent(token, key_id=key_id)
    if any(each.key_id == key.key_id or each.label == key.label for each in token.inventory()):
        raise Fatal("destroy.remains", f"the inventory still shows the key {key.label!r}")
    journal.append(
        Kind.ABSENCE_PROVEN,
        {"label": key.label, "id": key.key_id, "not_found_by": ["label", "id", "inventory"]},
    )
    continued.setting.people.tell(
        f"key {key.label!r}: destroyed, and found no more by label, by id or in the inventory"
    )


def _check_absent(token: Token, *, label: str | None = None, key_id: bytes | None = None) -> None:
    # 4. Only the plain answer that there is no such key proves it.
    try:
        token.find(label=label, key_id=key_id)
    except NotFound as missing:
        if missing.code == "hsm.key-missing":
            return
        raise
    raise Fatal("destroy.remains", "the token still finds a key that was destroyed")


def _erase(continued: Continued, emptied: _Emptied) -> None:
    # 6.
    setting, journal = continued.setting, continued.journal
    setting.people.step(StepName.TOKEN_DESTROYED)
    journal.append(Kind.HSM_INTENT, {"operation": _ERASE, "serial": emptied.serial})
    refusal = erase_token(
        setting.hsm,
        emptied.serial,
        so_pin=emptied.so_pin,
        user_pin=emptied.user_pin,
        tried_before=emptied.tried_before,
    )
    journal.append(Kind.TOKEN_ERASED, {"serial": emptied.serial, "refusal": refusal})
    setting.people.tell(f"token {emptied.serial}: erased; the PIN that opened it is refused ({refusal})")
