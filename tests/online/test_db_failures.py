"""What goes wrong between a node and its database server: told in our words, without passwords, and within limits."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from fakes.clock import NOON
from fakes.databases import NETWORKED, discard, shared_server, start_server
from fakes.ports import free_port
from fakes.relay import Relay
from fakes.rows import certificate_row, revocation_of, token_use

from online.config import DatabaseSettings
from online.store.networked.engine import Gate, Session
from online.store.networked.link import Link, TransactionFailedError
from online.store.open import engine_of, open_store
from online.store.schema import SCHEMA_VERSION, VERSION
from shared.errors import Fatal, StoreFailed, Unauthenticated

PASSWORD = "correct-horse"


@pytest.fixture(params=NETWORKED)
def settings(request: pytest.FixtureRequest) -> DatabaseSettings:
    """An empty database with tables."""
    return shared_server(request.param).fresh()


def elsewhere(
    settings: DatabaseSettings, *, port: int | None = None, user: str = "", name: str = ""
) -> DatabaseSettings:
    """Return settings with another port, user (with a password) or database."""
    place, _, database = settings.where.rpartition("/")
    source = settings.data_source
    if port is not None:
        source = source.replace(place, f"127.0.0.1:{port}")
    if user:
        source = source.replace("postgres@", f"{user}:{PASSWORD}@").replace("root:@", f"{user}:{PASSWORD}@")
    if name and settings.type == "postgresql":
        source = source.replace(f"/{database}", f"/{name}")
    return dataclasses.replace(settings, data_source=source, database=name or settings.database)


async def failure_of(settings: DatabaseSettings) -> StoreFailed:
    """Return what a node says that starts with these settings; that it shows no password is checked here."""
    store = open_store(settings)
    with pytest.raises(StoreFailed) as failed:
        await store.ready()
    await store.close()
    error = failed.value
    assert PASSWORD not in f"{error!r} {error} {error.hint} {settings!r}"
    chain: BaseException | None = error
    while chain is not None:
        assert chain.__suppress_context__ or chain.__context__ is None
        chain = chain.__cause__
    return error


async def test_a_server_that_is_not_there(settings: DatabaseSettings) -> None:
    """An operator must read that the server is away, not that something has failed."""
    error = await failure_of(elsewhere(settings, port=free_port(), user="somebody"))
    assert error.code == "store.unreachable"


async def test_a_user_whom_the_server_does_not_know(settings: DatabaseSettings) -> None:
    """A wrong password is the operator's to mend; the message must say so and not show it."""
    assert (await failure_of(elsewhere(settings, user="nobody"))).code == "store.denied"


async def test_a_database_that_does_not_exist(settings: DatabaseSettings) -> None:
    """It is never made in passing: a typing error would be an empty database that forgot every token."""
    assert (await failure_of(elsewhere(settings, name="missing"))).code == "store.missing"


@pytest.mark.parametrize("kind", NETWORKED)
async def test_a_database_without_tables(kind: str) -> None:
    """The first start must name the command that makes them."""
    error = await failure_of(await asyncio.to_thread(shared_server(kind).empty))
    assert error.code == "store.foreign"
    assert "online db upgrade" in (error.hint or "")


@pytest.mark.parametrize(("version", "said"), [(VERSION - 1, "an older"), (VERSION + 1, "a newer")])
async def test_tables_of_another_version(settings: DatabaseSettings, version: int, said: str) -> None:
    """In the middle of a rolling upgrade a node must stop at once, not write what others cannot read."""
    store = open_store(settings)
    await store.record_certificate(token=token_use("before"), certificate=certificate_row())
    make = engine_of(settings)
    assert make is not None
    link = Link(make(False), seconds=20)

    async def change(session: Session) -> None:
        await session.connection.execute(sa.update(SCHEMA_VERSION).values(version=version))

    await link.transaction(Gate.EXCLUSIVE, change)
    await link.drop()
    row = certificate_row()
    with pytest.raises(StoreFailed) as failed:
        await store.record_certificate(token=token_use("after"), certificate=row)
    assert failed.value.code == "store.version"
    assert said in failed.value.message
    assert ("online db upgrade" in (failed.value.hint or "")) == (version < VERSION)
    assert await store.certificate(row.serial) is None
    await store.close()


@pytest.mark.parametrize("kind", NETWORKED)
async def test_a_standby_is_not_taken_for_the_primary(kind: str) -> None:
    """It lags: a revocation that was answered would not be seen there, and a used token not be known."""
    server = shared_server(kind)
    settings = await asyncio.to_thread(server.fresh)
    name = settings.where.rpartition("/")[2]
    on, off = {
        "postgresql": (f"ALTER DATABASE {name} SET default_transaction_read_only = on",) * 2,
        "mysql": ("SET GLOBAL read_only = 1", "SET GLOBAL read_only = 0"),
    }[kind]
    store = open_store(settings)
    server.run(on)
    try:
        with pytest.raises(StoreFailed) as failed:
            await store.ready()
        assert failed.value.code == "store.readonly"
    finally:
        server.run(off.replace("= on", "= off"))
    await store.ready()
    await store.close()


async def test_a_commit_that_nobody_confirms_is_not_known(settings: DatabaseSettings) -> None:
    """Committed or not? The client gets nothing, and its token is not tried again: it may well be used."""
    async with Relay.to(settings.where) as relay:
        store = open_store(elsewhere(settings, port=relay.port))
        first = certificate_row()
        await store.record_certificate(token=token_use("first"), certificate=first)
        row = certificate_row()
        # As it stands on the wire: READ COMMITTED is another matter.
        relay.cut_after = {"postgresql": b"COMMIT\0", "mysql": b"\x03COMMIT"}[settings.type]
        with pytest.raises(StoreFailed) as failed:
            await store.record_certificate(token=token_use("second"), certificate=row)
        assert failed.value.code == "store.outcome-unknown"
        # Here the server had got it, and did it.
        assert await store.certificate(row.serial) == row
        with pytest.raises(Unauthenticated):
            await store.record_certificate(token=token_use("second"), certificate=certificate_row())
        await store.close()


async def test_a_success_that_no_standby_confirmed_is_none() -> None:
    """Whoever cancels the wait for the synchronous standby makes COMMIT succeed: a fail-over then forgets the token."""
    server = start_server("postgresql")
    try:
        store = open_store(await asyncio.to_thread(server.fresh))
        await store.ready()
        server.run("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        server.run("SELECT pg_reload_conf()")
        call = asyncio.create_task(store.record_certificate(token=token_use(), certificate=certificate_row()))
        cancel = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        while not call.done():
            await asyncio.to_thread(server.run, cancel)
        with pytest.raises(StoreFailed) as failed:
            await call
        assert failed.value.code == "store.outcome-unknown"
        await store.close()
    finally:
        discard(server)


async def test_a_connection_lost_before_the_commit_is_made_up_for(settings: DatabaseSettings) -> None:
    """A server that was restarted at night must not cost the first client of the morning its certificate."""
    async with Relay.to(settings.where) as relay:
        store = open_store(elsewhere(settings, port=relay.port))
        await store.record_certificate(token=token_use("first"), certificate=certificate_row())
        await relay.cut()
        row = certificate_row()
        await store.record_certificate(token=token_use("second"), certificate=row)
        await relay.cut()
        assert await store.certificate(row.serial) == row
        await store.close()


async def test_a_silent_server_does_not_hide_the_next_one() -> None:
    """After a fail-over the old primary may take connections and say nothing: the new one must be found behind it."""
    settings = await asyncio.to_thread(shared_server("postgresql").fresh)
    ended = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        await ended.wait()
        writer.close()

    listening = await asyncio.start_server(silent, "127.0.0.1", 0)
    first = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    place = settings.where.partition("/")[0]
    hosts = f"{first},127.0.0.1:{free_port()},{place}"
    store = open_store(dataclasses.replace(settings, data_source=settings.data_source.replace(place, hosts)))
    await store.record_certificate(token=token_use(), certificate=certificate_row())
    await store.close()
    ended.set()
    listening.close()
    await listening.wait_closed()


async def test_a_lost_connection_shows_in_no_outcome_twice(settings: DatabaseSettings) -> None:
    """An exception that several callers share grows with each of them, and tells one about another."""
    store = open_store(elsewhere(settings, port=free_port()))
    calls = [store.record_certificate(token=token_use(str(each)), certificate=certificate_row()) for each in range(3)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert len({id(each) for each in results}) == len(results)
    assert all(isinstance(each, StoreFailed) for each in results)
    await store.close()


@pytest.fixture
async def engine_failing(settings: DatabaseSettings) -> AsyncIterator[Link]:
    make = engine_of(settings)
    assert make is not None
    link = Link(make(False), seconds=1)
    yield link
    await link.drop()


async def test_a_transaction_that_takes_too_long_is_given_up(engine_failing: Link) -> None:
    """A statement without an end would stop all signing of this node."""

    async def sleep(session: Session) -> None:
        name = {"postgresql": "pg_sleep"}.get(session.connection.dialect.name, "sleep")
        await session.connection.exec_driver_sql(f"SELECT {name}(30)")

    with pytest.raises(TransactionFailedError) as failed:
        await engine_failing.transaction(Gate.SHARED, sleep)
    assert failed.value.verdict.code == "store.unreachable"


async def test_a_store_from_before_a_fork_is_refused(
    settings: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes on one connection would read each other's answers."""
    store = open_store(settings)
    monkeypatch.setattr("os.getpid", lambda: -1)
    with pytest.raises(Fatal) as failed:
        await store.record_certificate(token=None, certificate=certificate_row())
    assert failed.value.code == "store.forked"
    monkeypatch.undo()
    await store.close()


async def test_a_store_serves_other_threads_too(settings: DatabaseSettings) -> None:
    """A connection belongs to the loop that opened it: used from another one it hangs for ever."""
    store = open_store(settings)
    rows = [certificate_row() for _ in range(2)]

    async def record(at: int) -> None:
        await store.record_certificate(token=token_use(str(at)), certificate=rows[at])

    await record(0)
    other = threading.Thread(target=lambda: asyncio.run(record(1)))
    other.start()
    await asyncio.to_thread(other.join)
    assert [await store.certificate(row.serial) for row in rows] == rows
    await store.close()


async def test_a_client_that_went_away_uses_up_nothing(settings: DatabaseSettings) -> None:
    """Its request waited behind others; nobody is there to take the certificate, so the token must stay good."""
    store = open_store(settings)
    busy = asyncio.create_task(store.record_certificate(token=token_use("busy"), certificate=certificate_row()))
    await asyncio.sleep(0)
    gone = asyncio.create_task(store.record_certificate(token=token_use("gone"), certificate=certificate_row()))
    await asyncio.sleep(0)
    gone.cancel()
    await busy
    await store.record_certificate(token=token_use("gone"), certificate=certificate_row())
    await store.close()


def test_a_password_file_is_read_and_must_be_private(tmp_path: Path) -> None:
    """A password in ca.json is in every copy of it; one in a file that all may read is no better."""
    server = shared_server("mysql")
    settings = server.fresh()
    server.run(f"CREATE USER ca@127.0.0.1 IDENTIFIED BY '{PASSWORD}'")
    server.run(f"GRANT ALL ON {settings.database}.* TO ca@127.0.0.1")
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n")
    file.chmod(0o600)
    place = settings.where.rpartition("/")[0]
    settings = dataclasses.replace(settings, data_source=f"mysql://ca@{place}/?passfile={file}")

    async def ready() -> None:
        store = open_store(settings)
        try:
            await store.ready()
        finally:
            await store.close()

    asyncio.run(ready())
    file.chmod(0o644)
    with pytest.raises(StoreFailed) as failed:
        asyncio.run(ready())
    assert failed.value.code == "store.passfile"
    assert PASSWORD not in str(failed.value)


@pytest.mark.parametrize("kind", NETWORKED)
async def test_the_documented_privileges_are_enough(kind: str) -> None:
    """A node that owns its tables could be made to drop them; one with too little fails at its first revocation."""
    server = shared_server(kind)
    settings = await asyncio.to_thread(server.fresh)
    name, user = settings.where.rpartition("/")[2], f"node{free_port()}"
    if kind == "postgresql":
        grants = ["SELECT, INSERT, UPDATE, DELETE ON ALL TABLES", "USAGE ON ALL SEQUENCES"]
        server.run(f"CREATE ROLE {user} LOGIN", database=name)
        for grant in grants:
            server.run(f"GRANT {grant} IN SCHEMA public TO {user}", database=name)
    else:
        server.run(f"CREATE USER {user}@127.0.0.1 IDENTIFIED BY '{PASSWORD}'")
        server.run(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {name}.* TO {user}@127.0.0.1")
    store = open_store(elsewhere(settings, user=user))
    row = certificate_row()
    await store.record_certificate(token=token_use(), certificate=row)
    await store.record_revocation(token=None, revocation=revocation_of(row.serial, key="stolen"))
    number = await store.crls.reserve(now=NOON)
    assert await store.crls.reserve(now=NOON) == number + 1
    assert await store.forget_tokens(expired_before=NOON + timedelta(days=1)) == 1
    assert await store.drop_ended([row]) == 0
    assert (await store.census(now=NOON)).live == 0
    await store.ready()
    await store.close()
