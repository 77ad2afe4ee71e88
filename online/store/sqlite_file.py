"""One SQLite file: made whole, opened with care, its failures said in our words.

Invariants: opening creates no database; a connection in hand is to a database of this program's schema version,
and to the very file that was opened first; no SQLAlchemy or sqlite3 exception passes ``failure``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from online.store.schema import METADATA, SCHEMA_VERSION, VERSION
from shared import durable
from shared.errors import StoreFailed

# Only a stranger (an operator's sqlite3 shell) can hold SQLite's own lock while we hold ours.
_STRANGER_SECONDS = 2.0

Connect = Callable[[Path], sqlite3.Connection]
"""Opens an existing database file; tests put faulty disks here."""

_RESTORE = "stop the node, keep this file aside, and restore the newest backup"
_VERSION = sa.select(SCHEMA_VERSION.c.version)


def connect(path: Path) -> sqlite3.Connection:
    """Open an existing database file for reading and writing, without a transaction of Python's own making."""
    uri = f"file:{quote(str(path.absolute()))}?mode=rw"
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=_STRANGER_SECONDS)


def create_database(path: Path) -> None:
    """Create an empty store, for ``online init`` only.

    It is put together in memory and appears complete, flushed, readable by its owner only.

    Args:
        path: must not exist; its directory must.

    Raises:
        RequestRejected: ``file.exists``.
        StoreFailed: ``file.write-failed``.
    """
    memory = sqlite3.connect(":memory:")
    engine = sa.create_engine("sqlite+pysqlite://", creator=lambda: memory, poolclass=sa.StaticPool)
    try:
        with engine.begin() as connection:
            METADATA.create_all(connection)
            connection.execute(sa.insert(SCHEMA_VERSION), {"version": VERSION})
        content = memory.serialize()
    finally:
        engine.dispose()
        memory.close()
    durable.write_new(path, content, mode=durable.PRIVATE)


class Database:
    """One connection to the file, opened again after a failure. Used by one thread at a time, whichever it is."""

    def __init__(self, path: Path, connect: Connect, prepare: Callable[[sa.Connection], None]) -> None:
        self.path = path
        self._prepare = prepare
        # Parameters stay out of exceptions and logs: a subject's name is nobody's business there.
        self._engine = sa.create_engine(
            "sqlite+pysqlite://", creator=lambda: connect(path), poolclass=sa.NullPool, hide_parameters=True
        )
        self._connection: sa.Connection | None = None
        self._identity: tuple[int, int] | None = None

    def connection(self) -> sa.Connection:
        """Return the connection, opened and checked if there is none.

        Insists that the file at the path is still the one that was opened first: another one, restored from a
        backup under a running node, knows nothing of the rows since.
        """
        identity = self._file_identity()
        if self._identity is not None and identity != self._identity:
            self.drop()
            raise StoreFailed(
                "store.replaced", f"{self.path} was replaced while the node was running", hint="restart the node"
            )
        if self._connection is None:
            opened = self._engine.connect()
            try:
                # First, for preparing may change the file, and a stranger's must stay as it is.
                _check_version(opened, self.path)
                self._prepare(opened)
                opened.rollback()
            except BaseException:
                opened.close()
                raise
            self._connection, self._identity = opened, identity
        return self._connection

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode of the file that was opened first."""
        assert self._identity is not None
        return self._identity

    @property
    def is_open(self) -> bool:
        """Whether there is a connection, so that to use it takes no time."""
        return self._connection is not None

    def held(self) -> sa.Connection:
        """Return the connection in the middle of its use; nothing is checked again."""
        assert self._connection is not None
        return self._connection

    def drop(self) -> None:
        """Close the connection, undoing what it had begun; the next use opens another."""
        if self._connection is not None:
            with suppress(SQLAlchemyError, sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _file_identity(self) -> tuple[int, int]:
        try:
            status = self.path.stat()
        except OSError:
            raise missing(self.path) from None
        return status.st_dev, status.st_ino


def _check_version(connection: sa.Connection, path: Path) -> None:
    try:
        versions = connection.execute(_VERSION).scalars().all()
    except OperationalError as error:
        if _primary_code(error) != sqlite3.SQLITE_ERROR:
            raise
        raise StoreFailed(
            "store.foreign",
            f"{path} is not a database of coldroot",
            hint="is it the right file? db.dataSource in ca.json names it; if it is, restore it from a backup",
        ) from None
    if versions == [VERSION]:
        return
    if len(versions) != 1:
        raise StoreFailed("store.version", f"{path} does not say which version of the schema it has", hint=_RESTORE)
    age = "an older" if versions[0] < VERSION else "a newer"
    raise StoreFailed(
        "store.version",
        f"{path} was made by {age} version of coldroot: its schema is {versions[0]}, this program needs {VERSION}",
        hint="online db upgrade brings it along; back it up first"
        if versions[0] < VERSION
        else "run the version that made it; a database is never changed by opening it",
    )


def driver_of(connection: sa.Connection) -> sqlite3.Connection:
    """Return what stands behind a connection, for statements that need nothing of SQLAlchemy when they run."""
    driver = connection.connection.dbapi_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


_FAILURES = {
    sqlite3.SQLITE_FULL: ("store.full", "the disk of the database is full", "make room on it"),
    sqlite3.SQLITE_READONLY: (
        "store.readonly",
        "the database cannot be written",
        "file and directory must be the node's own to write, on a disk that is not mounted read-only",
    ),
    sqlite3.SQLITE_BUSY: ("store.busy", "another program keeps the database locked", "close it: an sqlite3 shell?"),
    sqlite3.SQLITE_CANTOPEN: (
        "store.unopenable",
        "the database cannot be opened",
        "file and directory must be the node's own to read and write",
    ),
    sqlite3.SQLITE_NOTADB: ("store.corrupt", "the database file is not a SQLite database", _RESTORE),
    sqlite3.SQLITE_CORRUPT: ("store.corrupt", "the database file is damaged", _RESTORE),
    sqlite3.SQLITE_CONSTRAINT: ("store.conflict", "the database refused the row", None),
    sqlite3.SQLITE_IOERR: ("store.outcome-unknown", "the disk of the database failed", "look into the kernel's log"),
}


def failure(error: Exception) -> StoreFailed:
    """Say in our words what a database did. A fresh exception each time: each goes to another caller.

    Args:
        error: whatever was raised; its own text stays here, for it can repeat a row.
    """
    if isinstance(error, StoreFailed):
        return StoreFailed(error.code, error.message, hint=error.hint)
    unknown = ("store.failed", f"the database failed: {type(error).__name__}", None)
    code, message, hint = _FAILURES.get(_primary_code(error), unknown)
    return StoreFailed(code, message, hint=hint)


def _primary_code(error: Exception) -> int:
    cause = error.orig if isinstance(error, DBAPIError) else error
    # The low byte is the primary code; the rest tells variants apart.
    return getattr(cause, "sqlite_errorcode", 0) & 0xFF


def missing(path: Path) -> StoreFailed:
    """Return the failure to find the database; it is never made in passing."""
    return StoreFailed(
        "store.missing",
        f"there is no database at {path}",
        hint="online init makes one; if there was one, restore it from a backup",
    )
