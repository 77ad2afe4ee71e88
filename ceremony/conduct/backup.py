"""The act of a wrapped backup, and the act that tries it. Both exist only under a plan that says ``backup = true``.

The steps of the backup; the numbers return in the code.

1. the host is fit; the transcript verifies and is continued; the plan lists the act;
2. a quorum unlocks the HSM, whose inventory is as recorded;
3. the wrapping key is derived from the secret, lives in the HSM for one call, and wraps each recorded key;
4. the file is recorded with its digest, and that the evidence for the key is weaker from now on; the file appears.

The steps of the trial:

5. the file is one that was recorded, and belongs to the shares that unlock the HSM now;
6. a quorum unlocks the HSM; each key is unwrapped into the session, never into the token;
7. it signs a text that can be no certificate, the signature verifies under the recorded public key, and is recorded;
8. it is destroyed, and the inventory shows that nothing stayed.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path

from ceremony import hsm, inventory
from ceremony.backup import (
    WEAKER,
    BackedUpKey,
    Backup,
    backup_file,
    decode_backup,
    encode_backup,
    restore_text,
)
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
from ceremony.plan import ActKind, PlannedAct
from ceremony.records import Act, Kind
from ceremony.script import StepName
from ceremony.transcript import Json
from shared import durable
from shared.errors import Fatal, RequestRejected
from shared.keys import kind_of, public_key_digest, signature_hash
from shared.keystore import CaHsmKey, Token
from shared.signing import check_signature, sign


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupMade:
    """What the act leaves."""

    file: str
    """Relative to the ceremony's directory."""
    digest: bytes
    """SHA-256 of the file."""
    head: bytes
    """The transcript's head digest."""


def make_backup(setting: Setting) -> BackupMade:
    """Conduct the act of the backup.

    Args:
        setting: where, with which HSM and people.

    Raises:
        RequestRejected: ``ceremony.*``, ``share.*``, ``transcript.*``, ``file.*``.
        Unsupported: ``hsm.not-extractable`` for a key that was made before the plan allowed a backup.
        PolicyDenied: ``host.not-fit``.
        PeerFailed: ``hsm.*``.
        Fatal: when something does not hold.
    """
    people = setting.people
    # 1. Refused before anything is recorded.
    continued, file = examine_backup(setting)
    probe_places(continued, file)
    with later_act(setting, continued.journal, continued.plan, Act.BACKUP):
        # 2.
        with unlocked_hsm(continued) as opened:
            people.step(StepName.KEY_WRAPPED)
            backup = _wrap_all(continued, opened)
        # 4.
        content = encode_backup(backup)
        digest = hashlib.sha256(content).digest()
        keys: list[Json] = [
            {"label": each.label, "id": each.key_id, "public_key_sha256": each.public_key_sha256}
            for each in backup.keys
        ]
        continued.journal.append(
            Kind.KEY_WRAPPED,
            {
                "file": file,
                "sha256": digest.hex(),
                "set_id": backup.set_id,
                "token": backup.token,
                "mechanism": backup.keys[0].wrapped.mechanism.value,
                "keys": keys,
                "evidence": WEAKER,
            },
        )
        people.show_digest(f"backup, in which {len(keys)} keys are wrapped", digest)
        people.tell(WEAKER)
        write_files(continued, File(name=file, content=content, mode=durable.PRIVATE))
    people.step(StepName.TRANSCRIPT_CLOSED)
    return BackupMade(file=file, digest=digest, head=continued.journal.head())


def try_backup(setting: Setting, file: Path | None) -> BackupMade:
    """Conduct the trial of a backup.

    Args:
        setting: where, with which HSM and people.
        file: the backup, from its medium; the last one in the ceremony's directory when ``None``.

    Raises:
        RequestRejected: ``ceremony.*``, ``backup.*``, ``share.*``, ``transcript.*``, ``file.*``.
        PolicyDenied: ``host.not-fit`` or ``hsm.wrong-wrapping-key``.
        PeerFailed: ``hsm.*``.
        Fatal: when something does not hold.
    """
    people = setting.people
    # 5. Refused before anything is recorded.
    continued, name, content = examine_restore(setting, file)
    backup, digest = decode_backup(content), hashlib.sha256(content)
    # 6.
    with (
        later_act(setting, continued.journal, continued.plan, Act.RESTORE_TEST),
        unlocked_hsm(continued) as opened,
    ):
        people.step(StepName.BACKUP_RESTORED)
        people.show_digest("backup", digest.digest())
        for each in backup.keys:
            _try(continued, opened, each, name, digest.hexdigest())
    people.step(StepName.TRANSCRIPT_CLOSED)
    return BackupMade(file=name, digest=digest.digest(), head=continued.journal.head())


def examine_backup(setting: Setting) -> tuple[Continued, str]:
    """Check what can be before a share is asked for; return the ceremony and where the backup will lie.

    Raises:
        RequestRejected, PolicyDenied: as ``make_backup``.
    """
    # 1.
    continued = continue_ceremony(
        setting,
        PlannedAct(kind=ActKind.BACKUP),
        command="ceremony backup wrap",
        rehearsal="ceremony rehearse backup",
    )
    file = backup_file(1 + len(continued.journal.find(Kind.KEY_WRAPPED)))
    places_taken(continued, {file: None})
    return continued, file


def examine_restore(setting: Setting, file: Path | None) -> tuple[Continued, str, bytes]:
    """Check what can be before a share is asked for; return the ceremony, the backup's name, and its content.

    Raises:
        RequestRejected, PolicyDenied: as ``try_backup``.
    """
    continued = continue_ceremony(
        setting,
        PlannedAct(kind=ActKind.RESTORE_TEST),
        command="ceremony backup restore-test",
        rehearsal="ceremony rehearse restore-test",
    )
    # 5.
    name, content = _read(continued, file)
    _check_set(continued, decode_backup(content))
    return continued, name, content


def _wrap_all(continued: Continued, opened: OpenHsm) -> Backup:
    # 3.
    wrapped = []
    for each in inventory.expected(continued.journal.records).keys:
        key = _recorded_key(opened.token, each.key_id, each.public_key_sha256)
        hsm.check_attributes(
            hsm.key_attributes(opened.token, key),
            backup=continued.plan.backup,
            rehearsal=continued.setting.rehearsal,
            quirks=opened.token.quirks,
        )
        continued.journal.append(Kind.HSM_INTENT, {"operation": "wrap-key", "label": each.label, "id": each.key_id})
        wrapped.append(
            BackedUpKey(
                label=each.label,
                key_id=each.key_id,
                public_key_sha256=each.public_key_sha256,
                wrapped=opened.token.wrap(key, opened.secret.backup_key()),
            )
        )
    set_id = continued.journal.commitments().set_id
    return Backup(set_id=set_id, token=opened.serial, keys=tuple(wrapped))


def _recorded_key(token: Token, key_id: str, public_key_sha256: str) -> CaHsmKey:
    key = token.find(key_id=bytes.fromhex(key_id))
    if public_key_digest(key.public_key()) != public_key_sha256:
        raise Fatal("ceremony.other-key", f"the HSM holds another key than the recorded one under the id {key_id}")
    return key


def _read(continued: Continued, file: Path | None) -> tuple[str, bytes]:
    recorded = continued.journal.find(Kind.KEY_WRAPPED)
    if not recorded:
        raise RequestRejected("backup.missing", "no backup was ever made here", hint="run `ceremony backup wrap` first")
    content = durable.read_file(file or continued.path / str(recorded[-1].body["file"]))
    digest = hashlib.sha256(content).hexdigest()
    for record in recorded:
        if record.body.get("sha256") == digest:
            return str(record.body["file"]), content
    raise RequestRejected("backup.unknown", "this file is none of the backups that were recorded here")


def _check_set(continued: Continued, backup: Backup) -> None:
    live = continued.journal.commitments().set_id
    if backup.set_id != live:
        raise RequestRejected(
            "backup.other-shares",
            f"the backup was wrapped under the shares of the set {backup.set_id}, and {live} unlock the HSM now",
            hint="make a new backup, and destroy this one: who kept old sheets could restore it",
        )


def _try(continued: Continued, opened: OpenHsm, each: BackedUpKey, file: str, digest: str) -> None:
    journal, people = continued.journal, continued.setting.people
    public_key = _recorded_key(opened.token, each.key_id, each.public_key_sha256).public_key()
    text = restore_text(continued.plan.digest, digest, each.key_id)
    journal.append(Kind.HSM_INTENT, {"operation": "restore-key", "label": each.label, "id": each.key_id})
    with opened.token.unwrapped(each.wrapped, opened.secret.backup_key(), public_key) as restored:
        # 7.
        signature = sign(restored.key, text)
        check_signature(public_key, signature=signature, data=text, algorithm=signature_hash(kind_of(public_key)))
        attributes = dict(restored.attributes)
        if attributes.get("TOKEN") is not False:
            raise Fatal("backup.stored", "the restored key is not one of the session: it would stay in the token")
    # 8. Leaving the block destroyed it; the inventory after the act looks.
    journal.append(
        Kind.BACKUP_RESTORED,
        {
            "file": file,
            "sha256": digest,
            "label": each.label,
            "id": each.key_id,
            "public_key_sha256": each.public_key_sha256,
            "attributes": attributes,
            "signature": base64.b64encode(signature).decode("ascii"),
        },
    )
    people.tell(f"key {each.label!r}: restored for a moment, its signature verifies, and it is gone again")
