"""Several threads, processes and power cuts on one SQLite file: one certificate a token, never half of a pair."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from fakes.rows import certificate_row, token_use

from online.store.sqlite import SqliteStore, create_database
from shared.errors import Fatal, Unauthenticated

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "tests" / "fakes" / "store_process.py"
DEADLINE = 60


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create_database(tmp_path / "ca.db")
    return tmp_path / "ca.db"


def start(path: Path, count: int, name: str, kill: str = "") -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests")))}
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), str(path), str(count), name, kill],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def answers(process: subprocess.Popen[str]) -> list[tuple[str, str]]:
    """Wait for a process and return its complete lines."""
    out, error = process.communicate(timeout=DEADLINE)
    assert process.returncode in {0, -signal.SIGKILL}, error
    lines = [line for line in out.splitlines(keepends=True) if line.endswith("\n")]
    return [(line.split()[0], line.split()[1]) for line in lines]


def recorded(path: Path) -> tuple[list[str], list[str]]:
    """Return the subjects of all certificates, and the digests of all used tokens."""
    database = sqlite3.connect(path)
    try:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        subjects = [row[0] for row in database.execute("SELECT subject FROM certificate")]
        digests = [row[0] for row in database.execute("SELECT digest FROM used_token")]
    finally:
        database.close()
    return subjects, digests


def assert_pairs(path: Path, acknowledged: set[str]) -> None:
    """Token used if and only if its certificate is recorded, and nothing acknowledged is missing."""
    subjects, digests = recorded(path)
    assert sorted(digests) == sorted(hashlib.sha256(each.encode()).hexdigest() for each in subjects)
    assert len(set(subjects)) == len(subjects)
    assert acknowledged <= set(subjects)


def test_processes_that_race_for_the_same_tokens_share_them(path: Path) -> None:
    """Two workers of one node get the same token at once: exactly one may issue, and nobody meets a locked database."""
    processes = [start(path, 60, "same") for _ in range(3)]
    said = [answer for process in processes for answer in answers(process)]
    counts = Counter(word for word, _ in said)
    assert counts == {"ok": 60, "used": 120}
    assert_pairs(path, {token for word, token in said if word == "ok"})


def test_processes_that_write_different_things_all_succeed(path: Path) -> None:
    """SQLite's own lock polls, and under load tells some of its callers that the database is locked."""
    processes = [start(path, 80, f"p{each}") for each in range(4)]
    said = [answer for process in processes for answer in answers(process)]
    assert Counter(word for word, _ in said) == {"ok": 320}
    assert_pairs(path, {token for _, token in said})


@pytest.mark.parametrize(
    ("moment", "kept"),
    [
        ("BEGIN", 2),
        ("INSERT INTO used_token", 2),
        ("INSERT INTO certificate ", 2),
        ("INSERT INTO name", 2),
        ("commit", 2),
        ("committed", 3),
    ],
)
def test_a_kill_at_each_moment_of_a_transaction_leaves_pairs(path: Path, moment: str, kept: int) -> None:
    """A power cut between token and certificate would lock a client out, or give a certificate away."""
    said = answers(start(path, 10, "t", moment))
    assert said == [("ok", "t-0"), ("ok", "t-1")]
    assert len(recorded(path)[0]) == kept
    assert_pairs(path, {token for _, token in said})
    # The lock died with the process: the next one goes on at once, and knows what was used.
    again = answers(start(path, 4, "t"))
    assert [word for word, _ in again] == ["used"] * kept + ["ok"] * (4 - kept)
    assert_pairs(path, {"t-0", "t-1", "t-2", "t-3"})


def test_kills_at_random_moments_leave_pairs(path: Path) -> None:
    """Between the moments that we thought of are those that we did not: the log, its checkpoint, the flush."""
    acknowledged: set[str] = set()
    for turn in range(8):
        processes = [start(path, 100_000, f"k{turn}{each}") for each in range(2)]
        for process in processes:
            assert process.stdout is not None
            acknowledged.add(process.stdout.readline().split()[1])
        # Odd steps, so that the kill does not always meet the same phase of the loop.
        time.sleep(0.003 * turn * turn)
        for process in processes:
            process.kill()
        acknowledged |= {token for process in processes for _, token in answers(process)}
        assert_pairs(path, acknowledged)
    assert len(acknowledged) > 16


def test_threads_with_loops_of_their_own_share_a_store(path: Path) -> None:
    """A future answered on the wrong loop hangs for ever, or breaks another thread's loop."""
    results: Counter[str] = Counter()

    def worker(store: SqliteStore) -> None:
        async def use_all() -> None:
            for each in range(40):
                try:
                    await store.record_certificate(
                        token=token_use(str(each)), certificate=certificate_row(subject=str(each))
                    )
                    results["ok"] += 1
                except Unauthenticated:
                    results["used"] += 1

        asyncio.run(use_all())

    store = SqliteStore(path)
    threads = [threading.Thread(target=worker, args=(store,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    asyncio.run(store.close())
    assert results == {"ok": 40, "used": 120}
    assert_pairs(path, set(map(str, range(40))))


async def test_two_stores_of_one_process_take_turns(path: Path) -> None:
    """A lock that belongs to the process instead of the open file would let both in at once."""
    stores = [SqliteStore(path) for _ in range(3)]
    writes = [
        store.record_certificate(token=token_use(str(each)), certificate=certificate_row(subject=str(each)))
        for each in range(30)
        for store in stores
    ]
    results = await asyncio.gather(*writes, return_exceptions=True)
    for store in stores:
        await store.close()
    assert Counter(type(each).__name__ for each in results) == {"int": 30, "Unauthenticated": 60}
    assert_pairs(path, set(map(str, range(30))))


async def test_a_store_from_before_a_fork_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads do not survive a fork: a write would wait for a writer that is not there."""
    store = SqliteStore(path)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(Fatal) as failure:
        await store.record_certificate(token=None, certificate=certificate_row())
    assert failure.value.code == "store.forked"
    monkeypatch.undo()
    await store.close()
