"""The store with a recorder on a real file: what is written by whom, once, and read as it was."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.clock import NOON
from fakes.gates import LIMIT
from fakes.recording import (
    LARGE,
    Puppet,
    Served,
    code_of,
    door_fixture,  # noqa: F401 (a fixture)
    is_open,
    until,
)
from fakes.rows import certificate_row, revocation_of, token_use

from online.config.settings import DatabaseSettings
from online.store.protocol import Lineage
from online.store.recording.door import Door
from online.store.recording.line import Line
from online.store.sqlite import SqliteStore, create_database, open_writer
from shared.errors import PolicyDenied, StoreFailed, Unauthenticated


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create_database(tmp_path / "ca.db")
    return tmp_path / "ca.db"


@contextmanager
def recording(path: Path, door: Door) -> Iterator[Served]:
    """Have a recorder write into a file until the block ends."""
    with open_writer(DatabaseSettings(data_source=str(path))) as (writer, file):
        served = Served(writer, door, file=file)
        try:
            yield served
        finally:
            served.end()


@contextmanager
def opened(path: Path, door: Door, told: list[str] | None = None) -> Iterator[SqliteStore]:
    """Open a store with a line; it is closed by whoever has it."""
    yield SqliteStore(path, door=door, timed=None if told is None else lambda outcome, _: told.append(outcome))


def line_of(store: SqliteStore) -> Line:
    """Return a store's line."""
    assert store._line is not None
    return store._line


def count(path: Path, table: str) -> int:
    """Count rows past the store."""
    database = sqlite3.connect(path)
    try:
        return int(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608 (names are ours)
    finally:
        database.close()


async def test_two_workers_race_for_one_token_through_the_recorder(path: Path, door: Door) -> None:
    """One token would buy a certificate from each worker; and the loser must hear of it as without a recorder."""
    with recording(path, door), opened(path, door) as one, opened(path, door) as other:
        for each in (one, other):
            await is_open(line_of(each))
        for number in range(10):
            results = await asyncio.gather(
                *(
                    each.record_certificate(token=token_use(str(number)), certificate=certificate_row())
                    for each in (one, other, one, other)
                ),
                return_exceptions=True,
            )
            assert sorted(each for each in results if isinstance(each, int)) == [0]
            refusals = [each for each in results if not isinstance(each, int)]
            assert all(isinstance(each, Unauthenticated) and each.code == "token.used" for each in refusals)
        await one.close()
        await other.close()
    assert count(path, "certificate") == count(path, "used_token") == 10


async def test_records_of_each_kind_read_as_they_were_written(path: Path, door: Door) -> None:
    """What the line's notation loses would be missing from the database, and nobody would notice for months."""
    told: list[str] = []
    with recording(path, door), opened(path, door, told) as store:
        await is_open(line_of(store))
        first = replace(certificate_row(subject="CN=ä\u2028\U0001f512"), der=os.urandom(LARGE))
        assert await store.record_certificate(token=token_use("a"), certificate=first) == 0
        assert await store.certificate(first.serial) == first
        lineage = Lineage(newest_only=False, grace=first.not_after - first.not_after)
        later = [
            certificate_row(parent=first.serial, begin=NOON + each * (first.not_after - NOON) / 10)
            for each in range(1, 3)
        ]
        # The second one is a fork, and so a renewal of which the caller is told.
        forks = [await store.record_certificate(token=None, certificate=each, lineage=lineage) for each in later]
        assert forks == [0, 1]
        with pytest.raises(PolicyDenied) as superseded:
            await store.record_certificate(
                token=None,
                certificate=certificate_row(parent=first.serial, begin=first.not_after),
                lineage=replace(lineage, newest_only=True),
            )
        assert superseded.value.code == "renew.superseded"
        await store.record_revocation(token=None, revocation=revocation_of(first.serial, key="bad"))
        with pytest.raises(Unauthenticated) as revoked:
            await store.record_certificate(token=None, certificate=certificate_row(parent=first.serial))
        assert revoked.value.code == "certificate.revoked"
        with pytest.raises(PolicyDenied) as barred:
            await store.record_certificate(token=token_use("b"), certificate=certificate_row(key="bad"))
        assert barred.value.code == "key.compromised"
        with pytest.raises(StoreFailed) as conflict:
            await store.record_certificate(token=token_use("b"), certificate=certificate_row(serial=first.serial))
        assert conflict.value.code == "store.conflict"
        # Neither refusal used the token up.
        assert await store.record_certificate(token=token_use("b"), certificate=certificate_row()) == 0
        assert told == ["done"] * 3 + ["refused", "done", "refused", "refused", "failed", "done"]
        await store.close()


async def test_a_store_writes_by_itself_what_the_recorder_did_not_get_for_a_fault(path: Path, door: Door) -> None:
    """A recorder that dies would cost clients the answers that their own worker can give; and each counts once."""
    told: list[str] = []
    with opened(path, door, told) as store:
        puppet = await Puppet.at(door)
        puppet.say(line_of(store)._file)
        await is_open(line_of(store))
        sent = asyncio.create_task(store.record_certificate(token=token_use("a"), certificate=certificate_row()))
        await puppet.hear()
        unsent = asyncio.create_task(store.record_certificate(token=token_use("b"), certificate=certificate_row()))
        await asyncio.sleep(0.01)
        puppet.socket.close()
        assert await code_of(sent) == "store.outcome-unknown"
        assert await asyncio.wait_for(unsent, LIMIT) == 0
        assert await store.record_certificate(token=token_use("a"), certificate=certificate_row()) == 0
        assert told == ["failed", "done", "done"]
        await store.close()
    assert count(path, "certificate") == count(path, "used_token") == 2


async def test_a_database_that_was_replaced_is_refused_by_its_recorder(path: Path, door: Door) -> None:
    """A restored backup knows nothing of the tokens used since; the recorder must not go on with it, nor the old one.

    The next recorder writes the new file, and no line of those who read the old one.
    """
    with opened(path, door) as store:
        with recording(path, door):
            await is_open(line_of(store))
            create_database(path.with_name("other.db"))
            path.with_name("other.db").replace(path)
            with pytest.raises(StoreFailed) as failure:
                await store.record_certificate(token=token_use(), certificate=certificate_row())
            assert failure.value.code == "store.replaced"
        path.with_name(f"{path.name}-wal").unlink(missing_ok=True)
        path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
        with recording(path, door) as served:
            await until(lambda: not line_of(store).is_open)
            for _ in range(3):
                with pytest.raises(StoreFailed) as failure:
                    await store.record_certificate(token=token_use(), certificate=certificate_row())
                assert failure.value.code == "store.replaced"
                await asyncio.sleep(0.5)
            await until(lambda: not served.recorder._workers)
        await store.close()
    assert count(path, "certificate") == count(path, "used_token") == 0
