"""The JWK provisioner: whoever holds a signing key mints one-time tokens, with or without contact to the CA.

Invariants: the key is public, accepted and for signatures; a token passes only if this key signed it with the
one algorithm that belongs to the key.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from online.claims import Claims
from online.jose import jwe, jws
from online.jose.jwk import Jwk, parse_jwk
from online.provisioners.common import Common, at_fault, open_entry, with_claims
from online.provisioners.protocol import Operation, ProvisionerType
from online.strict_json import Json, JsonObject
from online.tokens import Audiences, VerifiedToken, verified_token
from shared.errors import RequestRejected, Unauthenticated

_KEYS = frozenset({"key", "encryptedKey"})


@dataclass(frozen=True, slots=True, kw_only=True)
class JwkProvisioner(Common):
    """A provisioner that is a public key; see ``online.provisioners.protocol.Provisioner``."""

    key: Jwk
    encrypted_key: str | None = field(default=None, repr=False)

    @property
    def type(self) -> ProvisionerType:
        """The kind."""
        return ProvisionerType.JWK

    @property
    def id(self) -> str:
        """Name and key: a token names both, and a new key under an old name starts a new life."""
        return f"{self.name}:{self.kid}"

    @property
    def kid(self) -> str:
        """The key's identifier."""
        return self.key.kid

    def public_json(self) -> JsonObject:
        """Return the entry of ``GET /provisioners`` and, just the same, of a ca.json."""
        result: JsonObject = {"type": self.type.wire_name, "name": self.name, "key": self.key.to_json()}
        if self.encrypted_key is not None:
            result["encryptedKey"] = self.encrypted_key
        return with_claims(result, self.stated)


def parse_jwk_provisioner(value: Json, *, path: str, above: Claims, home: Path) -> JwkProvisioner:
    """Read a JWK provisioner of a ca.json.

    Args:
        value: its object.
        path: the dotted path of the object.
        above: the authority's limits.
        home: what the path of a template file hangs on.

    Raises:
        RequestRejected: ``config.*``.
        Unsupported: ``config.unsupported-key`` or ``config.unsupported-template``.
    """
    found, common = open_entry(value, path=path, keys=_KEYS, above=above, home=home)
    if "key" not in found:
        raise RequestRejected("config.missing-key", f"{found.at('key')} is missing")
    encrypted = found.text("encryptedKey", default="") or None
    with at_fault(path):
        key = parse_jwk(found.raw("key"), what=found.at("key"))
        if encrypted is not None:
            jwe.check_shape(encrypted)
    return JwkProvisioner(key=key, encrypted_key=encrypted, **common)


def authorize_one_time(
    provisioner: JwkProvisioner,
    operation: Operation,
    token: jws.UnverifiedToken,
    *,
    audiences: Audiences,
    now: datetime,
) -> VerifiedToken:
    """Verify a one-time token of this provisioner, for signing or for revoking.

    1. The token names this key; the header brings no other (``jws.split_unverified`` saw to that).
    2. The signature holds, by the key's algorithm.
    3. The claims hold.

    Args:
        provisioner: chosen by what the unverified token says.
        operation: what the caller asks for.
        token: well-formed, unverified.
        audiences: the names of this CA.
        now: aware UTC.

    Raises:
        Unauthenticated: ``token.*``.
    """
    # 1
    if token.kid != provisioner.kid:
        raise Unauthenticated("token.unknown-provisioner", "the token names another key than its provisioner's")
    # 2
    claims = jws.verify(token, provisioner.key.key, algorithm=provisioner.key.algorithm)
    # 3
    return verified_token(claims, provisioner=provisioner, operation=operation, audiences=audiences, now=now)
