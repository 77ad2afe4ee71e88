"""How many certificates there are: the SQLite store and the fake must count alike."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from fakes.clock import NOON
from fakes.databases import KINDS, fresh_store
from fakes.rows import certificate_row, revocation_of
from fakes.store import MemoryStore

from online.metrics.endpoint import _Memory
from online.store import Census, CertificateKind, Store
from online.store.sqlite import SqliteStore, create_database
from shared.errors import StoreFailed

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest_asyncio.fixture(params=[*KINDS, "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """An empty store of each kind."""
    if request.param == "memory":
        yield MemoryStore()
        return
    opened = await fresh_store(request.param, tmp_path)
    yield opened
    await opened.close()


async def record(
    store: Store,
    *,
    end: datetime,
    life: timedelta = DAY,
    parent: int | None = None,
    kind: CertificateKind | None = None,
) -> int:
    """Record a certificate that ends at a moment; return its serial."""
    row = certificate_row(parent=parent)
    row = replace(row, not_before=end - life, not_after=end, kind=kind or row.kind)
    await store.record_certificate(token=None, certificate=row)
    return row.serial


async def test_an_empty_store_has_none(store: Store) -> None:
    """Without this, a fresh node's numbers could be missing or an error."""
    assert await store.census(now=NOON) == Census(live=0, expiring={"1h": 0, "8h": 0, "24h": 0}, overdue=0)


async def test_each_horizon_counts_what_ends_within_it(store: Store) -> None:
    """Without this, an alarm an hour before the end would come a day before, or not at all."""
    for end in (HOUR, HOUR + timedelta(seconds=1), 8 * HOUR, DAY, DAY + timedelta(seconds=1)):
        await record(store, end=NOON + end, life=2 * DAY)
    census = await store.census(now=NOON)
    assert (census.live, census.expiring) == (5, {"1h": 1, "8h": 3, "24h": 4})


async def test_what_is_over_revoked_or_the_nodes_own_does_not_count(store: Store) -> None:
    """Without this, the alarm would ring for certificates that nobody can renew."""
    await record(store, end=NOON)
    await record(store, end=NOON - HOUR)
    await record(store, end=NOON + HOUR, kind=CertificateKind.OWN)
    revoked = await record(store, end=NOON + HOUR)
    await store.record_revocation(token=None, revocation=revocation_of(revoked))
    assert await store.census(now=NOON) == Census(live=0, expiring={"1h": 0, "8h": 0, "24h": 0}, overdue=0)


async def test_what_was_renewed_may_end_in_peace(store: Store) -> None:
    """Without this, each renewal would look like a certificate that is about to end."""
    old = await record(store, end=NOON + HOUR)
    new = await record(store, end=NOON + DAY, parent=old)
    census = await store.census(now=NOON)
    assert (census.live, census.expiring["1h"], census.expiring["24h"]) == (2, 0, 1)
    await store.record_revocation(token=None, revocation=revocation_of(new))
    census = await store.census(now=NOON)
    assert (census.live, census.expiring["24h"]) == (1, 0), "who revoked the successor does not want the old one back"


async def test_overdue_is_what_was_renewed_before_and_no_more(store: Store) -> None:
    """Without this, a renewer that stopped would show only when the certificate is gone."""
    end = NOON + DAY / 6 - timedelta(seconds=1)
    first = await record(store, end=end - HOUR)
    await record(store, end=end, parent=first)
    await record(store, end=end)
    assert (await store.census(now=NOON)).overdue == 1
    assert (await store.census(now=NOON - timedelta(seconds=2))).overdue == 0


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_both_stores_count_alike(tmp_path: Path, seed: int) -> None:
    """Without this, tests that run on the fake would say nothing about the real one."""
    chance = random.Random(seed)  # noqa: S311 (a reproducible case, no secret)
    create_database(tmp_path / "ca.db")
    memory, sqlite = MemoryStore(), SqliteStore(tmp_path / "ca.db")
    for _ in range(40):
        parent = chance.choice([None, *memory.certificates])
        life = chance.randint(1, 48) * HOUR
        end = NOON + chance.randint(-30, 60) * HOUR
        if parent is not None and parent not in memory.revocations:
            # A successor is issued later, for the same duration: it never ends before its parent.
            end = max(end, memory.certificates[parent].not_after)
        else:
            parent = None
        row = replace(certificate_row(), not_before=end - life, not_after=end, parent=parent)
        for store in (memory, sqlite):
            await store.record_certificate(token=None, certificate=row)
            if row.serial % 5 == 0:
                await store.record_revocation(token=None, revocation=revocation_of(row.serial))
    assert await sqlite.census(now=NOON) == await memory.census(now=NOON)
    await sqlite.close()


async def test_the_count_looks_at_live_rows_only(tmp_path: Path) -> None:
    """Without this, ten years of old certificates would be read once a minute."""
    path = tmp_path / "ca.db"
    create_database(path)
    with sqlite3.connect(path) as connection:
        indexed = {row[0] for row in connection.execute("SELECT sql FROM sqlite_master WHERE type = 'index'") if row[0]}
    connection.close()
    assert any("certificate (not_after)" in sql for sql in indexed)


async def test_a_missing_database_is_a_failure_of_the_store(tmp_path: Path) -> None:
    """Without this, a scrape would end in a traceback."""
    path = tmp_path / "ca.db"
    create_database(path)
    store = SqliteStore(path)
    path.rename(tmp_path / "gone.db")
    with pytest.raises(StoreFailed):
        await store.census(now=NOON)
    await store.close()


async def test_a_census_that_takes_long_is_taken_seldom() -> None:
    """With a million certificates, a scrape a minute at each worker would keep the disk busy for good."""
    now, taken = 0.0, 0

    async def take() -> Census:
        nonlocal now, taken
        now, taken = now + 5.0, taken + 1
        return Census(live=taken, expiring={}, overdue=0)

    memory = _Memory(take, monotonic=lambda: now)
    seen = []
    for _ in range(10):
        census = await memory.census()
        assert census is not None
        seen.append(census.live)
        now += 60.0
    assert seen == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4]
