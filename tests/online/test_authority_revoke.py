"""Revoking: by whom, what, and that it holds at once and for good."""

from __future__ import annotations

import pytest
from fakes.clock import NOON
from fakes.hierarchy import World, make_csr, make_pki, make_provisioner, make_world, peer
from fakes.leaves import sloppy_leaf

from online.authority import PeerCertificate
from online.hierarchy import Chain
from online.store import Revocation, RevocationProof
from shared.errors import ColdrootError, NotFound, PolicyDenied, RequestRejected, Unauthenticated
from shared.keys import KeyKind, PrivateKey, generate, public_key_digest


async def revoke(
    world: World,
    serial: int,
    *,
    token: str | None = None,
    chain: Chain | None = None,
    code: int = 0,
    reason: str = "",
) -> None:
    proof = None if chain is None else peer(chain)
    await world.authority.revoke(serial=serial, token=token, peer=proof, reason_code=code, reason=reason)


async def issued(world: World, key: PrivateKey | None = None) -> tuple[Chain, int]:
    chain, _ = await world.leaf(key=key)
    return chain, chain[0].serial_number


async def test_a_token_revokes_the_certificate_that_it_names() -> None:
    """The record says when, why and who: an auditor has nothing else."""
    world = make_world()
    _, serial = await issued(world)
    await revoke(world, serial, token=world.revoke_token(serial), code=4, reason="new one")
    assert world.store.revocations == {
        serial: Revocation(
            serial=serial,
            revoked_at=NOON,
            reason_code=4,
            reason="new one",
            proof=RevocationProof.TOKEN,
            provisioner_id=world.provisioner.id,
            compromised_key=None,
        )
    }
    assert len(world.store.used) == 2


async def test_a_certificate_revokes_itself() -> None:
    """Whoever holds the key may always say that it must not be believed any more."""
    world = make_world()
    chain, serial = await issued(world)
    await revoke(world, serial, chain=chain)
    assert world.store.revocations[serial].proof is RevocationProof.CERTIFICATE
    assert world.store.revocations[serial].provisioner_id == ""


async def test_a_token_goes_before_a_certificate() -> None:
    """With both, step-ca reads the token: a client that sends both must get the same answer everywhere."""
    world = make_world()
    chain, serial = await issued(world)
    _, other = await issued(world)
    await revoke(world, other, token=world.revoke_token(other), chain=chain)
    assert set(world.store.revocations) == {other}
    with pytest.raises(Unauthenticated):
        await revoke(world, serial, token="junk", chain=chain)


async def test_the_three_serials_must_agree() -> None:
    """Request, token and certificate name one serial, or one is revoked with another's proof (CVE-2025-66406)."""
    world = make_world()
    chain, serial = await issued(world)
    _, other = await issued(world)
    for call in (
        revoke(world, other, token=world.revoke_token(serial)),
        revoke(world, other, chain=chain),
    ):
        with pytest.raises(PolicyDenied) as refusal:
            await call
        assert refusal.value.code == "revoke.other-serial"
    assert world.store.revocations == {}
    assert len(world.store.used) == 2


async def test_without_proof_nothing_is_revoked() -> None:
    """step's text for it is what the CLI shows."""
    world = make_world()
    _, serial = await issued(world)
    with pytest.raises(RequestRejected) as refusal:
        await revoke(world, serial)
    assert refusal.value.message == "missing ott or client certificate"


async def test_a_serial_that_was_never_issued_is_not_revoked() -> None:
    """step-ca records any number for ever: a provisioner could fill the revocation list with noise."""
    world = make_world()
    for serial in (5, world.pki.intermediate.serial_number, world.pki.root.serial_number):
        with pytest.raises(NotFound):
            await revoke(world, serial, token=world.revoke_token(serial))
    assert world.store.writes == []


async def test_the_nodes_own_leaf_is_not_revoked_from_outside() -> None:
    """A provisioner's key must not take the CA off the net."""
    world = make_world()
    own = await world.authority.own_leaf(generate(KeyKind.EC_P256).public_key())
    serial = own[0].serial_number
    with pytest.raises(PolicyDenied) as refusal:
        await revoke(world, serial, token=world.revoke_token(serial))
    assert refusal.value.code == "revoke.own-certificate"


async def test_one_provisioner_does_not_revoke_anothers() -> None:
    """The build farm's key must not switch off production, unless production's provisioner is gone."""
    farm, farm_key = make_provisioner("farm")
    world = make_world(others=(farm,))
    _, serial = await issued(world)
    token = world.revoke_token(serial, signer=farm_key, issuer="farm")
    with pytest.raises(PolicyDenied) as refusal:
        await revoke(world, serial, token=token)
    assert refusal.value.code == "revoke.other-provisioner"
    alone = make_world(pki=world.pki, provisioner=(farm, farm_key), store=world.store)
    await revoke(alone, serial, token=token)
    assert serial in world.store.revocations


async def test_a_replaced_key_of_the_same_provisioner_revokes_what_the_old_one_let_in() -> None:
    """After a provisioner's key leaks, its name gets a new key, and that must be able to clean up."""
    world = make_world()
    _, serial = await issued(world)
    after = make_world(pki=world.pki, provisioner=make_provisioner(), store=world.store)
    await revoke(after, serial, token=after.revoke_token(serial))
    assert serial in world.store.revocations


async def test_a_second_revocation_is_refused_in_steps_words() -> None:
    """Scripts look for the sentence; the first date and reason stay."""
    world = make_world()
    chain, serial = await issued(world)
    await revoke(world, serial, chain=chain, reason="first")
    for token in (None, world.revoke_token(serial)):
        with pytest.raises(RequestRejected) as refusal:
            await revoke(world, serial, token=token, chain=chain, reason="second")
        assert refusal.value.message == f"certificate with serial number '{serial}' is already revoked"
    assert world.store.revocations[serial].reason == "first"


async def test_a_revocation_token_is_good_once() -> None:
    """Single use holds for every operation; step-ca answers 401 and so do we."""
    world = make_world()
    _, serial = await issued(world)
    token = world.revoke_token(serial)
    await revoke(world, serial, token=token)
    with pytest.raises(Unauthenticated) as refusal:
        await revoke(world, serial, token=token)
    assert refusal.value.code == "token.used"


@pytest.mark.parametrize("code", [-1, 7, 8, 11, 99])
async def test_reason_codes_that_mean_nothing_are_refused(code: int) -> None:
    """7 is unused, 8 takes a certificate off a list: as a reason to revoke, neither says anything."""
    world = make_world()
    chain, serial = await issued(world)
    with pytest.raises(RequestRejected) as refusal:
        await revoke(world, serial, chain=chain, code=code)
    assert refusal.value.code == "revoke.reason-code"


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 5, 6, 9, 10])
async def test_every_other_reason_code_of_the_cli_is_taken(code: int) -> None:
    """The step CLI offers them by name."""
    world = make_world()
    chain, serial = await issued(world)
    await revoke(world, serial, chain=chain, code=code)
    assert world.store.revocations[serial].reason_code == code


@pytest.mark.parametrize("reason", ["x" * 1001, "half a pair \ud800"])
async def test_a_reason_that_cannot_be_kept_is_refused(reason: str) -> None:
    """JSON can carry text that no database takes: that is a 400, not a 503."""
    world = make_world()
    chain, serial = await issued(world)
    with pytest.raises(RequestRejected) as refusal:
        await revoke(world, serial, chain=chain, reason=reason)
    assert refusal.value.code == "revoke.reason-text"


@pytest.mark.parametrize("by_token", [True, False])
async def test_a_compromised_key_is_barred_from_the_moment_of_the_answer(by_token: bool) -> None:
    """The thief has the key: a fresh token, a renewal of a sister leaf or a rekey must not certify it again."""
    world = make_world()
    key = generate(KeyKind.EC_P256)
    sister, _ = await issued(world, key)
    chain, serial = await issued(world, key)
    token = world.revoke_token(serial) if by_token else None
    await revoke(world, serial, token=token, chain=chain, code=1)
    assert world.store.compromised == {public_key_digest(key.public_key())}
    csr = make_csr("a.example.com", key=key)
    for call in (
        world.authority.sign(csr, world.token("a.example.com")),
        world.authority.renew(peer(sister)),
        world.authority.rekey(peer(sister), csr),
    ):
        with pytest.raises(PolicyDenied) as refusal:
            await call
        assert refusal.value.code == "key.compromised"


async def test_another_reason_does_not_bar_the_key() -> None:
    """Superseded or moved is no accusation against the key."""
    world = make_world()
    key = generate(KeyKind.EC_P256)
    chain, serial = await issued(world, key)
    await revoke(world, serial, chain=chain, code=4)
    await issued(world, key)


async def test_a_strangers_certificate_revokes_nothing() -> None:
    """Serials are chosen by whoever runs a CA: a sister CA can give a leaf one of our numbers."""
    world = make_world()
    _, serial = await issued(world)
    forged = sloppy_leaf(world.pki.sibling(), serial=serial)
    with pytest.raises(ColdrootError) as refusal:
        await world.authority.revoke(
            serial=serial, token=None, peer=PeerCertificate(certificate=forged), reason_code=0, reason=""
        )
    assert refusal.value.code == "certificate.foreign"
    assert world.store.revocations == {}


async def test_a_leaf_that_step_ca_issued_can_revoke_itself() -> None:
    """After a take-over no row knows it; its own signature by our intermediate is proof enough."""
    world = make_world()
    leaf = sloppy_leaf(world.pki)
    await world.authority.revoke(
        serial=leaf.serial_number, token=None, peer=PeerCertificate(certificate=leaf), reason_code=0, reason=""
    )
    assert leaf.serial_number in world.store.revocations


async def test_a_sign_token_does_not_revoke_and_a_revoke_token_does_not_sign() -> None:
    """One audience, one operation."""
    world = make_world()
    _, serial = await issued(world)
    with pytest.raises(Unauthenticated):
        await revoke(world, serial, token=world.token(str(serial), ("a.example.com",)))
    with pytest.raises(Unauthenticated):
        await world.authority.sign(make_csr("", key=generate(KeyKind.EC_P256)), world.revoke_token(serial))


async def test_revocation_in_one_world_is_seen_in_another_with_the_same_store() -> None:
    """Two nodes on one database: what is revoked on one is not renewed on the other."""
    pki, provisioner = make_pki(), make_provisioner()
    one = make_world(pki=pki, provisioner=provisioner)
    other = make_world(pki=pki, provisioner=provisioner, store=one.store)
    chain, serial = await issued(one)
    await revoke(one, serial, chain=chain)
    with pytest.raises(Unauthenticated):
        await other.authority.renew(peer(chain))
