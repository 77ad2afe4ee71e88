"""Minting: what the step CLI would have made, and what our own checks accept."""

from __future__ import annotations

import json
import os
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from fakes.certificates import make_intermediate, make_root
from fakes.randomness import seeded
from fakes.tokens import NOW, SIGN_AUDIENCE, SIGNER, authorize, good_token, provisioner, registry

from online.jose import b64, jws
from online.jose.jwk import PrivateJwk
from online.provisioners.protocol import Operation
from online.tokens import csr_confirmation, mint_renew_token, mint_revoke_token, mint_sign_token
from shared import keys
from shared.errors import RequestRejected
from shared.keys import KeyKind, certificate_key

MINUTE = timedelta(minutes=1)


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and claims."""
    head, payload, _ = token.split(".")
    return json.loads(b64.decode(head, what="header")), json.loads(b64.decode(payload, what="payload"))


def mint(**changes: Any) -> str:
    """Mint a sign token with changes to the arguments."""
    arguments: dict[str, Any] = {
        "issuer": "admin",
        "audience": SIGN_AUDIENCE,
        "subject": "foo.local",
        "sans": [],
        "root_fingerprint": "ab" * 32,
        "now": NOW,
        "rng": os.urandom,
        **changes,
    }
    return mint_sign_token(SIGNER, **arguments)


def test_a_sign_token_is_steps() -> None:
    """Every claim of the step CLI's token, none more: its client bootstraps from sha and aud."""
    head, claims = parts(good_token())
    moment = int(NOW.timestamp())
    assert head == {"alg": "ES256", "kid": SIGNER.kid, "typ": "JWT"}
    assert claims == {
        "aud": SIGN_AUDIENCE,
        "exp": moment + 300,
        "iat": moment,
        "iss": "admin",
        "jti": seeded(1)(32).hex(),
        "nbf": moment,
        "sans": ["foo.local"],
        "sha": "ab" * 32,
        "sub": "foo.local",
    }


def test_a_revoke_token_is_steps() -> None:
    """No names, the serial in decimal: the CA compares it as text."""
    token = mint_revoke_token(
        SIGNER,
        issuer="admin",
        audience="https://ca.local/revoke",
        serial=0xFF,
        root_fingerprint="ab" * 32,
        now=NOW,
        rng=os.urandom,
    )
    assert parts(token)[1]["sub"] == "255"
    assert "sans" not in parts(token)[1]
    assert authorize(token, operation=Operation.REVOKE).subject == "255"


@pytest.mark.parametrize("kind", KeyKind)
def test_every_kind_of_key_mints_what_the_ca_accepts(kind: KeyKind) -> None:
    """A provisioner may have any accepted key; its tokens must pass with its own algorithm."""
    signer = PrivateJwk.of(keys.generate(kind))
    token = mint_sign_token(
        signer,
        issuer="admin",
        audience=SIGN_AUDIENCE,
        subject="foo.local",
        sans=["foo.local", "10.0.0.1"],
        root_fingerprint="ab" * 32,
        now=NOW,
        rng=os.urandom,
    )
    verified = authorize(token, by=registry(provisioner(signer)))
    assert verified.sans == ("foo.local", "10.0.0.1")


def test_tokens_differ() -> None:
    """A repeated jti would be refused as used."""
    assert parts(mint())[1]["jti"] != parts(mint())[1]["jti"]


@pytest.mark.parametrize(
    ("not_before", "not_after"),
    [
        (None, NOW + timedelta(seconds=10)),
        (None, NOW + timedelta(hours=1)),
        (NOW + 30 * MINUTE, None),
        (NOW + 30 * MINUTE, NOW + 90 * MINUTE),
        (NOW - MINUTE, NOW + MINUTE),
    ],
)
def test_times_within_the_limits(not_before: datetime | None, not_after: datetime | None) -> None:
    """What may be minted must be accepted once it begins, at both limits."""
    token = mint(not_before=not_before, not_after=not_after)
    assert authorize(token, now=not_before or NOW).subject == "foo.local"


@pytest.mark.parametrize(
    ("not_before", "not_after"),
    [
        (None, NOW + timedelta(seconds=9)),
        (None, NOW + timedelta(hours=1, seconds=1)),
        (None, NOW - MINUTE),
        (NOW + 31 * MINUTE, None),
        (NOW - 10 * MINUTE, None),
    ],
)
def test_times_beyond_the_limits(not_before: datetime | None, not_after: datetime | None) -> None:
    """A token that the CA would refuse is better refused where it is made."""
    with pytest.raises(RequestRejected) as caught:
        mint(not_before=not_before, not_after=not_after)
    assert caught.value.code == "token.lifetime"


@pytest.mark.parametrize("changes", [{"sans": ["-bad-"]}, {"sans": ["a b"]}, {"subject": ""}])
def test_names_are_checked_where_the_token_is_made(changes: dict[str, Any]) -> None:
    """A typing error must not become a 403 on another machine."""
    with pytest.raises(RequestRejected):
        mint(**changes)


def test_a_token_bound_to_one_request() -> None:
    """With cnf a stolen token is worth nothing without the key of that request."""
    key = keys.generate(KeyKind.EC_P256)
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    token = mint(cnf=csr_confirmation(csr))
    assert parts(token)[1]["cnf"] == {"x5rt#S256": csr_confirmation(csr)}
    assert authorize(token).cnf == csr_confirmation(csr)


def test_user_data_goes_along() -> None:
    """step's ``--set`` puts free data under user; the CA must not stumble over it."""
    token = mint(user={"team": "a"})
    assert parts(token)[1]["user"] == {"team": "a"}
    authorize(token)


@pytest.mark.parametrize("kind", [KeyKind.EC_P256, KeyKind.ED25519])
def test_a_renew_token_proves_possession(kind: KeyKind) -> None:
    """Header x5cInsecure with the chain in standard base64, signed by the leaf's own key, unlike any other token."""
    root, root_key = make_root()
    leaf, key = make_intermediate(root, root_key, kind=kind)
    tokens = [mint_renew_token([leaf, root], key, audience="https://ca/renew", now=NOW, rng=os.urandom) for _ in "ab"]
    assert tokens[0] != tokens[1]
    token = jws.split_unverified(tokens[0], key_members=frozenset({"x5cInsecure"}))
    claims = jws.verify(token, certificate_key(leaf))
    assert claims["iss"] == "step-ca-client/1.0"
    assert claims["sub"] == "Test Intermediate CA"
    assert claims["aud"] == "https://ca/renew"
    assert set(claims) == {"aud", "exp", "iat", "iss", "jti", "nbf", "sub"}
    chain = token.header["x5cInsecure"]
    assert isinstance(chain, list)
    assert len(chain) == 2
    assert str(chain[0]).startswith("MII")


def test_a_renew_token_needs_the_right_key() -> None:
    """Signing with another key makes a token that fails far away and says nothing about why."""
    root, root_key = make_root()
    leaf, _ = make_intermediate(root, root_key)
    with pytest.raises(RequestRejected) as caught:
        mint_renew_token([leaf], root_key, audience="https://ca/renew", now=NOW, rng=os.urandom)
    assert caught.value.code == "key.mismatch"
