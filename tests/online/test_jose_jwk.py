"""JSON Web Keys: published vectors, round trips, and what must not pass for a key."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from fakes import vectors
from fakes.tokens import b64

from online.jose import b64 as strict_b64
from online.jose.jwk import Jwk, PrivateJwk, algorithm_for, check_algorithm, parse_jwk, parse_private_jwk, thumbprint
from shared import keys
from shared.errors import RequestRejected
from shared.keys import KeyKind

KINDS = {kind: PrivateJwk.of(keys.generate(kind)) for kind in KeyKind}


@pytest.mark.parametrize("name", ["rfc7638_3_1", "rfc8037_a"])
def test_thumbprints_of_the_rfcs(name: str) -> None:
    """The thumbprint is the key's identifier: another one and no client finds its provisioner."""
    vector = vectors.jose(name)
    members = {k: v for k, v in (vector.get("jwk") or vector["private_jwk"]).items() if k != "d"}
    assert thumbprint(parse_jwk(members).key) == vector["thumbprint"]


@pytest.mark.parametrize("name", ["rfc7515_a_3", "rfc7515_a_4", "rfc8037_a"])
def test_private_keys_of_the_rfcs(name: str) -> None:
    """Keys that others made must be read, and written again with the same numbers."""
    members = vectors.jose(name)["private_jwk"]
    key = parse_private_jwk(json.dumps(members).encode())
    written = json.loads(key.to_json_bytes())
    assert {name: written[name] for name in members} == members


def test_a_stated_kid_is_kept() -> None:
    """A provisioner's kid need not be a thumbprint; tokens name the one that the operator stated."""
    assert parse_jwk(vectors.jose("rfc7638_3_1")["jwk"]).kid == "2011-04-29"


@pytest.mark.parametrize("kind", KeyKind)
def test_round_trip_of_every_kind(kind: KeyKind) -> None:
    """A key that is written and cannot be read again locks its provisioner out."""
    key = KINDS[kind]
    again = parse_private_jwk(key.to_json_bytes())
    assert again.public() == key.public()
    assert again.to_json_bytes() == key.to_json_bytes()
    assert parse_jwk(key.public().to_json()) == key.public()
    assert key.public().kid == thumbprint(key.public().key)


def test_members_stand_in_steps_order() -> None:
    """The entry of a ca.json and of ``/provisioners`` is compared by people with what step writes."""
    assert list(KINDS[KeyKind.EC_P256].public().to_json()) == ["use", "kty", "kid", "crv", "alg", "x", "y"]
    assert list(KINDS[KeyKind.RSA].public().to_json()) == ["use", "kty", "kid", "alg", "n", "e"]


def test_a_private_key_never_shows() -> None:
    """A repr ends up in logs and tracebacks."""
    key = PrivateJwk.of(ec.derive_private_key(0x1234567, ec.SECP256R1()))
    secret = json.loads(key.to_json_bytes())["d"]
    assert secret not in repr(key)
    assert "EllipticCurve" not in repr(key)


def test_one_algorithm_for_each_kind() -> None:
    """The algorithm is fixed by the key; the names are those of RFC 7518 and RFC 8037."""
    assert {kind: algorithm_for(key.key.public_key()) for kind, key in KINDS.items()} == {
        KeyKind.EC_P256: "ES256",
        KeyKind.EC_P384: "ES384",
        KeyKind.EC_P521: "ES512",
        KeyKind.RSA: "RS256",
        KeyKind.ED25519: "EdDSA",
    }


@pytest.mark.parametrize("algorithm", ["none", "HS256", "RS256", "ES384", "EdDSA", "es256", ""])
def test_no_other_algorithm_for_a_curve(algorithm: str) -> None:
    """An EC key used as an HMAC secret is the classic forgery."""
    with pytest.raises(RequestRejected) as caught:
        check_algorithm(algorithm, KINDS[KeyKind.EC_P256].key.public_key())
    assert caught.value.code == "jwk.algorithm"


@pytest.mark.parametrize("member", ["d", "p", "k"])
def test_a_private_key_where_a_public_one_belongs(member: str) -> None:
    """A ca.json is served in part to everybody: a private key pasted into it must be refused, with what to do."""
    with pytest.raises(RequestRejected) as caught:
        parse_jwk({**KINDS[KeyKind.EC_P256].public().to_json(), member: "AQ"}, what="authority.provisioners[0].key")
    assert caught.value.code == "jwk.private"
    assert "authority.provisioners[0].key" in caught.value.message
    assert caught.value.hint is not None


def ec_members(**changes: Any) -> dict[str, Any]:
    """Return a P-256 JWK with changes; ``...`` removes a member."""
    members = {**KINDS[KeyKind.EC_P256].public().to_json(), **changes}
    return {name: value for name, value in members.items() if value is not ...}


def numbers(name: str) -> bytes:
    """Return a coordinate of the P-256 key."""
    return strict_b64.decode(str(ec_members()[name]), what=name)


@pytest.mark.parametrize(
    ("members", "code"),
    [
        (ec_members(kty="oct", k=...), "jwk.kind"),
        (ec_members(kty=...), "jwk.kind"),
        (ec_members(kty=1), "jwk.kind"),
        (ec_members(crv="P-192"), "jwk.kind"),
        (ec_members(crv="secp256k1"), "jwk.kind"),
        (ec_members(crv="P-384"), "jwk.malformed"),
        (ec_members(crv=...), "jwk.kind"),
        (ec_members(x=...), "jwk.malformed"),
        (ec_members(x=5), "jwk.malformed"),
        (ec_members(x="AQ"), "jwk.malformed"),
        (ec_members(x="!" * 43), "jose.base64url"),
        (ec_members(x=b64(bytes(1) + numbers("x"))), "jwk.malformed"),
        (ec_members(y=b64(bytes(32))), "jwk.malformed"),
        (ec_members(x=b64(b"\xff" * 32)), "jwk.malformed"),
        (ec_members(use="enc"), "jwk.use"),
        (ec_members(key_ops=["encrypt"]), "jwk.use"),
        (ec_members(key_ops="verify"), "jwk.use"),
        (ec_members(alg="HS256"), "jwk.algorithm"),
        (ec_members(alg="none"), "jwk.algorithm"),
        (ec_members(alg=256), "jwk.malformed"),
        (ec_members(kid=7), "jwk.malformed"),
        (ec_members(kid="k" * 257), "jwk.malformed"),
        ([], "jwk.malformed"),
        (None, "jwk.malformed"),
        ("text", "jwk.malformed"),
        ({"kty": "OKP", "crv": "X25519", "x": b64(bytes(32))}, "jwk.kind"),
        ({"kty": "OKP", "crv": "Ed25519", "x": b64(bytes(31))}, "jwk.malformed"),
        ({"kty": "RSA", "n": b64(b"\x00" + b"\xff" * 256), "e": "AQAB"}, "jwk.malformed"),
        ({"kty": "RSA", "n": "", "e": "AQAB"}, "jwk.malformed"),
        ({"kty": "RSA", "n": b64(b"\xff" * 256), "e": "AQ"}, "jwk.malformed"),
        ({"kty": "RSA", "n": b64(b"\xff" * 256), "e": "Aw"}, "key.weak"),
        ({"kty": "RSA", "n": b64(b"\xff" * 128), "e": "AQAB"}, "key.weak"),
        ({"kty": "RSA", "n": b64(b"\xff" * 1100), "e": "AQAB"}, "key.weak"),
    ],
)
def test_what_is_no_sound_signature_key(members: Any, code: str) -> None:
    """Points off the curve, short moduli, encryption keys and shared secrets: none may verify a token."""
    with pytest.raises(RequestRejected) as caught:
        parse_jwk(members)
    assert caught.value.code == code


@pytest.mark.parametrize("kind", [KeyKind.EC_P256, KeyKind.ED25519, KeyKind.RSA])
def test_halves_that_do_not_belong_together(kind: KeyKind) -> None:
    """With mixed halves the token would name a key that did not sign it, and some schemes leak the private one."""
    other = PrivateJwk.of(keys.generate(kind))
    mixed = {**json.loads(KINDS[kind].to_json_bytes()), **other.public().to_json()}
    with pytest.raises(RequestRejected) as caught:
        parse_private_jwk(json.dumps(mixed).encode())
    assert caught.value.code == "jwk.malformed"


@pytest.mark.parametrize(
    "changes", [{"d": ...}, {"d": b64(bytes(32))}, {"d": b64(b"\xff" * 32)}, {"d": "AQ"}, {"d": 1}]
)
def test_a_private_half_out_of_range(changes: dict[str, Any]) -> None:
    """Zero and numbers above the group order are no keys."""
    members = {**json.loads(KINDS[KeyKind.EC_P256].to_json_bytes()), **changes}
    members = {name: value for name, value in members.items() if value is not ...}
    with pytest.raises(RequestRejected) as caught:
        parse_private_jwk(json.dumps(members).encode())
    assert caught.value.code == "jwk.malformed"


def test_an_rsa_key_of_three_primes_is_refused() -> None:
    """The library knows two primes; ignoring the third would make a key that signs wrongly."""
    members = {**json.loads(KINDS[KeyKind.RSA].to_json_bytes()), "oth": [{"r": "AQ", "d": "AQ", "t": "AQ"}]}
    with pytest.raises(RequestRejected):
        parse_private_jwk(json.dumps(members).encode())


def test_private_json_is_read_strictly() -> None:
    """What a JWE decrypts to is JSON from outside too."""
    with pytest.raises(RequestRejected) as caught:
        parse_private_jwk(b'{"kty":"EC","kty":"RSA"}')
    assert caught.value.code == "jwk.duplicate-key"


def test_an_algorithm_that_rsa_leaves_open_is_kept() -> None:
    """An operator who states PS256 for a key must not get RS256."""
    key = rsa.generate_private_key(65537, 2048)
    assert parse_jwk({**Jwk.of(key.public_key()).to_json(), "alg": "PS256"}).algorithm == "PS256"
