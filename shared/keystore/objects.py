"""Objects in a token, read defensively: public keys, attributes, the inventory.

Invariants: nothing that a module returns is trusted to have the right form; a public key in hand was checked
as any other (``shared.keys.check_ca_key``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass, types
from pkcs11 import exceptions as p11

from shared.errors import PeerFailed, Unsupported
from shared.keys import CaPublicKey, KeyKind, check_ca_key

# CKA_EC_PARAMS: the curve's OBJECT IDENTIFIER in DER (PKCS#11 v3.0 current mechanisms §2.3.3 and §2.3.5).
EC_PARAMETERS: dict[KeyKind, bytes] = {
    KeyKind.EC_P256: bytes.fromhex("06082a8648ce3d030107"),
    KeyKind.EC_P384: bytes.fromhex("06052b81040022"),
    KeyKind.EC_P521: bytes.fromhex("06052b81040023"),
    KeyKind.ED25519: bytes.fromhex("06032b6570"),
}
_CURVES: dict[bytes, type[ec.EllipticCurve]] = {
    EC_PARAMETERS[KeyKind.EC_P256]: ec.SECP256R1,
    EC_PARAMETERS[KeyKind.EC_P384]: ec.SECP384R1,
    EC_PARAMETERS[KeyKind.EC_P521]: ec.SECP521R1,
}
# CKP_ML_DSA_65, PKCS#11 v3.2 §6.67.
ML_DSA_65 = 2
_OCTET_STRING = 0x04
_BIT_STRING = 0x03
_ED25519_BYTES = 32

# What is read back of a private key: where it came from, and all that it may be used for.
PRIVATE_KEY_ATTRIBUTES = (
    Attribute.CLASS,
    Attribute.KEY_TYPE,
    Attribute.LABEL,
    Attribute.ID,
    Attribute.TOKEN,
    Attribute.PRIVATE,
    Attribute.MODIFIABLE,
    Attribute.COPYABLE,
    Attribute.DESTROYABLE,
    Attribute.SENSITIVE,
    Attribute.ALWAYS_SENSITIVE,
    Attribute.EXTRACTABLE,
    Attribute.NEVER_EXTRACTABLE,
    Attribute.LOCAL,
    Attribute.KEY_GEN_MECHANISM,
    Attribute.SIGN,
    Attribute.SIGN_RECOVER,
    Attribute.DECRYPT,
    Attribute.UNWRAP,
    Attribute.DERIVE,
    Attribute.ALWAYS_AUTHENTICATE,
    Attribute.WRAP_WITH_TRUSTED,
)
_ENUMS: dict[Attribute, type[IntEnum]] = {
    Attribute.CLASS: ObjectClass,
    Attribute.KEY_TYPE: KeyType,
    Attribute.KEY_GEN_MECHANISM: Mechanism,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenObject:
    """One line of a token's inventory."""

    kind: str
    """``PRIVATE_KEY``, ``PUBLIC_KEY``, ``CERTIFICATE`` …, by PKCS#11's names."""
    key_type: str
    """``EC``, ``RSA`` …; empty for what is no key."""
    label: str
    key_id: str
    """CKA_ID in lower-case hex."""


def read(thing: types.Object, attribute: Attribute) -> object:
    """Return an attribute, or ``None`` when the object does not have it, hides it or garbles it."""
    try:
        return thing[attribute]
    except (p11.AttributeTypeInvalid, p11.AttributeSensitive, p11.FunctionFailed, p11.AttributeValueInvalid):
        return None
    except (ValueError, LookupError, ArithmeticError):
        return None


def read_attributes(thing: types.Object) -> dict[str, bool | str]:
    """Read what a private key says about itself, by PKCS#11's names without CKA_; what it lacks is left out."""
    found: dict[str, bool | str] = {}
    for attribute in PRIVATE_KEY_ATTRIBUTES:
        value = read(thing, attribute)
        if isinstance(value, bool | str):
            found[attribute.name] = value
        elif isinstance(value, bytes):
            found[attribute.name] = value.hex()
        elif isinstance(value, int):
            found[attribute.name] = _enum_name(attribute, value)
    return found


def describe(thing: types.Object) -> TokenObject:
    """Make the inventory's line of an object."""
    kind, key_type = read(thing, Attribute.CLASS), read(thing, Attribute.KEY_TYPE)
    label, key_id = read(thing, Attribute.LABEL), read(thing, Attribute.ID)
    return TokenObject(
        kind=_enum_name(Attribute.CLASS, kind) if isinstance(kind, int) else "UNKNOWN",
        key_type=_enum_name(Attribute.KEY_TYPE, key_type) if isinstance(key_type, int) else "",
        label=label if isinstance(label, str) else "",
        key_id=key_id.hex() if isinstance(key_id, bytes) else "",
    )


def public_key_of(private: types.Object, public: types.Object | None) -> CaPublicKey:
    """Build the public key of a key pair.

    Args:
        private: the private key object.
        public: the public key object with the same CKA_ID; an RSA private key tells its public part itself.

    Raises:
        PeerFailed: ``hsm.public-key-missing`` or ``hsm.malformed``.
        RequestRejected: ``key.weak`` or ``key.unsupported``.
        Unsupported: ``hsm.unsupported``.
    """
    key_type = read(private, Attribute.KEY_TYPE)
    source = private if public is None and key_type == KeyType.RSA else public
    if source is None:
        raise PeerFailed(
            "hsm.public-key-missing",
            "the token holds the private key without its public key object",
            hint="store the public key beside it, with the same CKA_ID",
        )
    try:
        key = _public_key(key_type, source)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise PeerFailed("hsm.malformed", "the token's public key object cannot be read") from None
    return check_ca_key(key, what="key in the token")


def _public_key(key_type: object, source: types.Object) -> CaPublicKey:
    if key_type == KeyType.RSA:
        exponent = int.from_bytes(_bytes(source, Attribute.PUBLIC_EXPONENT), "big")
        return rsa.RSAPublicNumbers(exponent, int.from_bytes(_bytes(source, Attribute.MODULUS), "big")).public_key()
    if key_type == KeyType.EC:
        curve = _CURVES.get(_bytes(source, Attribute.EC_PARAMS))
        if curve is None:
            raise Unsupported("hsm.unsupported", "the key in the token is on a curve that is not supported")
        size = 1 + 2 * ((curve().key_size + 7) // 8)
        return ec.EllipticCurvePublicKey.from_encoded_point(curve(), _point(source, size))
    if key_type == KeyType.EC_EDWARDS:
        return ed25519.Ed25519PublicKey.from_public_bytes(_point(source, _ED25519_BYTES))
    if key_type == KeyType.ML_DSA:
        if read(source, Attribute.PARAMETER_SET) != ML_DSA_65:
            raise Unsupported("hsm.unsupported", "the key in the token is ML-DSA, and not ML-DSA-65")
        return mldsa.MLDSA65PublicKey.from_public_bytes(_bytes(source, Attribute.VALUE))
    raise Unsupported("hsm.unsupported", "the key in the token is of a kind that is not supported")


def _point(source: types.Object, size: int) -> bytes:
    """Unwrap CKA_EC_POINT: a DER OCTET STRING by the book; raw or a BIT STRING in some modules."""
    raw = _bytes(source, Attribute.EC_POINT)
    if len(raw) == size:
        return raw
    point = raw[-size:]
    length = bytes([size]) if size < 0x80 else bytes([0x81, size])  # noqa: PLR2004 (X.690 §8.1.3)
    bits = bytes([size + 1]) if size < 0x7F else bytes([0x81, size + 1])  # noqa: PLR2004
    if raw in (bytes([_OCTET_STRING]) + length + point, bytes([_BIT_STRING]) + bits + b"\0" + point):
        return point
    raise ValueError


def _bytes(source: types.Object, attribute: Attribute) -> bytes:
    value = read(source, attribute)
    if not isinstance(value, bytes) or not value:
        raise ValueError
    return value


def _enum_name(attribute: Attribute, value: int) -> str:
    names = _ENUMS.get(attribute)
    try:
        return str(value) if names is None else names(value).name
    except ValueError:
        return f"0x{value:08x}"
