"""A provisioner with its key, and tokens of every kind that a forger could send; none is checked when made."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime

import jwt
from fakes.randomness import seeded

from online.jose.jwk import PrivateJwk
from online.provisioners.jwk import JwkProvisioner
from online.provisioners.protocol import Operation
from online.provisioners.registry import Registry, open_token
from online.tokens import Audiences, VerifiedToken, mint_sign_token
from shared import keys
from shared.keys import KeyKind, PrivateKey

NOW = datetime(2026, 11, 24, 7, 0, 0, tzinfo=UTC)
SIGNER = PrivateJwk.of(keys.generate(KeyKind.EC_P256))
AUDIENCES = Audiences.of(("ca.local", "127.0.0.1", "::1"))
SIGN_AUDIENCE = "https://ca.local:9000/1.0/sign"


def provisioner(signer: PrivateJwk = SIGNER, *, name: str = "admin") -> JwkProvisioner:
    """Return a JWK provisioner of a key."""
    return JwkProvisioner(name=name, key=signer.public())


def registry(*provisioners: JwkProvisioner) -> Registry:
    """Return a registry, by default of the one provisioner ``admin``."""
    return Registry(provisioners or (provisioner(),))


def authorize(
    token: str, *, operation: Operation = Operation.SIGN, now: datetime = NOW, by: Registry | None = None
) -> VerifiedToken:
    """Verify a token as the CA does."""
    return (by or registry()).authorize(operation, open_token(token), audiences=AUDIENCES, now=now)


def good_token(*, seed: int = 1, subject: str = "foo.local") -> str:
    """Return a token that the CA accepts at ``NOW``."""
    return mint_sign_token(
        SIGNER,
        issuer="admin",
        audience=SIGN_AUDIENCE,
        subject=subject,
        sans=[],
        root_fingerprint="ab" * 32,
        now=NOW,
        rng=seeded(seed),
    )


def claims(**changes: object) -> dict[str, object]:
    """Return good claims with changes; a change to ``...`` removes the claim."""
    moment = int(NOW.timestamp())
    good: dict[str, object] = {
        "aud": SIGN_AUDIENCE,
        "exp": moment + 300,
        "iat": moment,
        "iss": "admin",
        "jti": "7" * 64,
        "nbf": moment,
        "sans": ["foo.local"],
        "sub": "foo.local",
        **changes,
    }
    return {name: value for name, value in good.items() if value is not ...}


def header(**changes: object) -> dict[str, object]:
    """Return a good header with changes; a change to ``...`` removes the member."""
    good: dict[str, object] = {"alg": "ES256", "kid": SIGNER.kid, "typ": "JWT", **changes}
    return {name: value for name, value in good.items() if value is not ...}


def forge(
    payload: Mapping[str, object] | bytes | None = None,
    head: Mapping[str, object] | bytes | None = None,
    *,
    key: PrivateKey = SIGNER.key,
    algorithm: str = "ES256",
) -> str:
    """Sign any header and payload with any key: what stands in the header has no influence on how it is signed."""
    parts = [raw(header() if head is None else head), raw(claims() if payload is None else payload)]
    signing_input = ".".join(parts).encode("ascii")
    signer = jwt.get_algorithm_by_name(algorithm)
    return ".".join([*parts, b64(signer.sign(signing_input, key))])


def raw(part: Mapping[str, object] | bytes) -> str:
    """Encode one part of a token; bytes go in as they are."""
    return b64(part if isinstance(part, bytes) else json.dumps(part).encode())


def b64(data: bytes) -> str:
    """Encode as base64url without padding, independently of the code under test."""
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")
