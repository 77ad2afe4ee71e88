"""Several nodes on one database server: one certificate a token, no renewal past a revocation, nothing lost."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa
from fakes.databases import NETWORKED, DatabaseServer, discard, shared_server, start_server
from fakes.rows import certificate_row, revocation_of, token_use
from sqlalchemy.dialects import postgresql

from online.config import DatabaseSettings
from online.store import RevocationProof
from online.store.networked.engine import Engine, Gate, Issue, Session
from online.store.networked.link import Link
from online.store.networked.mysql import MysqlEngine
from online.store.networked.store import NetworkedStore
from online.store.open import CaStore, engine_of, open_store
from online.store.rows import revocation_values, token_values
from online.store.schema import REVOCATION, USED_TOKEN
from shared.errors import ColdrootError, StoreFailed, Unauthenticated

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "tests" / "fakes" / "database_process.py"
DEADLINE = 60


@pytest.fixture(params=NETWORKED)
def settings(request: pytest.FixtureRequest) -> DatabaseSettings:
    """An empty database with tables on a server that others use, too."""
    return shared_server(request.param).fresh()


@pytest.fixture(params=NETWORKED)
def server(request: pytest.FixtureRequest) -> Iterator[DatabaseServer]:
    """A server of the test's own, which it may break."""
    started = start_server(request.param)
    yield started
    discard(started)


def test_processes_that_race_for_the_same_tokens_share_them(settings: DatabaseSettings) -> None:
    """Twelve rivals on three nodes with the same forty tokens: one certificate each, and nobody hears of a failure."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests")))}
    arguments = [settings.type, settings.data_source, settings.database, "4", "40", "t"]
    nodes = [
        subprocess.Popen(
            [sys.executable, str(PROGRAM), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for _ in range(3)
    ]
    for node in nodes:
        assert node.stdout is not None
        assert node.stdout.readline() == "ready t\n"
    said = []
    for node in nodes:
        assert node.stdin is not None
        node.stdin.write("\n")
        node.stdin.flush()
    for node in nodes:
        said += [line.split() for line in node.communicate(timeout=DEADLINE)[0].splitlines()]
        assert node.returncode == 0
    assert Counter(word for word, _ in said) == {"ok": 40, "used": 440}
    assert Counter(token for word, token in said if word == "ok") == {f"t-{each}": 1 for each in range(40)}


@pytest.fixture
async def two(settings: DatabaseSettings) -> AsyncIterator[tuple[Engine, Link, CaStore]]:
    """A link whose transaction the test holds open, and a store beside it, as on another node."""
    make = engine_of(settings)
    assert make is not None
    engine = make(False)
    link, store = Link(engine, seconds=20), open_store(settings)
    yield engine, link, store
    await link.drop()
    await store.close()


async def test_a_revocation_waits_for_renewals_that_looked_before_it(two: tuple[Engine, Link, CaStore]) -> None:
    """Each transaction alone is right: the renewal saw no revocation. Together they would give access after its end."""
    engine, link, store = two
    parent = certificate_row()
    await store.record_certificate(token=None, certificate=parent)
    child = Issue(token=None, certificate=certificate_row(parent=parent.serial), lineage=None)
    revoking: list[asyncio.Task[None]] = []

    async def renew(session: Session) -> object:
        outcomes = await engine.record(session, [child])
        # The renewal has looked and written, and is not committed: now the revocation comes, on another node.
        revoking.append(
            asyncio.create_task(store.record_revocation(token=None, revocation=revocation_of(parent.serial)))
        )
        await asyncio.wait(revoking, timeout=0.5)
        assert not revoking[0].done()
        return outcomes

    assert await link.transaction(Gate.SHARED, renew) == [1]
    await revoking[0]
    with pytest.raises(Unauthenticated):
        await store.record_certificate(token=None, certificate=certificate_row(parent=parent.serial))


async def test_a_renewal_waits_for_a_revocation_that_came_before_it(two: tuple[Engine, Link, CaStore]) -> None:
    """A look that does not wait reads what was true a moment ago, and renews what is being revoked."""
    engine, link, store = two
    parent = certificate_row()
    await store.record_certificate(token=None, certificate=parent)
    child = certificate_row(parent=parent.serial)
    renewing: list[asyncio.Task[int]] = []

    async def revoke(session: Session) -> None:
        await engine.check(session)
        values = revocation_values(revocation_of(parent.serial))
        await session.connection.execute(sa.insert(REVOCATION), values)
        renewing.append(asyncio.create_task(store.record_certificate(token=None, certificate=child)))
        await asyncio.wait(renewing, timeout=0.5)
        assert not renewing[0].done()

    await link.transaction(Gate.EXCLUSIVE, revoke)
    with pytest.raises(Unauthenticated) as refusal:
        await renewing[0]
    assert refusal.value.code == "certificate.revoked"
    assert await store.certificate(child.serial) is None


class Elsewhere(MysqlEngine):
    """A member of a cluster, beside another one on which something happens just after this one's COMMIT."""

    def __init__(self, settings: DatabaseSettings, happens: Callable[[], Awaitable[None]]) -> None:
        super().__init__(settings)
        self._happens = happens

    async def connect(self) -> Session:
        session = await super().connect()
        session.clustered = True
        return session

    async def recheck(self, session: Session, batch: Sequence[Issue]) -> Sequence[ColdrootError | None]:
        await self._happens()
        return await super().recheck(session, batch)


async def test_a_revocation_on_another_member_of_a_cluster_is_seen_before_anybody_gets_the_certificate() -> None:
    """Locks of one member mean nothing to another: without the second look the renewal would leave after the answer."""
    settings = await asyncio.to_thread(shared_server("mysql").fresh)
    parent, child, bystander = certificate_row(), certificate_row(), certificate_row()
    child = dataclasses.replace(child, parent=parent.serial)
    other = open_store(settings)
    await other.record_certificate(token=None, certificate=parent)

    async def revoke() -> None:
        if await other.revocation(parent.serial) is None:
            await other.record_revocation(token=None, revocation=revocation_of(parent.serial))

    store = NetworkedStore(lambda _: Elsewhere(settings, revoke))
    results = await asyncio.gather(
        store.record_certificate(token=token_use("child"), certificate=child),
        store.record_certificate(token=token_use("bystander"), certificate=bystander),
        return_exceptions=True,
    )
    assert isinstance(results[0], Unauthenticated)
    assert results[0].code == "certificate.revoked"
    assert results[1] == 0
    # It is recorded, so it must not pass for a living certificate.
    withdrawn = await other.revocation(child.serial)
    assert withdrawn is not None
    assert withdrawn.proof is RevocationProof.NODE
    assert await other.revocation(bystander.serial) is None
    await store.close()
    await other.close()


async def test_a_second_look_that_fails_gives_nothing_away() -> None:
    """Whoever cannot know whether the parent was revoked meanwhile must not hand the certificate out."""
    settings = await asyncio.to_thread(shared_server("mysql").fresh)

    async def fail() -> None:
        raise ConnectionError

    store = NetworkedStore(lambda _: Elsewhere(settings, fail))
    with pytest.raises(StoreFailed) as failed:
        await store.record_certificate(token=token_use(), certificate=certificate_row())
    assert failed.value.code == "store.outcome-unknown"
    with pytest.raises(Unauthenticated):
        await store.record_certificate(token=token_use(), certificate=certificate_row())
    await store.close()


async def test_a_deadlock_is_tried_again(settings: DatabaseSettings) -> None:
    """Two nodes that lock each other out must not show it to their clients: the server ends one, which goes again."""
    make = engine_of(settings)
    assert make is not None
    links = [Link(make(False), seconds=20) for _ in range(2)]
    calls: Counter[int] = Counter()
    meet = asyncio.Barrier(2)

    async def insert(session: Session, token: str) -> None:
        add = sa.insert(USED_TOKEN).prefix_with("IGNORE", dialect="mysql")
        if session.connection.dialect.name == "postgresql":
            add = postgresql.insert(USED_TOKEN).on_conflict_do_nothing()
        await session.connection.execute(add, token_values(token_use(token)))

    async def work(at: int) -> None:
        first, second = ("a", "b") if at == 0 else ("b", "a")

        async def run(session: Session) -> None:
            calls[at] += 1
            await insert(session, first)
            if calls[at] == 1:
                await meet.wait()
            await insert(session, second)

        await links[at].transaction(Gate.SHARED, run)

    await asyncio.gather(work(0), work(1))
    assert sorted(calls.values()) == [1, 2]
    for link in links:
        await link.drop()


async def test_a_killed_server_loses_nothing_and_is_found_again(server: DatabaseServer) -> None:
    """What was answered must be there after a crash, and the node must go on by itself when the server is back."""
    settings = await asyncio.to_thread(server.fresh)
    store = open_store(settings)
    acknowledged: dict[str, int] = {}
    failed: Counter[str] = Counter()
    stop = asyncio.Event()

    async def client(name: str) -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            row = certificate_row(subject=f"CN={name}-{turn}")
            try:
                await store.record_certificate(token=token_use(f"{name}-{turn}"), certificate=row)
            except ColdrootError as error:
                failed[error.code] += 1
                await asyncio.sleep(0.01)
            else:
                acknowledged[f"{name}-{turn}"] = row.serial

    async def more_of(counted: Callable[[], int], wanted: int) -> None:
        before = counted()
        while counted() < before + wanted:  # noqa: ASYNC110 (what is waited for is a number)
            await asyncio.sleep(0.01)

    clients = [asyncio.create_task(client(f"c{each}")) for each in range(8)]
    async with asyncio.timeout(DEADLINE):
        for _ in range(2):
            await more_of(lambda: len(acknowledged), 100)
            server.kill()
            await more_of(failed.total, 1)
            server.up()
        await more_of(lambda: len(acknowledged), 100)
        stop.set()
        await asyncio.gather(*clients)
    assert set(failed) <= {"store.unreachable", "store.outcome-unknown", "store.busy"}
    for token, serial in acknowledged.items():
        assert await store.certificate(serial) is not None
        with pytest.raises(Unauthenticated):
            await store.record_certificate(token=token_use(token), certificate=certificate_row())
    await store.close()
    name = settings.where.rpartition("/")[2]
    tokens = int(server.run("SELECT count(*) FROM used_token", database=name))
    certificates = int(server.run("SELECT count(*) FROM certificate", database=name))
    assert tokens == certificates >= len(acknowledged)


async def test_a_frozen_server_is_given_up_within_limits_and_taken_up_again(server: DatabaseServer) -> None:
    """A server that says nothing must cost a client seconds, not a hung connection, and the node no restart."""
    settings = await asyncio.to_thread(server.fresh)
    store = open_store(settings)
    await store.record_certificate(token=token_use("before"), certificate=certificate_row())
    server.freeze()
    calls = [
        *(store.record_certificate(token=token_use(f"t{each}"), certificate=certificate_row()) for each in range(5)),
        store.ready(),
    ]
    async with asyncio.timeout(DEADLINE):
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert {each.code for each in results if isinstance(each, ColdrootError)} <= {
            "store.unreachable",
            "store.outcome-unknown",
            "store.busy",
        }
        assert all(isinstance(each, ColdrootError) for each in results)
        server.thaw()
        while True:
            try:
                await store.record_certificate(token=token_use("after"), certificate=certificate_row())
                break
            except ColdrootError:
                await asyncio.sleep(0.05)
    with pytest.raises(Unauthenticated):
        await store.record_certificate(token=token_use("before"), certificate=certificate_row())
    await store.close()


async def test_no_renewal_on_any_node_follows_a_revocation_that_was_answered(settings: DatabaseSettings) -> None:
    """The moments that the tests above hold still are milliseconds wide in life: here they are met by chance."""
    stores = [open_store(settings) for _ in range(3)]
    renewed: dict[int, list[int]] = {}

    async def renew_until_refused(store: CaStore, parent: int, answered: asyncio.Event) -> None:
        while True:
            too_late = answered.is_set()
            child = certificate_row(parent=parent)
            try:
                await store.record_certificate(token=None, certificate=child)
            except Unauthenticated:
                return
            assert not too_late
            renewed[parent].append(child.serial)

    async def live_and_end(turn: int) -> None:
        parent, answered = certificate_row(), asyncio.Event()
        renewed[parent.serial] = []
        await stores[0].record_certificate(token=None, certificate=parent)
        renewals = [
            asyncio.create_task(renew_until_refused(store, parent.serial, answered)) for store in (*stores, *stores)
        ]
        while len(renewed[parent.serial]) < 5:  # noqa: ASYNC110 (what is waited for is a number)
            await asyncio.sleep(0.001 * (turn % 3))
        await stores[turn % 3].record_revocation(token=None, revocation=revocation_of(parent.serial))
        answered.set()
        await asyncio.gather(*renewals)

    async with asyncio.timeout(DEADLINE):
        await asyncio.gather(*(live_and_end(turn) for turn in range(12)))
    for children in renewed.values():
        assert [await stores[0].certificate(each) is not None for each in children] == [True] * len(children)
    for store in stores:
        await store.close()
