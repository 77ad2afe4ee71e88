"""The SQLite store on a disk that fails: nothing half-done, nothing promised, and it recovers by itself."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from fakes.clock import NOON
from fakes.disk import Disk, disk_full
from fakes.rows import certificate_row, revocation_of, token_use

from online.store import Store
from online.store.sqlite import SqliteStore, create_database
from shared.errors import StoreFailed, Unauthenticated

Write = Callable[[Store], Awaitable[object]]

SERIAL = 1 << 100
WRITES: dict[str, Write] = {
    "record_certificate": lambda store: store.record_certificate(
        token=token_use(), certificate=certificate_row(serial=SERIAL)
    ),
    "record_revocation": lambda store: store.record_revocation(
        token=token_use(), revocation=revocation_of(SERIAL, key="k")
    ),
    "forget_tokens": lambda store: store.forget_tokens(expired_before=NOON),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create_database(tmp_path / "ca.db")
    return tmp_path / "ca.db"


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest_asyncio.fixture
async def store(path: Path, disk: Disk) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(path, connect=disk.connect, seconds=5)
    yield opened
    await opened.close()


def rows(path: Path) -> dict[str, int]:
    """Count what is on the disk, past the store."""
    database = sqlite3.connect(path)
    try:
        return {
            table: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 (names are ours)
            for table in ("used_token", "certificate", "revocation", "compromised_key")
        }
    finally:
        database.close()


EMPTY = {"used_token": 0, "certificate": 0, "revocation": 0, "compromised_key": 0}
KEPT = {
    "record_certificate": {**EMPTY, "used_token": 1, "certificate": 1},
    "record_revocation": {**EMPTY, "used_token": 1, "revocation": 1, "compromised_key": 1},
    "forget_tokens": EMPTY,
}


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("fault", ["begin", "statement", "commit", "after commit"])
async def test_each_write_that_fails_is_whole_or_absent(
    store: SqliteStore, disk: Disk, path: Path, name: str, fault: str
) -> None:
    """A used token without its certificate locks a client out; a certificate without its token is a free one."""
    if fault == "begin":
        disk.fail_statement = lambda statement: statement.startswith("BEGIN")
    elif fault == "statement":
        # The last table of each operation: what stands before it must go too.
        disk.fail_statement = lambda statement: statement.startswith(
            ("INSERT INTO certificate_name", "INSERT INTO compromised_key", "DELETE")
        )
    elif fault == "commit":
        disk.fail_commit_before = 1
    else:
        disk.fail_commit_after = 1
    with pytest.raises(StoreFailed):
        await WRITES[name](store)
    assert rows(path) == (KEPT[name] if fault == "after commit" else EMPTY)
    # It recovers without a restart; what was kept although it failed counts as used.
    disk.fail_statement = lambda statement: bool(statement) and False
    if fault == "after commit" and name != "forget_tokens":
        with pytest.raises(Unauthenticated):
            await WRITES[name](store)
    else:
        await WRITES[name](store)
    assert rows(path) == KEPT[name]


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (disk_full, "store.full"),
        (lambda: _coded(sqlite3.SQLITE_READONLY), "store.readonly"),
        (lambda: _coded(sqlite3.SQLITE_BUSY), "store.busy"),
        (lambda: _coded(sqlite3.SQLITE_CORRUPT), "store.corrupt"),
        (lambda: _coded(sqlite3.SQLITE_IOERR | (4 << 8)), "store.outcome-unknown"),
        (lambda: RuntimeError("token eyJhbGciOi"), "store.failed"),
        (lambda: UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates"), "store.failed"),
        (MemoryError, "store.failed"),
    ],
)
async def test_failures_are_named_and_say_nothing_secret(
    store: SqliteStore, disk: Disk, make: Callable[[], Exception], code: str
) -> None:
    """An operator must see a full disk for what it is; a driver's own text may repeat a row."""
    disk.error = make
    disk.fail_commit_before = 1
    with pytest.raises(StoreFailed) as failure:
        await WRITES["record_certificate"](store)
    assert failure.value.code == code
    assert "eyJ" not in failure.value.message
    assert failure.value.__cause__ is None
    await store.ready()


async def test_one_bad_write_does_not_take_the_batch_down(store: SqliteStore, path: Path) -> None:
    """One request with a taken serial would fail everybody who shares its transaction."""
    taken = certificate_row()
    await store.record_certificate(token=None, certificate=taken)
    writes = [store.record_certificate(token=token_use(str(each)), certificate=certificate_row()) for each in range(10)]
    writes.insert(5, store.record_certificate(token=token_use("bad"), certificate=certificate_row(serial=taken.serial)))
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert [each for each in results if each != 0] == [results[5]]
    assert isinstance(results[5], StoreFailed)
    assert results[5].code == "store.conflict"
    assert rows(path) == {**EMPTY, "used_token": 10, "certificate": 11}


async def test_callers_get_exceptions_of_their_own(store: SqliteStore, disk: Disk) -> None:
    """One exception object raised in many tasks mixes their tracebacks."""
    disk.fail_commit_before = 100
    results = await asyncio.gather(
        *(store.record_certificate(token=None, certificate=certificate_row()) for _ in range(5)), return_exceptions=True
    )
    assert all(isinstance(each, StoreFailed) for each in results)
    assert len({id(each) for each in results}) == 5


async def test_a_full_disk_fails_writes_serves_reads_and_recovers(path: Path) -> None:
    """A node that needs a restart after a full disk, or forgets revocations meanwhile, is an outage of its own."""
    limited: list[sqlite3.Connection] = []

    def small(database: Path) -> sqlite3.Connection:
        opened = sqlite3.connect(f"file:{database}?mode=rw", uri=True, isolation_level=None, check_same_thread=False)
        # SQLite's own page limit raises the very SQLITE_FULL that a full file system does.
        pages = opened.execute("PRAGMA page_count").fetchone()[0]
        opened.execute(f"PRAGMA max_page_count={pages + 2}")
        limited.append(opened)
        return opened

    store = SqliteStore(path, connect=small)
    try:
        first = certificate_row()
        await store.record_certificate(token=token_use("first"), certificate=first)
        done = 1
        with pytest.raises(StoreFailed) as failure:
            for each in range(200):
                await store.record_certificate(token=token_use(str(each)), certificate=certificate_row())
                done += 1
        assert failure.value.code == "store.full"
        assert await store.certificate(first.serial) == first
        assert rows(path) == {**EMPTY, "used_token": done, "certificate": done}
        # The failure closed the connection; the next one sees a grown file and two pages more: space was freed.
        await store.record_certificate(token=token_use("later"), certificate=certificate_row())
    finally:
        await store.close()


async def test_a_stranger_with_the_lock_costs_a_refusal_not_a_hang(path: Path, disk: Disk) -> None:
    """An operator's sqlite3 shell in the middle of a transaction must not freeze the node."""
    store = SqliteStore(path, connect=disk.connect)
    stranger = sqlite3.connect(path, isolation_level=None)
    try:
        stranger.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreFailed) as failure:
            await store.record_certificate(token=token_use(), certificate=certificate_row())
        assert failure.value.code == "store.busy"
        stranger.execute("ROLLBACK")
        await store.record_certificate(token=token_use(), certificate=certificate_row())
    finally:
        stranger.close()
        await store.close()


async def test_a_stranger_with_the_lock_does_not_stop_the_loop(path: Path) -> None:
    """SQLite waits for a stranger by sleeping; on the event loop, all clients would sleep with it."""
    store = SqliteStore(path)
    stranger = sqlite3.connect(path, isolation_level=None)
    try:
        stranger.execute("BEGIN IMMEDIATE")
        task = asyncio.create_task(store.record_certificate(token=token_use(), certificate=certificate_row()))
        for _ in range(10):
            await asyncio.sleep(0.001)
        # Still waiting, and here we are.
        assert not task.done()
        stranger.execute("ROLLBACK")
        await task
    finally:
        stranger.close()
        await store.close()


async def test_a_slow_flush_stops_neither_the_loop_nor_look_ups(store: SqliteStore, disk: Disk) -> None:
    """A disk that takes a second a flush must cost writers that second, and nobody else anything."""
    row, gate, flushing = certificate_row(), threading.Event(), threading.Event()
    await store.record_certificate(token=None, certificate=row)

    def flush() -> None:
        flushing.set()
        gate.wait(30)

    disk.before_commit = flush
    first = asyncio.create_task(store.record_certificate(token=token_use("1"), certificate=certificate_row()))
    await asyncio.to_thread(flushing.wait, 10)
    rest = [
        asyncio.create_task(store.record_certificate(token=token_use(str(each)), certificate=certificate_row()))
        for each in range(2, 30)
    ]
    assert await store.certificate(row.serial) == row
    await asyncio.sleep(0.01)
    assert not any(each.done() for each in (first, *rest))
    flushes = 0

    def count() -> None:
        nonlocal flushes
        flushes += 1

    disk.before_commit = count
    gate.set()
    await asyncio.gather(first, *rest)
    # Who came meanwhile went together.
    assert flushes == 1


async def test_a_database_that_is_replaced_under_the_node_is_refused(path: Path, store: SqliteStore) -> None:
    """Yesterday's backup moved into place knows neither today's tokens nor today's revocations."""
    await store.record_certificate(token=token_use(), certificate=certificate_row())
    put_aside(path)
    with pytest.raises(StoreFailed) as failure:
        await store.ready()
    assert failure.value.code == "store.missing"
    create_database(path)
    for call in (store.revocation(1), store.record_certificate(token=token_use(), certificate=certificate_row())):
        with pytest.raises(StoreFailed) as failure:
            await call
        assert failure.value.code == "store.replaced"
    put_back(path)
    await store.ready()


def put_aside(path: Path) -> None:
    path.rename(path.with_name("aside.db"))


def put_back(path: Path) -> None:
    path.with_name("aside.db").replace(path)


def _coded(code: int) -> Exception:
    error = sqlite3.OperationalError("SELECT eyJhbGciOi")
    error.sqlite_errorcode = code
    return error
