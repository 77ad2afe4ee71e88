"""Signatures in minisign's format, verified without minisign: plain Ed25519 and the kind over a BLAKE2b digest.

A file has four lines: a comment that nobody signed, the signature, a comment that is signed, and the signature under
that. Invariant: the first comment is fixed to one text when a signature is filed, so that no byte of the file can
change unnoticed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from shared.errors import RequestRejected, Unauthenticated

COMMENT = "untrusted comment: signature under a coldroot transcript"
_TRUSTED = "trusted comment: "
_UNTRUSTED = "untrusted comment: "
_PLAIN, _HASHED = b"Ed", b"ED"
_KEY_BYTES, _SIGNATURE_BYTES, _ID_BYTES = 42, 74, 8
_LARGEST = 1 << 12


@dataclass(frozen=True, slots=True, kw_only=True)
class MinisignKey:
    """A public key as minisign prints it."""

    key_id: bytes
    public: bytes

    @property
    def fingerprint(self) -> str:
        """The key's number, as minisign shows it."""
        return f"minisign key {self.key_id[::-1].hex().upper()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MinisignSignature:
    """A signature as it was read; ``check`` tells whether it holds."""

    algorithm: bytes
    key_id: bytes
    value: bytes
    trusted_comment: bytes
    over_comment: bytes

    def check(self, key: MinisignKey, message: bytes) -> None:
        """Insist that this is the signature of a key over a message, and over its comment.

        Raises:
            Unauthenticated: ``signature.wrong``.
        """
        signed = hashlib.blake2b(message).digest() if self.algorithm == _HASHED else message
        if self.key_id != key.key_id:
            raise _wrong()
        try:
            public = Ed25519PublicKey.from_public_bytes(key.public)
            public.verify(self.value, signed)
            public.verify(self.over_comment, self.value + self.trusted_comment)
        except (InvalidSignature, ValueError):
            raise _wrong() from None

    def encode(self) -> bytes:
        """Return the file's one form."""
        lines = (
            COMMENT.encode("ascii"),
            base64.b64encode(self.algorithm + self.key_id + self.value),
            _TRUSTED.encode("ascii") + self.trusted_comment,
            base64.b64encode(self.over_comment),
        )
        return b"".join(line + b"\n" for line in lines)


def read_key(text: str) -> MinisignKey:
    """Read the base64 line of a public key.

    Raises:
        RequestRejected: ``signature.unusable-key``.
    """
    blob = _exact(text.encode("utf-8", "replace"))
    if blob is None or len(blob) != _KEY_BYTES or blob[:2] != _PLAIN:
        raise RequestRejected("signature.unusable-key", "this is not a public key of minisign")
    return MinisignKey(key_id=blob[2 : 2 + _ID_BYTES], public=blob[2 + _ID_BYTES :])


def read_minisig(data: bytes) -> MinisignSignature:
    """Read a signature file; its first comment may be any.

    Raises:
        RequestRejected: ``signature.malformed``.
    """
    lines = data.split(b"\n")
    if len(data) > _LARGEST or len(lines) != 5 or lines[4]:  # noqa: PLR2004 (four lines and what follows the last)
        raise _malformed()
    blob, over_comment = _exact(lines[1]), _exact(lines[3])
    if not lines[0].startswith(_UNTRUSTED.encode()) or not lines[2].startswith(_TRUSTED.encode()):
        raise _malformed()
    if blob is None or over_comment is None or len(blob) != _SIGNATURE_BYTES or blob[:2] not in {_PLAIN, _HASHED}:
        raise _malformed()
    return MinisignSignature(
        algorithm=blob[:2],
        key_id=blob[2 : 2 + _ID_BYTES],
        value=blob[2 + _ID_BYTES :],
        trusted_comment=lines[2].removeprefix(_TRUSTED.encode()),
        over_comment=over_comment,
    )


def _exact(text: bytes) -> bytes | None:
    try:
        blob = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return None
    return blob if base64.b64encode(blob) == text else None


def _wrong() -> Unauthenticated:
    return Unauthenticated("signature.wrong", "the signature is not one of this key over this head")


def _malformed() -> RequestRejected:
    return RequestRejected("signature.malformed", "this is not a signature as minisign writes it")
