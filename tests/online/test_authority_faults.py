"""The authority on a store that fails: no certificate without its record, and the truth to the caller."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fakes.hierarchy import Pki, World, make_csr, make_pki, make_world, peer
from fakes.house import housekeeper
from fakes.store import Fault

from online.authority import RenewToken
from online.hierarchy import Chain
from shared.errors import ColdrootError, PeerFailed, RequestRejected, StoreFailed, Unauthenticated
from shared.keys import KeyKind, PrivateKey, generate

Call = Callable[[World, Chain, PrivateKey], Callable[[], Awaitable[object]]]
NEW_KEY = generate(KeyKind.EC_P256)


def sign(world: World, chain: Chain, key: PrivateKey) -> Callable[[], Awaitable[object]]:
    del chain
    token = world.token("a.example.com")
    return lambda: world.authority.sign(make_csr("", key=key), token)


def renew(world: World, chain: Chain, key: PrivateKey) -> Callable[[], Awaitable[object]]:
    del key
    return lambda: world.authority.renew(peer(chain))


def renew_by_token(world: World, chain: Chain, key: PrivateKey) -> Callable[[], Awaitable[object]]:
    token = world.renew_token(chain, key)
    return lambda: world.authority.renew(RenewToken(text=token))


def rekey(world: World, chain: Chain, key: PrivateKey) -> Callable[[], Awaitable[object]]:
    del key
    return lambda: world.authority.rekey(peer(chain), make_csr("", key=NEW_KEY))


def own_leaf(world: World, chain: Chain, key: PrivateKey) -> Callable[[], Awaitable[object]]:
    del chain
    return lambda: world.authority.own_leaf(key.public_key())


def revoke_by_token(world: World, chain: Chain, key: PrivateKey) -> Callable[[], Awaitable[object]]:
    del key
    serial = chain[0].serial_number
    token = world.revoke_token(serial)
    return lambda: world.authority.revoke(serial=serial, token=token, peer=None, reason_code=0, reason="")


def revoke_by_certificate(world: World, chain: Chain, key: PrivateKey) -> Callable[[], Awaitable[object]]:
    del key
    serial = chain[0].serial_number
    return lambda: world.authority.revoke(serial=serial, token=None, peer=peer(chain), reason_code=0, reason="")


def forget(world: World, chain: Chain, key: PrivateKey) -> Callable[[], Awaitable[object]]:
    del chain, key
    return housekeeper(world).tidy


# Each write, and what a second attempt meets after the first one was kept although it failed.
WRITES: dict[str, tuple[Call, type[ColdrootError] | None]] = {
    "sign": (sign, Unauthenticated),
    "renew": (renew, None),
    "renew by token": (renew_by_token, Unauthenticated),
    "rekey": (rekey, None),
    "own leaf": (own_leaf, None),
    "revoke by token": (revoke_by_token, Unauthenticated),
    "revoke by certificate": (revoke_by_certificate, RequestRejected),
    "forget tokens": (forget, None),
}


def kept(world: World) -> tuple[int, int, int]:
    return len(world.store.certificates), len(world.store.revocations), len(world.store.used)


@pytest.mark.parametrize("name", WRITES)
async def test_a_write_that_fails_gives_nothing_and_can_be_repeated(name: str) -> None:
    """No certificate leaves unrecorded, no token is burnt, and the same request succeeds when the disk is back."""
    world = make_world()
    chain, key = await world.leaf()
    call = WRITES[name][0](world, chain, key)
    before = kept(world)
    world.store.fault = Fault.BEFORE
    with pytest.raises(StoreFailed):
        await call()
    assert kept(world) == before
    await call()


@pytest.mark.parametrize("name", WRITES)
async def test_a_write_that_is_kept_but_fails_gives_nothing_and_counts(name: str) -> None:
    """The answer of the database is lost: the caller gets no certificate, and the token counts as used."""
    world = make_world()
    chain, key = await world.leaf()
    make, afterwards = WRITES[name]
    call = make(world, chain, key)
    world.store.fault = Fault.AFTER
    with pytest.raises(StoreFailed):
        await call()
    after_first = kept(world)
    if afterwards is None:
        await call()
        return
    with pytest.raises(afterwards):
        await call()
    assert kept(world) == after_first


@pytest.mark.parametrize("name", WRITES)
async def test_a_store_that_is_away_is_said_to_be_away(name: str) -> None:
    """Every operation ends as a StoreFailed (503), none as a refusal of the client, and all work again afterwards."""
    world = make_world()
    chain, key = await world.leaf()
    call = WRITES[name][0](world, chain, key)
    world.store.unavailable = StoreFailed("store.missing", "away")
    with pytest.raises(StoreFailed):
        await call()
    with pytest.raises(StoreFailed):
        await world.authority.ready()
    world.store.unavailable = None
    await world.authority.ready()
    await call()


class BrokenToken(ec.EllipticCurvePrivateKey):
    """An HSM key whose token was pulled out."""

    def __init__(self, real: ec.EllipticCurvePrivateKey) -> None:
        self._real = real

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._real.public_key()

    @property
    def curve(self) -> ec.EllipticCurve:
        return self._real.curve

    @property
    def key_size(self) -> int:
        return self._real.key_size

    def sign(self, data: object, signature_algorithm: object) -> bytes:
        raise PeerFailed("hsm.gone", "the token does not answer")

    def exchange(self, *arguments: object) -> bytes:
        raise NotImplementedError

    def private_numbers(self) -> ec.EllipticCurvePrivateNumbers:
        raise NotImplementedError

    def private_bytes(self, *arguments: object) -> bytes:
        raise NotImplementedError

    def __copy__(self) -> BrokenToken:
        return self

    def __deepcopy__(self, memo: object) -> BrokenToken:
        return self


@pytest.mark.parametrize("name", ["sign", "renew", "renew by token", "rekey", "own leaf"])
async def test_an_hsm_that_fails_leaves_no_trace(name: str) -> None:
    """A token pulled out in the middle of a signature must not burn the client's token or leave half a row."""
    good = make_pki()
    world = make_world(pki=good)
    chain, key = await world.leaf()
    assert isinstance(good.intermediate_key, ec.EllipticCurvePrivateKey)
    broken = Pki(
        root=good.root,
        root_key=good.root_key,
        intermediate=good.intermediate,
        intermediate_key=BrokenToken(good.intermediate_key),
    )
    sick = make_world(pki=broken, provisioner=(world.provisioner, world.signer), store=world.store)
    before = kept(world)
    with pytest.raises(PeerFailed) as failure:
        await WRITES[name][0](sick, chain, key)()
    assert failure.value.code == "hsm.gone"
    assert kept(world) == before


async def test_the_certificate_is_recorded_before_it_is_returned() -> None:
    """At the moment of the write nobody has the certificate; at the moment of the answer the row is there."""
    world = make_world()
    seen: list[int] = []
    world.store.before_write = lambda: seen.append(len(world.store.certificates))
    chain, _ = await world.leaf()
    assert seen == [0]
    assert chain[0].serial_number in world.store.certificates
