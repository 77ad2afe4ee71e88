"""A token that says how long its certificate lasts: a wish where the request has none, and a limit where it has one."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest
from cryptography import x509
from fakes.clock import NOON
from fakes.hierarchy import CA_URL, PROVISIONER, World, make_csr, make_world
from fakes.tokens import authorize, claims, forge

from online.claims import Claims
from online.provisioners.protocol import Operation
from online.tokens import audience, mint_sign_token
from shared.errors import PolicyDenied, RequestRejected, Unauthenticated
from shared.keys import KeyKind, generate

HOUR = timedelta(hours=1)
LONG = Claims(max_tls=72 * HOUR)


def mint(world: World, *, before: str = "", after: str = "") -> str:
    return mint_sign_token(
        world.signer,
        issuer=PROVISIONER,
        audience=audience(CA_URL, Operation.SIGN),
        subject="a.example.com",
        sans=(),
        root_fingerprint="ab" * 32,
        now=world.clock.now(),
        rng=os.urandom,
        cert_not_before=before,
        cert_not_after=after,
    )


async def issue(world: World, token: str, *, before: str = "", after: str = "") -> x509.Certificate:
    csr = make_csr("a.example.com", key=generate(KeyKind.EC_P256))
    return (await world.authority.sign(csr, token, not_before=before, not_after=after))[0]


@pytest.mark.parametrize("after", ["8h", "48h", "2026-11-24T20:00:00Z"])
async def test_a_request_without_wishes_gets_the_tokens(after: str) -> None:
    """The step CLI does not know the claim, so the node must apply it, also beyond the default duration."""
    world = make_world(claims=LONG)
    leaf = await issue(world, mint(world, after=after))
    wanted = {"8h": NOON + 8 * HOUR, "48h": NOON + 48 * HOUR}.get(after, NOON + 8 * HOUR)
    assert leaf.not_valid_after_utc == wanted
    assert leaf.not_valid_before_utc == NOON - timedelta(minutes=1)


async def test_a_request_may_ask_for_less_but_not_for_more() -> None:
    """Otherwise whoever holds the token decides, and the claim is decoration."""
    world = make_world()
    assert (await issue(world, mint(world, after="8h"), after="2h")).not_valid_after_utc == NOON + 2 * HOUR
    assert (await issue(world, mint(world, after="8h"), after="8h")).not_valid_after_utc == NOON + 8 * HOUR
    with pytest.raises(PolicyDenied) as refusal:
        await issue(world, mint(world, after="8h"), after="9h")
    assert refusal.value.code == "validity.beyond-credential"


async def test_the_begin_is_held_too() -> None:
    """A certificate for tomorrow must not work today."""
    world = make_world()
    leaf = await issue(world, mint(world, before="2h", after="4h"))
    # As in the request: a duration for the end counts from the begin.
    assert (leaf.not_valid_before_utc, leaf.not_valid_after_utc) == (NOON + 2 * HOUR, NOON + 6 * HOUR)
    with pytest.raises(PolicyDenied) as refusal:
        await issue(world, mint(world, before="2h"), before="1h")
    assert refusal.value.code == "validity.beyond-credential"


async def test_a_refused_request_leaves_the_token_usable() -> None:
    """A typing error in a duration must not cost the token."""
    world = make_world()
    token = mint(world, after="8h")
    with pytest.raises(PolicyDenied):
        await issue(world, token, after="9h")
    await issue(world, token)


async def test_the_claims_of_the_ca_still_hold() -> None:
    """A token is a wish within the operator's limits, not a way around them."""
    world = make_world()
    with pytest.raises(PolicyDenied) as refusal:
        await issue(world, mint(world, after="25h"))
    assert refusal.value.code == "validity.too-long"


@pytest.mark.parametrize(
    "value", ["8h", None, [], 8, {"notAfter": 8}, {"notAfter": "soon"}, {"notafter": "8h"}, {"notAfter": "8h", "x": ""}]
)
def test_a_limit_that_is_not_understood_is_refused(value: object) -> None:
    """Passed over, it would become no limit at all."""
    with pytest.raises(Unauthenticated) as refusal:
        authorize(forge(claims(cert=value)))
    assert refusal.value.code == "token.claims"


def test_a_token_that_could_not_be_used_is_not_minted() -> None:
    """A typing error is told at the desk, not at the machine that waits for its certificate."""
    world = make_world()
    with pytest.raises(RequestRejected):
        mint(world, after="tomorrow")
