"""Signed tokens in compact form (RFC 7515, RFC 7519), read strictly before any library sees them.

Invariants:

* nothing that a token says about its own verification is believed: the algorithm is fixed by the key, and a
  token that carries a key, names an address for one, or demands an extension is refused (RFC 8725 §3);
* the three parts are strict base64url and the two JSON objects strict JSON, so one token has one text and one
  meaning;
* ``UnverifiedToken`` is good for choosing the key to try, nothing more.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import Algorithm

from online.jose import b64
from online.jose.jwk import algorithm_for, check_algorithm
from online.strict_json import Json, JsonObject, parse_object
from shared.errors import Fatal, RequestRejected, Unauthenticated
from shared.keys import PrivateKey, PublicKey

LARGEST_TOKEN = 64 << 10
"""Characters: a hundred names, or a chain of a few certificates, fit."""
_LONGEST_KID = 256
_PARTS = 3
# Members that bring or locate a key (RFC 7515 §4.1). x5cInsecure is step's own, for tokens of a certificate.
_KEY_MEMBERS = frozenset({"jku", "jwk", "x5u", "x5c", "x5cInsecure"})
# Members that change how the rest is to be read: extensions that must be understood, detached or packed payloads.
_MODE_MEMBERS = frozenset({"crit", "b64", "zip", "enc"})
_ALGORITHMS = ("ES256", "ES384", "ES512", "EdDSA", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnverifiedToken:
    """A well-formed token whose signature nobody has checked."""

    text: str = field(repr=False)
    header: Mapping[str, Json] = field(repr=False)
    claims: Mapping[str, Json] = field(repr=False)
    signature: bytes = field(repr=False)

    @property
    def algorithm(self) -> str:
        """The ``alg`` that the token names."""
        return str(self.header["alg"])

    @property
    def kid(self) -> str:
        """The key that the token names; empty when it names none."""
        return str(self.header.get("kid", ""))

    @property
    def content_digest(self) -> str:
        """SHA-256 of ``header.payload`` in hex: an identity that no re-encoding of the signature changes."""
        return hashlib.sha256(self.signed_bytes).hexdigest()

    @property
    def signed_bytes(self) -> bytes:
        """``header.payload``: what the signature is over (RFC 7515 §5.2)."""
        return self.text.rpartition(".")[0].encode("ascii")


def split_unverified(
    token: str, *, key_members: frozenset[str] = frozenset(), limit: int = LARGEST_TOKEN
) -> UnverifiedToken:
    """Take a token apart without verifying it.

    1. Size, and exactly three parts.
    2. Strict base64url.
    3. Strict JSON objects.
    4. The header: ``alg`` is one of ours and never ``none`` or a shared-secret one, ``kid`` is short text,
       ``typ`` says JWT or nothing, no member brings a key or changes the rules.

    Args:
        token: compact serialisation.
        key_members: header members with a key that the caller will judge itself, such as ``x5cInsecure``.
        limit: the longest token accepted, in characters.

    Raises:
        Unauthenticated: ``token.too-large``, ``token.malformed``, ``token.algorithm`` or ``token.header``.
    """
    # 1
    if len(token) > limit:
        raise Unauthenticated("token.too-large", f"the token is longer than {limit} characters")
    parts = token.split(".")
    if len(parts) != _PARTS:
        raise Unauthenticated("token.malformed", "the token is not three parts joined by dots")
    try:
        # 2
        header_bytes = b64.decode(parts[0], what="token's header")
        payload_bytes = b64.decode(parts[1], what="token's payload")
        signature = b64.decode(parts[2], what="token's signature")
        # 3
        header = parse_object(header_bytes, what="token's header")
        claims = parse_object(payload_bytes, what="token's payload")
    except RequestRejected as error:
        raise Unauthenticated("token.malformed", error.message) from None
    # 4
    _check_header(header, key_members=key_members)
    return UnverifiedToken(text=token, header=header, claims=claims, signature=signature)


def verify(token: UnverifiedToken, key: PublicKey, *, algorithm: str | None = None) -> Mapping[str, Json]:
    """Verify a token's signature and return its claims.

    1. The token must name the algorithm that belongs to the key.
    2. The signature must have the one length that the algorithm gives it (RFC 7518 §3.3, §3.4, RFC 8037 §3.1).
    3. The signature must hold.

    Args:
        token: as ``split_unverified`` returned it.
        key: the key that the *caller* trusts.
        algorithm: the algorithm agreed on for the key, where its kind allows several (RSA).

    Raises:
        Unauthenticated: ``token.algorithm`` or ``token.signature``.
    """
    # 1
    wanted = algorithm_for(key) if algorithm is None else check_algorithm(algorithm, key)
    if token.algorithm != wanted:
        raise Unauthenticated("token.algorithm", f"the token is not signed with {wanted}, which belongs to the key")
    # 2
    if len(token.signature) != _signature_length(key):
        raise Unauthenticated("token.signature", "the token's signature has the wrong length")
    # 3
    try:
        # The library's scheme alone: its own reading of the token, looser than ours, would only come second.
        scheme = _scheme(wanted)
        holds = scheme.verify(token.signed_bytes, scheme.prepare_key(key), token.signature)
    except (jwt.PyJWTError, ValueError, TypeError, UnsupportedAlgorithm):
        holds = False
    if not holds:
        raise Unauthenticated("token.signature", "the token's signature does not hold")
    return token.claims


def sign(
    claims: Mapping[str, Json], key: PrivateKey, *, header: Mapping[str, Json], algorithm: str | None = None
) -> str:
    """Sign claims and return the compact token.

    Args:
        claims: the payload; written with sorted keys, as step writes it.
        key: a software or HSM key.
        header: further header members, such as ``kid``; ``alg`` and ``typ`` are added.
        algorithm: as for ``verify``.

    Raises:
        RequestRejected: ``token.claims`` for text that cannot be written.
        Fatal: ``jose.signing-failed``.
    """
    public = key.public_key()
    chosen = algorithm_for(public) if algorithm is None else check_algorithm(algorithm, public)
    text = json.dumps(claims, separators=(",", ":"), sort_keys=True, ensure_ascii=False, allow_nan=False)
    try:
        payload = text.encode("utf-8")
    except UnicodeEncodeError:
        raise RequestRejected("token.claims", "a claim has text that is not Unicode") from None
    try:
        return jwt.PyJWS(algorithms=[chosen]).encode(payload, key, algorithm=chosen, headers={**header, "typ": "JWT"})
    except (jwt.PyJWTError, ValueError, TypeError, UnsupportedAlgorithm):
        raise Fatal("jose.signing-failed", "the token cannot be signed with this key") from None


@functools.cache
def _scheme(algorithm: str) -> Algorithm:
    """Return the library's scheme for one of ``_ALGORITHMS``; it has no state."""
    return jwt.get_algorithm_by_name(algorithm)


def _check_header(header: JsonObject, *, key_members: frozenset[str]) -> None:
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in _ALGORITHMS:
        raise Unauthenticated("token.algorithm", "the token's algorithm is not an accepted signature algorithm")
    kid = header.get("kid", "")
    if not isinstance(kid, str) or len(kid) > _LONGEST_KID:
        raise Unauthenticated("token.header", f"the token's kid is not a text of at most {_LONGEST_KID} characters")
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.lower() not in {"jwt", "application/jwt"}:
        raise Unauthenticated("token.header", "the token's typ is not JWT")
    if refused := (_KEY_MEMBERS - key_members | _MODE_MEMBERS) & header.keys():
        raise Unauthenticated(
            "token.header", f"the token's header has the member {min(refused)}, which is not accepted"
        )


def _signature_length(key: PublicKey) -> int:
    if isinstance(key, ec.EllipticCurvePublicKey):
        return 2 * ((key.curve.key_size + 7) // 8)
    if isinstance(key, rsa.RSAPublicKey):
        return (key.key_size + 7) // 8
    return 64
