"""Making and opening the SQLite store: exclusive, private, never in passing, and only the right file."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes.clock import NOON
from fakes.rows import certificate_row, revocation_of, token_use

from online.config import DatabaseSettings
from online.store.open import open_store
from online.store.sqlite import SqliteStore, create_database
from shared.errors import RequestRejected, StoreFailed, Unsupported


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create_database(tmp_path / "ca.db")
    return tmp_path / "ca.db"


def open_and_fail(path: Path) -> StoreFailed:
    before = sorted(os.listdir(path.parent)) if path.parent.exists() else None
    with pytest.raises(StoreFailed) as failure:
        SqliteStore(path)
    after = sorted(os.listdir(path.parent)) if path.parent.exists() else None
    # SQLite and the lock may leave their side files next to a database, but never make the database itself.
    assert before is None or set(after or ()) - set(before) <= {f"{path.name}.lock"}
    return failure.value


def test_a_new_database_is_private_whole_and_exclusive(path: Path) -> None:
    """A second init must not empty the list of used tokens; names of customers are nobody's business."""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(os.listdir(path.parent)) == ["ca.db"]
    content = path.read_bytes()
    with pytest.raises(RequestRejected) as refusal:
        create_database(path)
    assert refusal.value.code == "file.exists"
    assert path.read_bytes() == content


def test_a_database_is_not_made_where_there_is_no_directory(tmp_path: Path) -> None:
    """Bad input changes nothing on the disk."""
    with pytest.raises(StoreFailed):
        create_database(tmp_path / "missing" / "ca.db")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["missing.db", "no/such/dir/ca.db"])
def test_a_mistyped_path_is_an_error_not_a_new_database(tmp_path: Path, name: str) -> None:
    """An empty database made in passing has forgotten every token and every revocation."""
    failure = open_and_fail(tmp_path / name)
    assert failure.code == "store.missing"
    assert failure.hint is not None
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["a?mode=memory", "a#b", "100%41", "it's", "two words", "ünï"])
async def test_odd_file_names_are_only_names(tmp_path: Path, name: str) -> None:
    """SQLite reads such a path as an address with options: the rows would go to memory, or to another file."""
    path = tmp_path / name
    create_database(path)
    store = SqliteStore(path)
    row = certificate_row()
    await store.record_certificate(token=None, certificate=row)
    await store.close()
    again = SqliteStore(path)
    assert await again.certificate(row.serial) == row
    await again.close()
    assert sorted(os.listdir(tmp_path)) == sorted([name, f"{name}.lock"])


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda path: path.write_bytes(b"not a database, but long enough to look like one" * 100), "store.corrupt"),
        (lambda path: path.write_bytes(b""), "store.foreign"),
        (lambda path: run_sql(path, "DROP TABLE coldroot_schema"), "store.foreign"),
        (lambda path: run_sql(path, "UPDATE coldroot_schema SET version = version + 1"), "store.version"),
        (lambda path: run_sql(path, "DELETE FROM coldroot_schema"), "store.version"),
        (
            lambda path: run_sql(path, "INSERT INTO coldroot_schema SELECT version + 1 FROM coldroot_schema"),
            "store.version",
        ),
    ],
)
def test_what_is_not_our_database_is_refused_and_said(path: Path, spoil: Callable[[Path], object], code: str) -> None:
    """Writing into a foreign or newer database destroys it, or loses what the newer program keeps there."""
    spoil(path)
    failure = open_and_fail(path)
    assert failure.code == code
    assert failure.hint, "who is woken by it must know what to do"


@pytest.mark.parametrize(
    ("change", "age"),
    [
        ("UPDATE coldroot_schema SET version = version - 1", "an older"),
        ("UPDATE coldroot_schema SET version = version + 1", "a newer"),
    ],
)
def test_the_schema_of_another_version_is_told_by_its_age(path: Path, change: str, age: str) -> None:
    """Whoever upgraded must read what happened, and a database of the version before must come through unchanged."""
    run_sql(path, change)
    before = path.read_bytes()
    failure = open_and_fail(path)
    assert f"made by {age} version" in failure.message
    assert failure.hint is not None
    assert path.read_bytes() == before


async def test_a_database_that_refuses_rows_fails_writes_and_recovers(path: Path) -> None:
    """Whatever the reason, writers get 503, readers their answers, and nobody a restart."""
    store = SqliteStore(path)
    row = certificate_row()
    await store.record_certificate(token=None, certificate=row)
    run_sql(path, "CREATE TRIGGER stop BEFORE INSERT ON certificate BEGIN SELECT RAISE(ABORT, 'no'); END")
    with pytest.raises(StoreFailed):
        await store.record_certificate(token=token_use(), certificate=certificate_row())
    assert await store.certificate(row.serial) == row
    run_sql(path, "DROP TRIGGER stop")
    await store.record_certificate(token=token_use(), certificate=certificate_row())
    await store.close()


async def test_everything_survives_closing_and_opening(path: Path) -> None:
    """A restart that forgets a token allows its replay; one that forgets a revocation allows the renewal."""
    store = SqliteStore(path)
    row = certificate_row()
    await store.record_certificate(token=token_use("a"), certificate=row)
    await store.record_revocation(token=token_use("b"), revocation=revocation_of(row.serial, key="k"))
    await store.close()
    again = SqliteStore(path)
    assert await again.certificate(row.serial) == row
    assert await again.revocation(row.serial) == revocation_of(row.serial, key="k")
    for name in ("a", "b"):
        with pytest.raises(RequestRejected):
            await again.record_certificate(token=token_use(name), certificate=certificate_row(key="other"))
    await again.close()


async def test_commits_are_flushed_to_a_write_ahead_log(path: Path) -> None:
    """With ``synchronous=NORMAL`` a power cut takes back certificates that were handed out."""
    store = SqliteStore(path)
    await store.record_certificate(token=None, certificate=certificate_row())
    database = store._commits._writer._database.connection()  # type: ignore[attr-defined]
    assert database.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    assert database.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    assert stat.S_IMODE(path.with_name("ca.db-wal").stat().st_mode) == 0o600
    assert stat.S_IMODE(path.with_name("ca.db.lock").stat().st_mode) == 0o600
    await store.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files for others")
async def test_the_lock_belongs_to_the_owner_of_the_database(path: Path) -> None:
    """When root revokes on a stopped node, the node's own user must be able to take the lock afterwards."""
    os.chown(path, 12345, 12346)
    await SqliteStore(path).close()
    status = path.with_name("ca.db.lock").stat()
    assert (status.st_uid, status.st_gid) == (12345, 12346)


async def test_the_log_is_bounded(path: Path) -> None:
    """A reader that is never done, or nobody who keeps house, lets the log grow until the disk is full."""
    store = SqliteStore(path)
    for each in range(150):
        await store.record_certificate(token=None, certificate=certificate_row(subject="x" * 300_000))
        assert (await store.certificate(each)) is None
    assert path.with_name("ca.db-wal").stat().st_size < 36 << 20
    assert path.with_name("ca.db").stat().st_size > 20 << 20
    await store.close()


async def test_forgetting_goes_in_bounded_steps(path: Path) -> None:
    """One DELETE of a million rows keeps every certificate waiting."""
    store = SqliteStore(path)
    await store.close()
    run_sql(
        path,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200)"
        " INSERT INTO used_token SELECT 'p', printf('%064x', i), 5 FROM n",
    )
    store = SqliteStore(path)
    gone = [await store.forget_tokens(expired_before=NOON) for _ in range(4)]
    assert gone == [250, 250, 250, 250]
    await store.close()


def test_a_lock_file_that_is_a_link_is_refused(path: Path) -> None:
    """A link planted in its place would have the node create a file wherever it points."""
    target = path.with_name("elsewhere")
    path.with_name("ca.db.lock").symlink_to(target)
    assert open_and_fail(path).code == "store.lock"
    assert not target.exists()


async def test_the_configuration_opens_the_store(path: Path) -> None:
    """``open_store`` is what the server calls; another kind of database must be named as such."""
    store = open_store(DatabaseSettings(data_source=str(path)))
    await store.ready()
    await store.close()
    with pytest.raises(Unsupported):
        open_store(DatabaseSettings(data_source=str(path), type="badgerv2"))


def run_sql(path: Path, statement: str) -> None:
    database = sqlite3.connect(path)
    try:
        with database:
            database.execute(statement)
    finally:
        database.close()
