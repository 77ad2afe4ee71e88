"""Keeping house: certificates move to the archive and are in one place at least, and the node does it by itself."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import sqlite3
import stat
import time
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from fakes.clock import NOON
from fakes.hierarchy import make_world
from fakes.house import housekeeper
from fakes.node import make_home, running
from fakes.rows import certificate_row, revocation_of, token_use
from fakes.store import MemoryStore

from online.archive import Archive
from online.config import load_config
from online.housekeeping import Housekeeper
from online.store import CertificateRow, Store
from online.store.sqlite import SqliteStore, create_database
from shared.errors import RequestRejected, StoreFailed

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


def archived(directory: Path) -> list[dict[str, object]]:
    """Read every line of the archive that can be read."""
    found: list[dict[str, object]] = []
    for each in sorted(directory.glob("*.jsonl")):
        assert stat.S_IMODE(each.stat().st_mode) == 0o600
        found.extend(json.loads(line) for line in each.read_text().splitlines() if line.endswith("}"))
    return found


async def record(store: Store, *ages: int) -> list[CertificateRow]:
    """Record certificates that began so many days ago."""
    rows = [certificate_row(begin=NOON - age * _DAY) for age in ages]
    for row in rows:
        await store.record_certificate(token=None, certificate=row)
    return rows


def mover(store: Store, directory: Path) -> Housekeeper:
    world = make_world()
    return housekeeper(world, store=store, archive=directory, archive_after=7 * _DAY)


async def test_what_ended_long_ago_moves_to_a_file(store: SqliteStore, tmp_path: Path) -> None:
    """What is dropped must be somewhere: an auditor asks for a certificate years later."""
    old, older, young = await record(store, 30, 90, 5)
    revoked = (await record(store, 60))[0]
    await store.record_revocation(token=None, revocation=revocation_of(revoked.serial))
    await mover(store, tmp_path / "archive").tidy()
    lines = archived(tmp_path / "archive")
    assert {line["serial"] for line in lines} == {str(old.serial), str(older.serial)}
    assert base64.b64decode(str(lines[0]["crt"])) == older.der
    assert len(list((tmp_path / "archive").iterdir())) == 2
    kept = [await store.certificate(row.serial) for row in (old, older, young, revoked)]
    assert kept == [None, None, young, revoked]


async def test_by_default_nothing_moves(store: SqliteStore, tmp_path: Path) -> None:
    """Only who runs the CA may decide that its records leave the database."""
    (old,) = await record(store, 3000)
    await housekeeper(make_world(), store=store, archive=tmp_path / "archive").tidy()
    assert await store.certificate(old.serial) == old
    assert not (tmp_path / "archive").exists()


async def test_what_cannot_be_archived_is_not_dropped(store: SqliteStore, tmp_path: Path) -> None:
    """A full disk, or somebody's file in the way, must not cost a record."""
    (old,) = await record(store, 30)
    (tmp_path / "archive").write_text("in the way")
    with pytest.raises(StoreFailed):
        await mover(store, tmp_path / "archive").tidy()
    assert await store.certificate(old.serial) == old


async def test_a_crash_between_file_and_database_loses_nothing(store: SqliteStore, tmp_path: Path) -> None:
    """After a power cut in the middle of a line and before the rows were dropped, both are done again, readably."""
    (old,) = await record(store, 30)
    directory = tmp_path / "archive"
    Archive(directory).add([old])
    (file,) = directory.iterdir()
    content = file.read_bytes()
    file.write_bytes(content + content[:50])
    await mover(store, directory).tidy()
    lines = archived(directory)
    assert [line["serial"] for line in lines] == [str(old.serial)] * 2
    assert file.read_bytes().count(b"\n") == 3
    assert await store.certificate(old.serial) is None


async def test_signing_goes_on_while_much_is_moved(store: SqliteStore, tmp_path: Path) -> None:
    """After years, the first tidying has a million rows to move; the clients of that hour must not notice."""
    await record(store, *([30] * 300))
    moving = asyncio.create_task(mover(store, tmp_path / "archive").tidy())
    signed = 0
    while not moving.done():
        await store.record_certificate(token=token_use(str(signed)), certificate=certificate_row())
        signed += 1
    await moving
    # Six turns of fifty rows, and others had theirs in between.
    assert signed > 6
    assert len(archived(tmp_path / "archive")) == 300


class Contested(MemoryStore):
    """A store whose rows somebody else has just dropped, or revoked."""

    async def drop_ended(self, certificates: Sequence[CertificateRow]) -> int:
        del certificates
        return 0


async def test_rows_that_do_not_go_end_the_work(tmp_path: Path) -> None:
    """Two nodes tidy up one database at the same time: neither may go round for ever on what it cannot drop."""
    store = Contested()
    await record(store, 30, 30)
    async with asyncio.timeout(10):
        await mover(store, tmp_path / "archive").tidy()


@pytest.mark.parametrize("value", ["23h", "1000000h", "-24h", "soon", 24])
def test_a_time_that_is_none_is_refused(tmp_path: Path, value: object) -> None:
    """A typing error must not move what ended this morning."""
    home = make_home(tmp_path / "home")
    home.change_config(coldroot={"archiveAfter": value})
    with pytest.raises(RequestRejected, match="archiveAfter"):
        load_config(home.config)
    home.change_config(coldroot={"archiveAfter": "24h"})
    assert load_config(home.config).archive_after == _DAY


def test_the_node_keeps_house_by_itself(tmp_path: Path) -> None:
    """Nobody calls it but the node: a table that only grows fills the disk after some years."""
    home = make_home(tmp_path / "home")
    home.change_config(coldroot={"archiveAfter": "24h"})
    database = home.path / "db" / "coldroot.db"
    asyncio.run(_leave_old_rows(database))
    with running(home, workers=1) as node:
        _until_empty(database)
        assert len(archived(database.parent / "archive")) == 1
        # And its successor goes on.
        asyncio.run(_leave_old_rows(database))
        first = node.keeper()
        os.kill(first, signal.SIGKILL)
        node.wait_for(f"keeper {first} ended")
        _until_empty(database)


async def _leave_old_rows(database: Path) -> None:
    store = SqliteStore(database)
    row = certificate_row(begin=NOON - 900 * _DAY)
    await store.record_certificate(token=token_use(expires=NOON - 900 * _DAY), certificate=row)
    await store.close()


def _until_empty(path: Path) -> None:
    left = -1
    for _ in range(1000):
        database = sqlite3.connect(path)
        query = "SELECT (SELECT count(*) FROM used_token) + (SELECT count(*) FROM certificate WHERE kind = 'signed')"
        left = database.execute(query).fetchone()[0]
        database.close()
        if not left:
            return
        time.sleep(0.02)
    raise AssertionError(f"{left} old rows are still there")
