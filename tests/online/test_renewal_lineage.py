"""Lineages: a certificate that was renewed twice, long after each other, is an alarm, and may be a refusal."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from fakes.clock import NOON
from fakes.databases import KINDS, fresh_store
from fakes.governed import document
from fakes.hierarchy import World, make_csr, make_world, peer
from fakes.house import housekeeper
from fakes.rows import certificate_row
from fakes.store import MemoryStore

from online.authority import Authority, AuthoritySettings
from online.config import parse_config
from online.lineage import Fork, Succession
from online.metrics.exposition import Picture, expose
from online.metrics.meter import Meter
from online.store.protocol import Lineage, RevocationProof, Store
from shared.errors import PolicyDenied, RequestRejected, Unauthenticated
from shared.keys import KeyKind, generate

HOUR = timedelta(hours=1)
RULES = Lineage(grace=HOUR)


@pytest.fixture(name="store", params=["memory", *KINDS])
async def _store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
        return
    store = await fresh_store(request.param, tmp_path)
    yield store
    await store.close()


async def test_a_store_counts_older_successors(store: Store) -> None:
    """Within the grace it is a client that asked again; beyond it, somebody else may have the key."""
    parent = certificate_row()
    assert await store.record_certificate(token=None, certificate=parent, lineage=RULES) == 0

    async def renew(after: timedelta, rules: Lineage | None = RULES) -> int:
        row = certificate_row(parent=parent.serial, begin=NOON + after)
        return await store.record_certificate(token=None, certificate=row, lineage=rules)

    assert await renew(16 * HOUR) == 0
    assert await renew(17 * HOUR) == 0
    assert await renew(17 * HOUR + timedelta(seconds=1)) == 1
    assert await renew(20 * HOUR) == 3
    assert await renew(20 * HOUR, None) == 0
    other = certificate_row(parent=certificate_row().serial, begin=NOON + 20 * HOUR)
    assert await store.record_certificate(token=None, certificate=other, lineage=RULES) == 0


async def test_only_the_newest_renews_where_that_is_said(store: Store) -> None:
    """A thief who comes after the owner gets nothing, and nothing is recorded."""
    rules = Lineage(grace=HOUR, newest_only=True)
    parent, first = certificate_row(), certificate_row()
    first = dataclasses.replace(first, parent=parent.serial)
    late = certificate_row(parent=parent.serial, begin=NOON + 2 * HOUR)
    for row in (parent, first):
        await store.record_certificate(token=None, certificate=row, lineage=rules)
    with pytest.raises(PolicyDenied) as refusal:
        await store.record_certificate(token=None, certificate=late, lineage=rules)
    assert refusal.value.code == "renew.superseded"
    assert await store.certificate(late.serial) is None
    heir = certificate_row(parent=first.serial, begin=NOON + 2 * HOUR)
    assert await store.record_certificate(token=None, certificate=heir, lineage=rules) == 0


async def test_what_is_superseded_is_revoked_where_that_is_said(store: Store) -> None:
    """Only what lives, only what has a successor older than the grace, and each once."""
    old, young, alone = certificate_row(), certificate_row(), certificate_row()
    ended = certificate_row(begin=NOON - timedelta(days=2))
    rows = [old, young, alone, ended]
    rows += [certificate_row(parent=each.serial, begin=NOON) for each in (old, ended)]
    rows += [certificate_row(parent=young.serial, begin=NOON + 3 * HOUR)]
    for row in rows:
        await store.record_certificate(token=None, certificate=row)
    now = NOON + 4 * HOUR
    assert await store.revoke_superseded(renewed_before=NOON + 2 * HOUR, now=now) == 1
    assert await store.revoke_superseded(renewed_before=NOON + 2 * HOUR, now=now) == 0
    found = await store.revocation(old.serial)
    assert found is not None
    assert (found.reason_code, found.proof, found.revoked_at) == (4, RevocationProof.SUCCESSION, now)
    for row in (young, alone, ended):
        assert await store.revocation(row.serial) is None


def governed(world: World, succession: Succession, alarms: list[Fork]) -> Authority:
    return Authority(
        hierarchy=world.pki.hierarchy(),
        registry=world.registry,
        settings=AuthoritySettings(dns_names=("ca.example.com", "localhost"), common_name="CA", succession=succession),
        store=world.store,
        clock=world.clock,
        rng=lambda size: generate(KeyKind.ED25519).private_bytes_raw()[:size],  # type: ignore[union-attr]
        alarm=alarms.append,
    )


async def test_a_thief_beside_the_owner_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """The line in the log names the certificate; that the key was replaced by a rekey makes no difference."""
    del capsys
    world, alarms = make_world(), list[Fork]()
    chain, _ = await world.leaf()
    authority = governed(world, Succession(lineage=RULES), alarms)
    world.clock.advance(16 * HOUR)
    first = await authority.renew(peer(chain))
    # An answer that was lost.
    world.clock.advance(timedelta(minutes=5))
    await authority.renew(peer(chain))
    assert alarms == []
    world.clock.advance(2 * HOUR)
    stolen = await authority.rekey(peer(chain), make_csr("", key=generate(KeyKind.EC_P256)))
    (fork,) = alarms
    assert fork.others == 2
    told = fork.describe()
    assert told.startswith("possible stolen key")
    assert str(chain[0].serial_number) in told
    assert str(stolen[0].serial_number) in told
    # Both lines live on until somebody decides.
    world.clock.advance(2 * HOUR)
    await authority.renew(peer(first))
    assert len(alarms) == 1
    meter = Meter()
    meter.forked("admin")
    shown, _ = expose(Picture(tally=meter.tally, workers=1, uptime=1.0, version="0", census=None), "")
    assert b'coldroot_lineage_forks_total{provisioner="admin"} 1.0' in shown


async def test_a_thief_who_is_refused_is_told_no_less() -> None:
    """Without this, where only the newest renews, a stolen key would be tried in silence."""
    world, alarms = make_world(), list[Fork]()
    chain, _ = await world.leaf()
    authority = governed(world, Succession(lineage=Lineage(grace=HOUR, newest_only=True)), alarms)
    world.clock.advance(16 * HOUR)
    await authority.renew(peer(chain))
    world.clock.advance(2 * HOUR)
    with pytest.raises(PolicyDenied) as refusal:
        await authority.renew(peer(chain))
    assert refusal.value.code == "renew.superseded"
    (fork,) = alarms
    told = fork.describe()
    assert fork.refused
    assert told.startswith("possible stolen key")
    assert "refused" in told
    assert str(chain[0].serial_number) in told
    # What was never handed out is nobody's.
    assert str(fork.row.serial) not in told


async def test_the_node_revokes_what_is_superseded() -> None:
    """Where it is said; else a client whose answer was lost would find its certificate revoked."""
    world, alarms = make_world(), list[Fork]()
    chain, _ = await world.leaf()
    authority = governed(world, Succession(lineage=RULES), alarms)
    world.clock.advance(16 * HOUR)
    await authority.renew(peer(chain))
    heard: list[str] = []
    strict = housekeeper(world, succession=Succession(lineage=RULES, revoke_superseded=True), revoked=heard)
    await strict.tidy()
    assert not world.store.revocations
    world.clock.advance(HOUR + timedelta(minutes=2))
    await housekeeper(world, succession=Succession(lineage=RULES)).tidy()
    assert not world.store.revocations
    assert not heard
    await strict.tidy()
    assert set(world.store.revocations) == {chain[0].serial_number}
    # Whoever makes the lists of revocations.
    assert heard == ["revoked"]
    with pytest.raises(Unauthenticated):
        await authority.renew(peer(chain))


def config(renewal: object) -> bytes:
    found = json.loads(document())
    found["coldroot"] = {"renewal": renewal}
    return json.dumps(found).encode()


def test_the_configuration_says_it(tmp_path: Path) -> None:
    """The block is ours: step-ca passes over it, and a typing error in it is an error."""
    path = tmp_path / "ca.json"
    plain = parse_config(document(), path=path).renewal
    assert (plain.grace, plain.newest_only, plain.revoke_superseded) == (HOUR, False, False)
    said = parse_config(config({"grace": "30m", "newestOnly": True, "revokeSuperseded": True}), path=path).renewal
    assert (said.grace, said.newest_only, said.revoke_superseded) == (timedelta(minutes=30), True, True)
    wrongs: tuple[object, ...] = (
        {"newestonly": True},
        {"grace": "-1h"},
        {"grace": "9000h"},
        {"newestOnly": "yes"},
        [],
        "x",
    )
    for wrong in wrongs:
        with pytest.raises(RequestRejected):
            parse_config(config(wrong), path=path)
