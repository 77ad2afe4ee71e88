"""Renewal tokens: only the leaf's own key, for its own leaf, at this CA, once."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from fakes.clock import NOON
from fakes.hierarchy import CA_URL, World, make_world
from fakes.leaves import sloppy_leaf
from hypothesis import given, settings
from hypothesis import strategies as st

from online.authority import RenewToken
from online.claims import Claims
from online.hierarchy import Chain
from online.jose import b64, jws
from online.renew_token import open_renew_token
from online.step_extension import StepExtension
from online.tokens import RENEW_HEADER, RENEW_ISSUER
from shared.errors import Unauthenticated
from shared.keys import KeyKind, PrivateKey, generate

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def der64(*certificates: x509.Certificate) -> list[str]:
    return [base64.b64encode(each.public_bytes(Encoding.DER)).decode() for each in certificates]


def crafted(
    world: World,
    chain: Chain,
    key: PrivateKey,
    *,
    header: dict[str, Any] | None = None,
    drop: tuple[str, ...] = (),
    **claims: Any,
) -> str:
    """Sign a renewal token as the step CLI makes it, with changes."""
    now = int(world.clock.now().timestamp())
    said = {
        "aud": f"{CA_URL}/renew",
        "exp": now + 300,
        "iat": now,
        "iss": RENEW_ISSUER,
        "nbf": now,
        "sub": "a.example.com",
        **claims,
    }
    for name in drop:
        del said[name]
    return jws.sign(said, key, header={RENEW_HEADER: [*der64(*chain)], **(header or {})})


async def refuse(world: World, token: str) -> Unauthenticated:
    before = dict(world.store.certificates), dict(world.store.used)
    with pytest.raises(Unauthenticated) as refusal:
        await world.authority.renew(RenewToken(text=token))
    assert (world.store.certificates, world.store.used) == before
    assert "eyJ" not in refusal.value.message
    return refusal.value


@pytest.mark.parametrize("kind", [KeyKind.EC_P256, KeyKind.EC_P384, KeyKind.RSA, KeyKind.ED25519])
async def test_the_holder_of_the_key_renews(kind: KeyKind) -> None:
    """This is ``step ca renew --mtls=false``, the way through a proxy that ends TLS."""
    world = make_world()
    chain, key = await world.leaf(key=generate(kind))
    renewed = await world.authority.renew(RenewToken(text=world.renew_token(chain, key)))
    assert renewed[0].public_key() == key.public_key()
    assert world.store.certificates[renewed[0].serial_number].parent == chain[0].serial_number


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": f"{CA_URL}/1.0/renew"},
        {"aud": "https://localhost/renew"},
        {"aud": ["https://127.0.0.1:1/renew"]},
        {"iss": "admin"},
        {"jti": "abc"},
    ],
)
async def test_what_clients_old_and_new_write_is_taken(claims: dict[str, Any]) -> None:
    """Both paths, any port, the provisioner's name as issuer in old clients."""
    world = make_world()
    chain, key = await world.leaf()
    await world.authority.renew(RenewToken(text=crafted(world, chain, key, **claims)))


async def test_a_leaf_without_common_name_renews() -> None:
    """Go leaves an empty subject out of the claims."""
    world = make_world()
    chain, key = await world.leaf("foobar", ("10.0.0.1",))
    await world.authority.renew(RenewToken(text=crafted(world, chain, key, drop=("sub",))))
    await world.authority.renew(RenewToken(text=world.renew_token(chain, key)))


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": f"{CA_URL}/sign"},
        {"aud": f"{CA_URL}/1.0/revoke"},
        {"aud": "https://evil.example.com/renew"},
        {"aud": "https://ca.example.com@evil.example.com/renew"},
        {"aud": "https://ca.example.com.evil.example.com/renew"},
        {"aud": f"{CA_URL}/renew#x5c/admin"},
        {"aud": [f"{CA_URL}/renew", f"{CA_URL}/sign"]},
        {"aud": None},
        {"aud": 5},
        {"iss": "somebody"},
        {"iss": ""},
        {"iss": None},
        {"sub": "b.example.com"},
        {"sub": ""},
        {"sub": None},
        {"exp": int(NOON.timestamp()) - 61, "nbf": int(NOON.timestamp()) - 300},
        {"exp": int(NOON.timestamp()) + 3601},
        {"exp": "tomorrow"},
        {"exp": True},
        {"exp": 1e300},
        {"nbf": int(NOON.timestamp()) + 61},
        {"iat": int(NOON.timestamp()) + 61},
        {"drop": ("exp",)},
        {"drop": ("nbf", "iat")},
        {"drop": ("aud",)},
        {"drop": ("iss",)},
        {"drop": ("sub",)},
    ],
)
async def test_a_token_for_anything_else_is_refused(claims: dict[str, Any]) -> None:
    """Whatever a signed token of another purpose, place or time says, it renews nothing."""
    world = make_world()
    chain, key = await world.leaf()
    refusal = await refuse(world, crafted(world, chain, key, **claims))
    assert refusal.code.startswith("renew-token.")


@pytest.mark.parametrize(
    "header",
    [
        {RENEW_HEADER: []},
        {RENEW_HEADER: None},
        {RENEW_HEADER: "MII"},
        {RENEW_HEADER: [5]},
        {RENEW_HEADER: ["###"]},
        {RENEW_HEADER: ["AAAA"]},
        {RENEW_HEADER: [""]},
        {RENEW_HEADER: ["AAAA"] * 9},
        {"x5c": ["AAAA"]},
        {"jku": "https://canary.example.com/"},
        {"x5u": "https://canary.example.com/"},
        {"crit": ["exp"]},
    ],
)
async def test_odd_headers_are_refused(header: dict[str, Any]) -> None:
    """What the header brings is parsed before anything is proved: every shape must end in a 401."""
    world = make_world()
    chain, key = await world.leaf()
    refusal = await refuse(world, crafted(world, chain, key, header=header))
    assert refusal.code.startswith("renew-token.")


async def test_another_key_does_not_renew() -> None:
    """A certificate is public: showing it proves nothing."""
    world = make_world()
    chain, _ = await world.leaf()
    refusal = await refuse(world, crafted(world, chain, generate(KeyKind.EC_P256)))
    assert refusal.code == "renew-token.signature"


async def test_the_algorithm_is_the_keys_not_the_tokens() -> None:
    """``none``, and HMAC with the public key as its secret, are the classic ways in."""
    world = make_world()
    chain, _ = await world.leaf()
    good = crafted(world, chain, generate(KeyKind.EC_P384))
    await refuse(world, good)
    head, payload, _ = good.split(".")
    for algorithm in ("none", "None", "HS256", "ES512"):
        header = {**json.loads(b64.decode(head, what="h")), "alg": algorithm}
        for signature in ("", b64.encode(b"x" * 64)):
            await refuse(world, f"{b64.encode(json.dumps(header).encode())}.{payload}.{signature}")


async def test_a_chain_is_not_built_from_what_is_sent() -> None:
    """A leaf of a sister CA, or of nobody, with the right intermediates behind it is still not ours."""
    world = make_world()
    key = generate(KeyKind.EC_P256)
    step = StepExtension(type=1, name=world.provisioner.name, credential_id=world.provisioner.kid)
    sister = world.pki.sibling()
    foreign = sloppy_leaf(sister, public_key=key.public_key(), step=step)
    for chain in (
        (foreign, sister.intermediate, world.pki.root),
        (foreign, world.pki.intermediate),
        (sloppy_leaf(world.pki, public_key=key.public_key(), signer=key, step=step), world.pki.intermediate),
        (world.pki.intermediate, world.pki.root),
    ):
        refusal = await refuse(world, crafted(world, chain, key))
        assert refusal.code == "certificate.foreign"


async def test_what_follows_the_leaf_is_not_even_parsed() -> None:
    """Eight certificates of a stranger's making are eight chances to meet a parser's bug."""
    world = make_world()
    chain, key = await world.leaf()
    header = {RENEW_HEADER: [*der64(chain[0]), "not base64 at all", ""]}
    await world.authority.renew(RenewToken(text=crafted(world, chain, key, header=header)))


async def test_a_token_renews_once() -> None:
    """Renewal tokens have no jti, and a proxy's log has the token."""
    world = make_world()
    chain, key = await world.leaf()
    token = world.renew_token(chain, key)
    await world.authority.renew(RenewToken(text=token))
    refusal = await refuse(world, token)
    assert refusal.code == "token.used"


async def test_a_mirrored_signature_is_the_same_token() -> None:
    """(r, n-s) verifies like (r, s): an identity that hashes the whole text sees two tokens (step-ca does)."""
    world = make_world()
    chain, key = await world.leaf()
    token = world.renew_token(chain, key)
    head, _, signature = token.rpartition(".")
    raw = b64.decode(signature, what="signature")
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    mirrored = (P256_ORDER - s).to_bytes(32, "big")
    # The mirrored signature does verify: otherwise this test would prove nothing.
    public_key = chain[0].public_key()
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    public_key.verify(encode_dss_signature(r, P256_ORDER - s), head.encode(), ec.ECDSA(hashes.SHA256()))
    assert decode_dss_signature(encode_dss_signature(r, s)) == (r, s)
    twin = f"{head}.{b64.encode(raw[:32] + mirrored)}"
    await world.authority.renew(RenewToken(text=twin))
    refusal = await refuse(world, token)
    assert refusal.code == "token.used"


@pytest.mark.parametrize("change", [lambda token: token + "=", lambda token: " " + token, lambda token: token + "\n"])
async def test_another_spelling_is_no_other_token(change: Callable[[str], str]) -> None:
    """A lenient base64 decoder gives one token many texts, and each text a use of its own."""
    world = make_world()
    chain, key = await world.leaf()
    await refuse(world, change(world.renew_token(chain, key)))


async def test_a_revoked_leaf_does_not_renew_by_token() -> None:
    """The other door must be locked too."""
    world = make_world()
    chain, key = await world.leaf()
    serial = chain[0].serial_number
    await world.authority.revoke(serial=serial, token=world.revoke_token(serial), peer=None, reason_code=0, reason="")
    refusal = await refuse(world, world.renew_token(chain, key))
    assert refusal.code == "certificate.revoked"


async def test_an_expired_leaf_renews_by_token_only_where_allowed() -> None:
    """TLS refuses expired leaves by itself; here nobody else looks at the date."""
    world = make_world()
    chain, key = await world.leaf()
    world.clock.advance(timedelta(days=2))
    refusal = await refuse(world, world.renew_token(chain, key))
    assert refusal.code == "certificate.expired"
    lenient = make_world(claims=Claims(allow_renewal_after_expiry=True))
    chain, key = await lenient.leaf()
    lenient.clock.advance(timedelta(days=2))
    await lenient.authority.renew(RenewToken(text=lenient.renew_token(chain, key)))


async def test_a_token_that_is_too_long_is_refused_before_it_is_parsed() -> None:
    """The bearer of nothing at all must not make us decode a megabyte."""
    world = make_world()
    refusal = await refuse(world, "a" * (1 << 20))
    assert refusal.code == "renew-token.too-large"


def test_a_token_is_in_no_repr() -> None:
    """Exceptions and logs print arguments."""
    assert "secret" not in repr(RenewToken(text="secret"))


@given(st.text(max_size=60) | st.from_regex(r"[A-Za-z0-9_-]{0,30}\.[A-Za-z0-9_-]{0,30}\.[A-Za-z0-9_-]{0,30}"))
@settings(max_examples=150)
def test_junk_is_refused_not_crashed_on(junk: str) -> None:
    """The header is the first thing that a stranger reaches."""
    with pytest.raises(Unauthenticated):
        open_renew_token(junk)
