"""A private key out of a token and back in: wrapped with AES under a key that comes from outside.

The wrapping key is imported for the length of one call, as an object of the session that is sensitive and cannot
leave; what comes out of the token is PKCS#8 under AES key wrap (RFC 5649 with padding, RFC 3394 where a token knows
only that). Both protect integrity: a changed or foreign backup does not unwrap.

Invariants: nothing of it is ever stored in the token; session objects are destroyed on every way out; a key that
was generated to stay inside (CKA_EXTRACTABLE false) is refused by the token itself.

A key that can be wrapped is one that can leave: its owner has the token's word no more that it never did.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass, types
from pkcs11 import exceptions as p11
from pkcs11.constants import DEFAULT

from shared.errors import PolicyDenied, RequestRejected, Unsupported
from shared.keys import CaKind, CaPublicKey, KeyKind, PostQuantum, kind_of
from shared.keystore.failures import translated
from shared.keystore.hsm_keys import CaHsmKey, PssParameters, hsm_key
from shared.keystore.module import LOCK
from shared.keystore.objects import read_attributes

WRAPPING_KEY_BYTES = 32
_RESTORED_LABEL = "restored for a moment"
# What an unwrapped key may not do. Some tokens refuse to be told so: what they do not know is left out.
_NOTHING_BUT_SIGN = (
    Attribute.ENCRYPT,
    Attribute.WRAP,
    Attribute.VERIFY,
    Attribute.DECRYPT,
    Attribute.UNWRAP,
    Attribute.DERIVE,
)


class WrapMechanism(StrEnum):
    """How a key is wrapped."""

    PADDED = "aes-key-wrap-pad"
    """RFC 5649."""
    PLAIN = "aes-key-wrap"
    """RFC 3394: the encoded key must be a whole number of eight bytes."""


_MECHANISMS = {WrapMechanism.PADDED: Mechanism.AES_KEY_WRAP_PAD, WrapMechanism.PLAIN: Mechanism.AES_KEY_WRAP}
_KEY_TYPES: dict[CaKind, KeyType] = {
    KeyKind.RSA: KeyType.RSA,
    KeyKind.ED25519: KeyType.EC_EDWARDS,
    PostQuantum.ML_DSA_65: KeyType.ML_DSA,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WrappedKey:
    """A private key that left its token, readable by whoever has the wrapping key."""

    mechanism: WrapMechanism
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unwrapped:
    """A key that came back, for a moment."""

    key: CaHsmKey
    attributes: Mapping[str, bool | str]
    """What the token says of it, by PKCS#11's names without ``CKA_``."""


def wrap(session: types.Session, private: types.Object, secret: bytes) -> WrappedKey:
    """Wrap a private key.

    Args:
        session: logged in.
        private: the private key's object.
        secret: the wrapping key, 32 bytes.

    Raises:
        Unsupported: ``hsm.not-extractable`` or ``hsm.unsupported``.
        PeerFailed: ``hsm.*``.
    """
    with _wrapping_key(session, secret) as outer, translated("wrapping a key"):
        mechanism = _best(session)
        try:
            data = bytes(outer.wrap_key(private, mechanism=_MECHANISMS[mechanism]))
        except p11.KeyNotWrappable:
            raise Unsupported("hsm.unsupported", "the token cannot wrap a key of this kind") from None
        except p11.KeyUnextractable:
            raise Unsupported(
                "hsm.not-extractable",
                "the key was generated to stay in its token for ever",
                hint="only a key that was generated under a plan with backup = true can be wrapped",
            ) from None
    return WrappedKey(mechanism=mechanism, data=data)


@contextmanager
def unwrapped(
    session: types.Session, wrapped: WrappedKey, secret: bytes, public_key: CaPublicKey
) -> Iterator[Unwrapped]:
    """Unwrap a private key into the session, and destroy it at the end.

    Args:
        session: logged in.
        wrapped: from ``wrap``.
        secret: the wrapping key, 32 bytes.
        public_key: whose private key it must be.

    Raises:
        PolicyDenied: ``hsm.wrong-wrapping-key``.
        Unsupported: ``hsm.unsupported``.
        PeerFailed: ``hsm.*``.
    """
    with _wrapping_key(session, secret) as outer:
        with translated("unwrapping a key"):
            inner = _unwrap(outer, wrapped, _KEY_TYPES.get(kind_of(public_key), KeyType.EC))
        try:

            def raw_sign(mechanism: Mechanism, parameters: PssParameters | None, data: bytes) -> bytes:
                with LOCK, translated("signing in the HSM"):
                    return bytes(inner.sign(data, mechanism=mechanism, mechanism_param=parameters))

            with translated("reading a key in the token"):
                attributes = read_attributes(inner)
            key = hsm_key(public_key, label=_RESTORED_LABEL, key_id=b"", raw_sign=raw_sign)
            yield Unwrapped(key=key, attributes=attributes)
        finally:
            with translated("destroying a key of the session"):
                inner.destroy()


def _unwrap(outer: Any, wrapped: WrappedKey, key_type: KeyType) -> Any:
    wanted: dict[Attribute, Any] = dict.fromkeys(_NOTHING_BUT_SIGN, DEFAULT)
    wanted |= {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.SIGN: True}
    try:
        return outer.unwrap_key(
            ObjectClass.PRIVATE_KEY,
            key_type,
            wrapped.data,
            mechanism=_MECHANISMS[wrapped.mechanism],
            label=_RESTORED_LABEL,
            store=False,
            template=wanted,
        )
    except (
        p11.WrappedKeyInvalid,
        p11.WrappedKeyLenRange,
        p11.EncryptedDataInvalid,
        p11.EncryptedDataLenRange,
        p11.GeneralError,
        p11.FunctionFailed,
    ):
        # SoftHSM says GeneralError when the integrity check of the key wrap fails.
        raise PolicyDenied(
            "hsm.wrong-wrapping-key",
            "the backup does not unwrap: it was changed, or wrapped under another secret",
            hint="the backup must have been made since the last rotation of custodians",
        ) from None


@contextmanager
def _wrapping_key(session: types.Session, secret: bytes) -> Iterator[Any]:
    if len(secret) != WRAPPING_KEY_BYTES:
        raise RequestRejected("hsm.wrapping-key", f"a wrapping key has {WRAPPING_KEY_BYTES} bytes")
    with translated("importing the wrapping key"):
        outer = session.create_object(
            {
                Attribute.CLASS: ObjectClass.SECRET_KEY,
                Attribute.KEY_TYPE: KeyType.AES,
                Attribute.VALUE: secret,
                Attribute.TOKEN: False,
                Attribute.SENSITIVE: True,
                Attribute.EXTRACTABLE: False,
                Attribute.WRAP: True,
                Attribute.UNWRAP: True,
                Attribute.ENCRYPT: False,
                Attribute.DECRYPT: False,
            }
        )
    try:
        yield outer
    finally:
        with contextlib.suppress(p11.PKCS11Error):
            # The end of the session destroys it too.
            outer.destroy()


def _best(session: types.Session) -> WrapMechanism:
    known = session.token.slot.get_mechanisms()
    for mechanism in WrapMechanism:
        if _MECHANISMS[mechanism] in known:
            return mechanism
    raise Unsupported("hsm.unsupported", "the token cannot wrap keys with AES")
