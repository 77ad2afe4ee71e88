"""The signature that ends an act: by a key that was made at its opening and thrown away after it.

The public key stands in the act's opening record; the private key lives in the memory of the program that conducts
the act, signs the digest of the act's ending once, and is dropped. Every act has its own key, because a key that
outlived the program would have to be kept somewhere.

What it proves: the end of an act was written by the program that wrote its opening, before that program ended.
Whoever holds the opening's public key (a witness who copied the head at the beginning, an earlier copy of the file)
notices any change that was made to the act later, by anybody. What it does not prove: that the story is true. Who
rewrites the whole transcript makes new keys too; against that stand the head on the witnesses' paper and the
counter-signatures (``countersign``), and nothing else.

An act whose program was killed has no signature, unless it was resumed: the program that resumes it makes a key anew
and records it. An act that was killed between its end and the signature has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ceremony.records import OPENINGS, Facts, Kind
from ceremony.transcript import Record
from shared.errors import Fatal, RequestRejected

SIGNING_KEY = "signing_key"
"""Member of an opening: the act's public key, 64 hex digits (Ed25519, RFC 8032)."""
_TAG = b"coldroot act end\x00"
_KEY_DIGITS, _SIGNATURE_DIGITS = 64, 128


class ActSigner:
    """One act's key. It signs once."""

    def __init__(self) -> None:
        key = Ed25519PrivateKey.generate()
        self.public = key.public_key().public_bytes_raw().hex()
        self._key: Ed25519PrivateKey | None = key

    def opening(self) -> Facts:
        """Return what the opening record says of the key."""
        return {SIGNING_KEY: self.public}

    def sign(self, head: bytes) -> Facts:
        """Sign the digest of the act's ending and drop the key.

        Raises:
            Fatal: ``signature.spent`` the second time.
        """
        if self._key is None:
            raise Fatal("signature.spent", "the act's key signed already and is gone")
        signature = self._key.sign(_TAG + head)
        self._key = None
        return {"head": head.hex(), "signature": signature.hex()}


def signed_acts(records: Sequence[Record]) -> Iterator[Record]:
    """Check the signature under every act; yield the records that hold one.

    An act that was found open is not signed; neither is one whose program was killed right after its end.

    Raises:
        RequestRejected: ``verify.signature.key``, ``verify.signature.place`` or ``verify.signature.wrong``.
    """
    key: Ed25519PublicKey | None = None
    for number, record in enumerate(records):
        if record.kind in OPENINGS or record.kind == Kind.ACT_RESUMED:
            key = _public_key(record)
        elif record.kind == Kind.ACT_SIGNED:
            ending = records[number - 1]
            if key is None or ending.kind not in {Kind.ACT_CLOSED, Kind.ACT_FAILED}:
                raise _false("place", f"record {record.seq} signs no end of an act")
            _check(record, ending, key)
            key = None
            yield record


def _public_key(opening: Record) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(_unhex(opening, SIGNING_KEY, _KEY_DIGITS))


def _check(record: Record, ending: Record, key: Ed25519PublicKey) -> None:
    head, signature = record.body.get("head"), _unhex(record, "signature", _SIGNATURE_DIGITS)
    try:
        key.verify(signature, _TAG + ending.digest)
    except InvalidSignature:
        head = None
    if head != ending.digest.hex():
        raise _false("wrong", f"record {record.seq} is not the signature of the program that opened this act")


def _unhex(record: Record, member: str, digits: int) -> bytes:
    text = record.body.get(member)
    if not isinstance(text, str) or len(text) != digits or set(text) - set("0123456789abcdef"):
        raise _false("key", f"record {record.seq} has no {member} of {digits} hex digits")
    return bytes.fromhex(text)


def _false(claim: str, why: str) -> RequestRejected:
    return RequestRejected(f"verify.signature.{claim}", f"this ceremony does not verify: {why}")
