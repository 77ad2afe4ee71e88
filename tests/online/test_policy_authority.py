"""Policies where they bite: at sign, renew and rekey, of the authority and of a provisioner, in step-ca's words."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.governed import ca_json, governed_world
from fakes.hierarchy import World, peer

from online.api.errors import error_response
from online.authority import RenewToken
from online.tokens import csr_confirmation
from shared.errors import ColdrootError, PolicyDenied
from shared.keys import KeyKind, generate

ONLY_EXAMPLE = {"x509": {"allow": {"dns": ["*.example.com"]}}}


def world(**authority: Any) -> World:
    return governed_world(ca_json(**authority))


async def denied(world: World, subject: str, *sans: str, kind: KeyKind = KeyKind.EC_P256) -> PolicyDenied:
    with pytest.raises(PolicyDenied) as caught:
        await world.leaf(subject, sans, key=generate(kind))
    return caught.value


async def test_the_authoritys_policy_holds_for_every_token() -> None:
    """A provisioner may vouch for whom it likes; the owner of the CA has the last word."""
    governed = world(policy=ONLY_EXAMPLE)
    await governed.leaf("a.example.com")
    error = await denied(governed, "evil.test")
    assert error.code == "policy.not-allowed"
    assert error.message == 'cn name "evil.test" not allowed'
    error = await denied(governed, "a.example.com", "a.example.com", "evil.test")
    assert error.message == 'dns name "evil.test" not allowed'
    assert error.hint is not None
    assert "authority.policy.x509.allow.dns" in error.hint


async def test_a_refusal_is_steps_403_and_the_log_names_the_rule() -> None:
    """The step CLI prints the message; the operator who is asked why finds the rule in the log, not in the answer."""
    error = await denied(world(policy=ONLY_EXAMPLE), "a.example.com", "a.example.com", "evil.test")
    response = error_response(error)
    assert response.status == 403
    text = response.body.decode()
    assert 'The request was forbidden by the certificate authority: dns name \\"evil.test\\" not allowed.' in text
    assert "authority.policy" not in text
    assert "authority.policy.x509.allow.dns" in response.note


async def test_nothing_is_used_up_or_recorded_by_a_refusal() -> None:
    """After the policy is corrected, the same token must still be good."""
    governed = world(policy=ONLY_EXAMPLE)
    token, key = governed.token("evil.test"), generate(KeyKind.EC_P256)
    with pytest.raises(PolicyDenied):
        await governed.authority.sign(governed.csr("evil.test", key=key), token)
    assert governed.store.writes == []
    corrected = governed_world(world=governed)
    await corrected.authority.sign(governed.csr("evil.test", key=key), token)


async def test_a_common_name_that_would_be_dropped_is_still_judged() -> None:
    """A common name outside the alternative names never enters a leaf; even so, a forbidden one is refused."""
    error = await denied(world(policy=ONLY_EXAMPLE), "evil.test", "a.example.com")
    assert error.message == 'cn name "evil.test" not allowed'


async def test_a_provisioners_own_policy_narrows() -> None:
    """A provisioner for one team gets that team's names only, within what the authority allows."""
    team = {"policy": {"x509": {"allow": {"dns": ["*.team.example.com"]}}}}
    governed = world(policy={"x509": {"deny": {"dns": ["root.team.example.com"]}}}, provisioner=team)
    await governed.leaf("a.team.example.com")
    assert "authority.provisioners[0].policy.x509.allow.dns" in str((await denied(governed, "a.example.com")).hint)
    assert "authority.policy.x509.deny.dns[0]" in str((await denied(governed, "root.team.example.com")).hint)


async def test_keys_are_judged_at_sign_and_at_rekey() -> None:
    """A rekey to a weaker kind of key would undo the rule."""
    governed = world(policy={"x509": {"keys": {"kinds": ["ec-p256", "rsa"], "minRSABits": 3072}}})
    chain, _ = await governed.leaf()
    assert (await denied(governed, "a.example.com", kind=KeyKind.ED25519)).message == "ed25519 key not allowed"
    assert (await denied(governed, "a.example.com", kind=KeyKind.RSA)).message == "rsa-2048 key not allowed"
    other = generate(KeyKind.EC_P384)
    with pytest.raises(PolicyDenied, match="ec-p384 key not allowed"):
        await governed.authority.rekey(peer(chain), governed.csr("a.example.com", key=other))


async def test_renewal_is_held_against_the_policy_of_today() -> None:
    """step-ca judges a name once; a leaf that renews daily would outlive every tightening of the policy."""
    before = world()
    chain, key = await before.leaf("evil.test")
    today = governed_world(ca_json(policy=ONLY_EXAMPLE), world=before)
    with pytest.raises(PolicyDenied, match=r'"evil\.test" not allowed'):
        await today.authority.renew(peer(chain))
    with pytest.raises(PolicyDenied, match=r'"evil\.test" not allowed'):
        await today.authority.rekey(peer(chain), before.csr("evil.test", key=generate(KeyKind.EC_P256)))
    # The same leaf by a token of its own key.
    proof = before.renew_token(chain, key)
    with pytest.raises(PolicyDenied, match=r'"evil\.test" not allowed'):
        await today.authority.renew(RenewToken(text=proof))
    await governed_world(world=before).authority.renew(peer(chain))


async def test_the_nodes_own_leaf_is_not_under_the_policy() -> None:
    """A policy for clients' names must not keep the node from answering at all."""
    governed = world(policy=ONLY_EXAMPLE)
    await governed.authority.own_leaf(generate(KeyKind.EC_P256).public_key())


@pytest.mark.parametrize("name", ["A.EXAMPLE.COM", "a.example.com"])
async def test_case_does_not_decide(name: str) -> None:
    """A deny rule that a capital letter walks around is none."""
    with pytest.raises(ColdrootError):
        await world(policy={"x509": {"deny": {"dns": ["a.example.com"]}}}).leaf(name)


async def test_a_bound_token_changes_nothing() -> None:
    """A token for one request (cnf) is a stronger proof of who asks, not of what may be had."""
    governed, key = world(policy=ONLY_EXAMPLE), generate(KeyKind.EC_P256)
    csr = governed.csr("evil.test", key=key)
    with pytest.raises(PolicyDenied, match="not allowed"):
        await governed.authority.sign(csr, governed.token("evil.test", cnf=csr_confirmation(csr)))
