"""The wrapped backup, pure: its file, and the text that a restored key signs to prove itself.

The wrapping key is derived from the ceremony's secret, so the custodians who unlock the HSM are those who can restore
it, and nobody else: the file itself is no secret. After a rotation of custodians a backup is bound to a secret whose
sheets are destroyed, and a new one must be made.

Invariant: what a restored key signs can be no certificate and no list: it is text, and begins with a letter.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from shared.errors import RequestRejected
from shared.keystore import WrapMechanism, WrappedKey

FOLDER = "backup"
WEAKER = (
    "weaker evidence: the key may leave the token, wrapped; the token reports EXTRACTABLE=true and"
    " NEVER_EXTRACTABLE=false, and its word alone no longer shows that there is no other copy"
)
"""What the transcript says of a key that can be wrapped."""
_FORMAT = 1
_MEMBERS = {"coldroot_backup", "set_id", "token", "keys"}
_KEY_MEMBERS = {"label", "id", "public_key_sha256", "mechanism", "wrapped"}
_MOST_KEYS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class BackedUpKey:
    """One key in a backup."""

    label: str
    key_id: str
    """CKA_ID in lower-case hex."""
    public_key_sha256: str
    wrapped: WrappedKey = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """What the file holds."""

    set_id: str
    """Of the shares that can restore it."""
    token: str
    """The serial of the token that it was taken from."""
    keys: tuple[BackedUpKey, ...]


def backup_file(number: int) -> str:
    """Return where a backup lies in the ceremony's directory.

    Args:
        number: counts the backups from 1.
    """
    return f"{FOLDER}/backup-{number}.json"


def encode_backup(backup: Backup) -> bytes:
    """Write the file: canonical JSON, a line."""
    content = {
        "coldroot_backup": _FORMAT,
        "set_id": backup.set_id,
        "token": backup.token,
        "keys": [
            {
                "label": each.label,
                "id": each.key_id,
                "public_key_sha256": each.public_key_sha256,
                "mechanism": each.wrapped.mechanism.value,
                "wrapped": base64.b64encode(each.wrapped.data).decode("ascii"),
            }
            for each in backup.keys
        ],
    }
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode("ascii") + b"\n"


def decode_backup(data: bytes) -> Backup:
    """Read the file; only what ``encode_backup`` writes is taken.

    Raises:
        RequestRejected: ``backup.malformed``.
    """
    try:
        content = json.loads(data.decode("ascii"))
        if not isinstance(content, dict) or set(content) != _MEMBERS or content["coldroot_backup"] != _FORMAT:
            raise _malformed()
        keys = content["keys"]
        if not isinstance(keys, list) or not 1 <= len(keys) <= _MOST_KEYS:
            raise _malformed()
        backup = Backup(set_id=_text(content["set_id"]), token=_text(content["token"]), keys=tuple(map(_key, keys)))
    except (ValueError, RecursionError):
        raise _malformed() from None
    if encode_backup(backup) != data:
        raise _malformed()
    return backup


def restore_text(plan_digest: bytes, backup_sha256: str, key_id: str) -> bytes:
    """Return what a restored key signs.

    Args:
        plan_digest: of the ceremony.
        backup_sha256: of the file, in hex.
        key_id: CKA_ID of the key, in hex.
    """
    lines: Sequence[str] = ("coldroot restore test v1", plan_digest.hex(), backup_sha256, key_id, "")
    return "\n".join(lines).encode("ascii")


def _key(entry: object) -> BackedUpKey:
    if not isinstance(entry, dict) or set(entry) != _KEY_MEMBERS:
        raise _malformed()
    try:
        data = base64.b64decode(_text(entry["wrapped"]), validate=True)
        mechanism = WrapMechanism(_text(entry["mechanism"]))
    except (ValueError, binascii.Error):
        raise _malformed() from None
    return BackedUpKey(
        label=_text(entry["label"]),
        key_id=_text(entry["id"]),
        public_key_sha256=_text(entry["public_key_sha256"]),
        wrapped=WrappedKey(mechanism=mechanism, data=data),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _malformed()
    return value


def _malformed() -> RequestRejected:
    return RequestRejected("backup.malformed", "this is no backup of a root key, or it was changed")
