"""The keys that a person trusts for verifying tokens, as they lie in a file: PEM, JSON Web Key, or a set of them.

Invariants: only the file that the person named is read, never an address out of a token; of a private key only the
public half is kept; a key in hand is of an accepted kind and strength; shared secrets (``kty`` oct) are never taken
for keys, so the confusion of a public key with a secret (RFC 8725 §2.1) cannot happen.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from online.jose import jwe, jwe_file
from online.jose.jwk import Jwk, parse_jwk, parse_private_jwk
from online.strict_json import Json, JsonObject, parse_object
from shared import durable
from shared.errors import RequestRejected, Unsupported
from shared.keys import PublicKey, check_public_key
from shared.keystore import load_private_key
from shared.terminal import SecretCallback

LARGEST_SET = 256 << 10
MOST_KEYS = 100
# What a set may hold that is not for us: other kinds, and keys for encryption (RFC 7517 §5 lets a reader skip them).
_KINDS = frozenset({"EC", "RSA", "OKP"})
_SKIPPED = frozenset({"jwk.kind", "jwk.use", "key.unsupported"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKey:
    """A public key that somebody vouches for."""

    key: PublicKey
    kid: str = ""
    """Empty for a key without a name, as PEM keys are."""
    algorithm: str | None = None
    """The algorithm that the key's owner fixed for it; ``None`` when the file names none."""


def read_trusted_key(path: Path, secret: SecretCallback) -> TrustedKey:
    """Read one key from a file, as ``parse_trusted_key``; a private key only from a file that is private.

    Raises:
        RequestRejected: ``file.*``, or as ``parse_trusted_key``.
        Unsupported: as ``parse_trusted_key``.
        Unauthenticated: as ``parse_trusted_key``.
    """
    data = durable.read_file(path, limit=LARGEST_SET)
    if b"PRIVATE KEY-----" in data or b'"d"' in data:
        data = durable.read_private(path, limit=LARGEST_SET)
    return parse_trusted_key(data, secret, what=f"key file {path}")


def parse_trusted_key(data: bytes, secret: SecretCallback, *, what: str) -> TrustedKey:
    """Read one key: public or private, PEM or JWK, encrypted or not.

    Args:
        data: the file's content.
        secret: asked for the password when the key is encrypted.
        what: how to call the file in a prompt or an error.

    Raises:
        RequestRejected: ``key.*``, ``jwk.*`` or ``jwe.*``.
        Unsupported: ``jwk.shared-secret``.
        Unauthenticated: ``key.wrong-password`` or ``jwe.wrong-password``.
    """
    if b"-----BEGIN " in data:
        return TrustedKey(key=_pem_key(data, secret, what))
    text = _decrypted(data, secret, what)
    members = parse_object(text, what=what, room="jwk")
    if "keys" in members:
        raise RequestRejected("jwk.set", f"the {what} holds a set of keys", hint="give it with --jwks")
    if members.get("kty") == "oct":
        raise Unsupported("jwk.shared-secret", f"the {what} holds a shared secret, which cannot prove who signed")
    return _trusted(
        parse_private_jwk(text, what=what).public() if "d" in members else parse_jwk(members, what=what), members
    )


def parse_trusted_set(data: bytes, secret: SecretCallback, *, what: str) -> tuple[TrustedKey, ...]:
    """Read a JWK Set (RFC 7517 §5), encrypted or not; what is in it for other purposes is skipped.

    Raises:
        RequestRejected: ``jwk.set``, ``jwk.*`` or ``jwe.*``.
        Unauthenticated: ``jwe.wrong-password``.
    """
    if len(data) > LARGEST_SET:
        raise RequestRejected("jwk.set", f"the {what} is larger than {LARGEST_SET} bytes")
    entries = parse_object(_decrypted(data, secret, what), what=what, room="jwk").get("keys")
    if not isinstance(entries, list) or len(entries) > MOST_KEYS:
        raise RequestRejected("jwk.set", f"the {what} is not a JWK Set of at most {MOST_KEYS} keys")
    found = []
    for number, entry in enumerate(entries):
        if isinstance(entry, dict) and entry.get("kty") not in _KINDS:
            continue
        try:
            found.append(_trusted(parse_jwk(entry, what=f"{what}'s keys[{number}]"), entry))
        except RequestRejected as error:
            if error.code not in _SKIPPED:
                raise
    if not found:
        raise RequestRejected("jwk.set", f"the {what} holds no key for signatures")
    return tuple(found)


def _trusted(jwk: Jwk, members: Json) -> TrustedKey:
    assert isinstance(members, dict)
    named: JsonObject = members
    return TrustedKey(
        key=jwk.key,
        kid=jwk.kid if named.get("kid") else "",
        algorithm=jwk.algorithm if "alg" in named else None,
    )


def _decrypted(data: bytes, secret: SecretCallback, what: str) -> bytes:
    if not jwe_file.is_encrypted(data):
        return data.strip()
    compact = jwe_file.compact_form(data, what=what)
    jwe.check_shape(compact)
    return jwe.decrypt(compact, secret(f"Password of the {what}"))


def _pem_key(data: bytes, secret: SecretCallback, what: str) -> PublicKey:
    if b"PRIVATE KEY-----" in data:
        return load_private_key(data, secret, what=what).public_key()
    try:
        key = load_pem_public_key(data)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise RequestRejected("key.malformed", f"the {what} is not a public or private key in PEM") from None
    return check_public_key(key, what=f"key in the {what}")
