"""JSON Web Keys (RFC 7517, RFC 7518 §6, RFC 8037 §2) and their thumbprints (RFC 7638).

Invariants: a ``Jwk`` or ``PrivateJwk`` in hand holds an accepted key (see ``shared.keys``) for signatures, one
algorithm that suits it, and a key identifier. A private key is never in a ``repr`` or an error.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import NoReturn

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from online.jose import b64
from online.strict_json import Json, JsonObject, parse_object
from shared.errors import RequestRejected
from shared.keys import KeyKind, PrivateKey, PublicKey, check_public_key, kind_of
from shared.names import printable

_LONGEST_KID = 256
_CURVES: dict[str, tuple[KeyKind, type[ec.EllipticCurve], int]] = {
    "P-256": (KeyKind.EC_P256, ec.SECP256R1, 32),
    "P-384": (KeyKind.EC_P384, ec.SECP384R1, 48),
    "P-521": (KeyKind.EC_P521, ec.SECP521R1, 66),
}
_CURVE_NAMES = {kind: name for name, (kind, _, _) in _CURVES.items()}
# The first is the default of its kind, as in step. Only RSA leaves a choice.
_ALGORITHMS: dict[KeyKind, tuple[str, ...]] = {
    KeyKind.EC_P256: ("ES256",),
    KeyKind.EC_P384: ("ES384",),
    KeyKind.EC_P521: ("ES512",),
    KeyKind.ED25519: ("EdDSA",),
    KeyKind.RSA: ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
}
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


def algorithm_for(key: PublicKey) -> str:
    """Return the JWS algorithm that goes with a key by default (RFC 7518 §3.1, RFC 8037 §3.1)."""
    return _ALGORITHMS[kind_of(key)][0]


def check_algorithm(algorithm: str, key: PublicKey) -> str:
    """Return the algorithm if a key of this kind may be used with it.

    Raises:
        RequestRejected: ``jwk.algorithm``.
    """
    if algorithm not in _ALGORITHMS[kind_of(key)]:
        raise RequestRejected("jwk.algorithm", f"the algorithm {printable(algorithm)} does not suit the key")
    return algorithm


@dataclass(frozen=True, slots=True, kw_only=True)
class Jwk:
    """A public signature key."""

    key: PublicKey
    kid: str
    algorithm: str

    @classmethod
    def of(cls, key: PublicKey) -> Jwk:
        """Wrap a key with its default algorithm and its thumbprint as identifier, as step does."""
        return cls(key=key, kid=thumbprint(key), algorithm=algorithm_for(key))

    def to_json(self) -> JsonObject:
        """Return the key in the member order that step writes."""
        members = _public_members(self.key)
        result: JsonObject = {"use": "sig", "kty": members.pop("kty"), "kid": self.kid}
        if "crv" in members:
            result["crv"] = members.pop("crv")
        return {**result, "alg": self.algorithm, **members}


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateJwk:
    """A private signature key of a provisioner."""

    key: PrivateKey = field(repr=False)
    kid: str
    algorithm: str

    @classmethod
    def of(cls, key: PrivateKey) -> PrivateJwk:
        """Wrap a key with its default algorithm and its thumbprint as identifier."""
        public = Jwk.of(key.public_key())
        return cls(key=key, kid=public.kid, algorithm=public.algorithm)

    def public(self) -> Jwk:
        """Return the public half."""
        return Jwk(key=self.key.public_key(), kid=self.kid, algorithm=self.algorithm)

    def to_json_bytes(self) -> bytes:
        """Return the private key as a JWK in JSON. A secret: encrypt it before it goes anywhere.

        Raises:
            RequestRejected: ``jwk.private`` for a key that an HSM does not give away.
        """
        members: JsonObject = {**self.public().to_json(), **_private_members(self.key)}
        return json.dumps(members, separators=(",", ":")).encode("ascii")


def thumbprint(key: PublicKey) -> str:
    """Return the SHA-256 thumbprint of a public key in base64url (RFC 7638 §3): step's key identifier."""
    members = json.dumps(_public_members(key), separators=(",", ":"), sort_keys=True)
    return b64.encode(hashlib.sha256(members.encode("ascii")).digest())


def parse_jwk(value: Json, *, what: str = "key") -> Jwk:
    """Read a public JWK for signatures. Members that RFC 7517 does not need here are ignored, as it asks.

    Args:
        value: the parsed JSON.
        what: how to call it in an error, for instance by its dotted path.

    Raises:
        RequestRejected: ``jwk.private`` when it holds private members, ``jwk.*`` or ``key.*``.
    """
    members = _object(value, what)
    if not _PRIVATE_MEMBERS.isdisjoint(members):
        raise RequestRejected(
            "jwk.private",
            f"the {what} holds a private key where a public one belongs",
            hint="treat the key as stolen: make a new one, and put only its public half here",
        )
    return _wrap(members, _public_key(members, what), what)


def parse_private_jwk(data: bytes, *, what: str = "private key") -> PrivateJwk:
    """Read a private JWK for signatures, and check that its two halves belong together.

    Args:
        data: JSON in UTF-8.
        what: how to call it in an error.

    Raises:
        RequestRejected: ``jwk.*`` or ``key.*``.
    """
    members = _object(parse_object(data, what=what, room="jwk"), what)
    public = _wrap(members, _public_key(members, what), what)
    return PrivateJwk(key=_private_key(members, public.key, what), kid=public.kid, algorithm=public.algorithm)


def _object(value: Json, what: str) -> JsonObject:
    if not isinstance(value, dict):
        raise RequestRejected("jwk.malformed", f"the {what} is not a JSON Web Key")
    return value


def _wrap(members: JsonObject, key: PublicKey, what: str) -> Jwk:
    if members.get("use", "sig") != "sig":
        raise RequestRejected("jwk.use", f"the {what} is not for signatures (use)")
    operations = members.get("key_ops", ["sign", "verify"])
    if not isinstance(operations, list) or not {"sign", "verify"} & {
        each for each in operations if isinstance(each, str)
    }:
        raise RequestRejected("jwk.use", f"the {what} is not for signatures (key_ops)")
    algorithm = members.get("alg", algorithm_for(key))
    if not isinstance(algorithm, str):
        raise RequestRejected("jwk.malformed", f"the {what} has an alg that is not text")
    kid = members.get("kid", "")
    if not isinstance(kid, str) or len(kid) > _LONGEST_KID:
        raise RequestRejected(
            "jwk.malformed", f"the {what} has a kid that is not a text of at most {_LONGEST_KID} characters"
        )
    return Jwk(key=key, kid=kid or thumbprint(key), algorithm=check_algorithm(algorithm, key))


def _public_key(members: JsonObject, what: str) -> PublicKey:
    kind = members.get("kty")
    try:
        if kind == "EC":
            _, curve, size = _curve(members, what)
            x, y = _octets(members, "x", what, size), _octets(members, "y", what, size)
            numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), curve())
            return check_public_key(numbers.public_key(), what=what)
        if kind == "RSA":
            modulus, exponent = _number(members, "n", what), _number(members, "e", what)
            return check_public_key(rsa.RSAPublicNumbers(exponent, modulus).public_key(), what=what)
        if kind == "OKP" and members.get("crv") == "Ed25519":
            return ed25519.Ed25519PublicKey.from_public_bytes(_octets(members, "x", what, 32))
    except (ValueError, UnsupportedAlgorithm):
        raise RequestRejected("jwk.malformed", f"the {what} is not a sound public key") from None
    raise RequestRejected("jwk.kind", f"the {what} is not an EC, RSA or Ed25519 key")


def _private_key(members: JsonObject, public: PublicKey, what: str) -> PrivateKey:
    try:
        if isinstance(public, ec.EllipticCurvePublicKey):
            secret = _octets(members, "d", what, _curve(members, what)[2])
            ec_key = ec.derive_private_key(int.from_bytes(secret, "big"), public.curve)
            return ec_key if ec_key.public_key() == public else _mismatch(what)
        if isinstance(public, rsa.RSAPublicKey):
            parts = {name: _number(members, name, what) for name in ("d", "p", "q", "dp", "dq", "qi")}
            if "oth" in members:
                raise RequestRejected("jwk.kind", f"the {what} has more than two primes")
            rsa_numbers = rsa.RSAPrivateNumbers(
                p=parts["p"],
                q=parts["q"],
                d=parts["d"],
                dmp1=parts["dp"],
                dmq1=parts["dq"],
                iqmp=parts["qi"],
                public_numbers=public.public_numbers(),
            )
            return rsa_numbers.private_key()
        ed_key = ed25519.Ed25519PrivateKey.from_private_bytes(_octets(members, "d", what, 32))
    except (ValueError, UnsupportedAlgorithm):
        return _mismatch(what)
    return ed_key if ed_key.public_key() == public else _mismatch(what)


def _mismatch(what: str) -> NoReturn:
    raise RequestRejected("jwk.malformed", f"the {what} is not a sound private key for its public half")


def _curve(members: JsonObject, what: str) -> tuple[KeyKind, type[ec.EllipticCurve], int]:
    name = members.get("crv")
    if not isinstance(name, str) or name not in _CURVES:
        raise RequestRejected("jwk.kind", f"the {what} is on a curve that is not accepted")
    return _CURVES[name]


def _octets(members: JsonObject, name: str, what: str, size: int) -> bytes:
    value = members.get(name)
    if not isinstance(value, str):
        raise RequestRejected("jwk.malformed", f"the {what} has no member {name}")
    data = b64.decode(value, what=f"{what}'s member {name}")
    # RFC 7518 §6.2.1.2: coordinates have the full size of the curve, leading zeros included.
    if len(data) != size:
        raise RequestRejected("jwk.malformed", f"the {what}'s member {name} is not {size} octets long")
    return data


def _number(members: JsonObject, name: str, what: str) -> int:
    value = members.get(name)
    if not isinstance(value, str):
        raise RequestRejected("jwk.malformed", f"the {what} has no member {name}")
    data = b64.decode(value, what=f"{what}'s member {name}")
    # RFC 7518 §2: the fewest octets, so no leading zero.
    if not data or data[0] == 0:
        raise RequestRejected("jwk.malformed", f"the {what}'s member {name} is not in the shortest form")
    return int.from_bytes(data, "big")


def _public_members(key: PublicKey) -> dict[str, str]:
    """The required members only, which are those that a thumbprint covers."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        curve = _CURVE_NAMES[kind_of(key)]
        size, point = _CURVES[curve][2], key.public_numbers()
        x, y = point.x.to_bytes(size, "big"), point.y.to_bytes(size, "big")
        return {"kty": "EC", "crv": curve, "x": b64.encode(x), "y": b64.encode(y)}
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        return {"kty": "RSA", "n": _shortest(numbers.n), "e": _shortest(numbers.e)}
    raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return {"kty": "OKP", "crv": "Ed25519", "x": b64.encode(raw)}


def _private_members(key: PrivateKey) -> dict[str, str]:
    try:
        if isinstance(key, ec.EllipticCurvePrivateKey):
            secret = key.private_numbers().private_value
            return {"d": b64.encode(secret.to_bytes((key.key_size + 7) // 8, "big"))}
        if isinstance(key, rsa.RSAPrivateKey):
            numbers = key.private_numbers()
            return {
                "d": _shortest(numbers.d),
                "p": _shortest(numbers.p),
                "q": _shortest(numbers.q),
                "dp": _shortest(numbers.dmp1),
                "dq": _shortest(numbers.dmq1),
                "qi": _shortest(numbers.iqmp),
            }
        return {"d": b64.encode(key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()))}
    except (NotImplementedError, UnsupportedAlgorithm, TypeError):
        raise RequestRejected("jwk.private", "this key cannot leave the device that holds it") from None


def _shortest(number: int) -> str:
    return b64.encode(number.to_bytes((number.bit_length() + 7) // 8, "big"))
