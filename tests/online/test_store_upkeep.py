"""The upkeep of a SQLite store: its log, what is over, what was superseded; and nobody who signs waits for it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from fakes.clock import NOON
from fakes.disk import Disk
from fakes.rows import certificate_row, revocation_of, token_use

from online.store.sqlite import SqliteStore, create_database
from shared.errors import StoreFailed

_DAY = timedelta(days=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create_database(tmp_path / "ca.db")
    return tmp_path / "ca.db"


@pytest_asyncio.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(path)
    yield opened
    await opened.close()


def count(path: Path, query: str) -> int:
    database = sqlite3.connect(path)
    try:
        found = database.execute(query).fetchone()[0]
    finally:
        database.close()
    assert isinstance(found, int)
    return found


def size(path: Path) -> int:
    return path.stat().st_size


async def fill(store: SqliteStore, number: int, *, subject: str = "CN=a") -> None:
    tokens = [token_use(os.urandom(8).hex()) for _ in range(number)]
    rows = [certificate_row(subject=subject) for _ in tokens]
    await asyncio.gather(
        *(store.record_certificate(token=each, certificate=row) for each, row in zip(tokens, rows, strict=True))
    )


async def test_the_log_is_folded_without_the_turn(store: SqliteStore, path: Path) -> None:
    """Whoever holds the turn for a whole log's flush makes every signature of that time wait."""
    assert not await store.fold_log()
    await fill(store, 250)
    before = await asyncio.to_thread(size, path)
    with path.with_name("ca.db.lock").open() as line:
        fcntl.flock(line, fcntl.LOCK_EX)
        assert await store.fold_log()
        fcntl.flock(line, fcntl.LOCK_UN)
    assert await asyncio.to_thread(size, path) > before
    assert not await store.fold_log()
    # What goes fills the log as well as what comes.
    assert await store.forget_tokens(expired_before=NOON + _DAY) == 250
    assert await store.fold_log()


async def test_a_long_log_begins_anew(store: SqliteStore, path: Path) -> None:
    """A log that only grows fills the disk, and is folded in the middle of somebody's commit in the end."""
    log = path.with_name("ca.db-wal")
    sizes = []
    for _ in range(2):
        await fill(store, 220, subject="x" * 80_000)
        sizes.append(await asyncio.to_thread(size, log))
        await store.fold_log()
    # Written from its beginning the second time.
    assert sizes[0] > 16 << 20
    assert sizes[1] < sizes[0] * 1.5
    assert count(path, "SELECT count(*) FROM certificate") == 440
    assert count(path, "SELECT count(*) FROM certificate WHERE length(subject) <> 80000") == 0


async def test_what_ended_goes_with_the_names_that_only_it_had(store: SqliteStore, path: Path) -> None:
    """A store that only grows is full one day; a name that a living certificate has must still be found."""
    old, other = certificate_row(subject="CN=old", begin=NOON - 9 * _DAY), certificate_row(begin=NOON - 8 * _DAY)
    young = certificate_row(subject="CN=young")
    for row in (young, other, old):
        await store.record_certificate(token=None, certificate=row)
    assert await store.ended(before=NOON, limit=10) == [old, other]
    assert await store.ended(before=NOON, limit=1) == [old]
    assert await store.drop_ended([old]) == 1
    assert await store.drop_ended([old]) == 0
    assert await store.certificate(old.serial) is None
    assert await store.certificate(other.serial) == other
    database = sqlite3.connect(path)
    names = {row[0] for row in database.execute("SELECT text FROM name")}
    links = database.execute("SELECT count(*) FROM certificate_name").fetchone()[0]
    database.close()
    assert names == {"a.example.com", "10.0.0.1", "cn=a", "a", "cn=young", "young"}
    assert links == 8


async def test_what_was_revoked_stays_whenever_it_was_revoked(store: SqliteStore) -> None:
    """Without its row nobody knows when it ends: every later list would name it, or a renewal would be let through."""
    before, between = certificate_row(begin=NOON - 9 * _DAY), certificate_row(begin=NOON - 9 * _DAY)
    for row in (before, between):
        await store.record_certificate(token=None, certificate=row)
    await store.record_revocation(token=None, revocation=revocation_of(before.serial))
    found = await store.ended(before=NOON, limit=10)
    assert found == [between]
    await store.record_revocation(token=None, revocation=revocation_of(between.serial))
    assert await store.drop_ended(found) == 0
    assert await store.certificate(between.serial) == between


async def test_a_drop_that_fails_drops_nothing(path: Path) -> None:
    """A certificate without its names, or names without their certificate, is a search that lies."""
    disk = Disk()
    store = SqliteStore(path, connect=disk.connect)
    rows = [certificate_row(subject=f"CN={each}", begin=NOON - 9 * _DAY) for each in range(3)]
    for row in rows:
        await store.record_certificate(token=None, certificate=row)
    for fault in ("DELETE FROM name", "commit"):
        disk.fail_statement = lambda statement, fault=fault: statement.startswith(fault)  # type: ignore[misc]
        disk.fail_commit_before = int(fault == "commit")
        with pytest.raises(StoreFailed):
            await store.drop_ended(rows)
        assert await store.ended(before=NOON, limit=10) == rows
    disk.fail_statement = lambda _: False
    assert await store.drop_ended(rows) == 3
    assert count(path, "SELECT (SELECT count(*) FROM name) + (SELECT count(*) FROM certificate_name)") == 0
    await store.close()


async def test_superseded_certificates_are_found_without_the_turn(store: SqliteStore, path: Path) -> None:
    """To look through all that live takes a second; with the turn in hand, a second in which nobody signs."""
    parent = certificate_row()
    child = certificate_row(parent=parent.serial, begin=NOON + timedelta(hours=1))
    for row in (parent, child):
        await store.record_certificate(token=None, certificate=row)
    with path.with_name("ca.db.lock").open() as line:
        fcntl.flock(line, fcntl.LOCK_EX)
        # Nothing is superseded yet, so nothing is written either.
        assert await store.revoke_superseded(renewed_before=NOON, now=NOON) == 0
        fcntl.flock(line, fcntl.LOCK_UN)
    assert await store.revoke_superseded(renewed_before=NOON + 2 * _DAY, now=NOON) == 1
    assert await store.revoke_superseded(renewed_before=NOON + 2 * _DAY, now=NOON) == 0
    assert await store.revocation(parent.serial) is not None
