"""What an operator does with a SQLite store beside running it: upgrade its tables, look it over, copy it, restore it.

Invariants: whatever writes stands in the line of the writers, so a running node is never met in the middle; a copy is
of one moment, and complete before it has its name; what is replaced is kept aside.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import sqlalchemy as sa

from online.store import migrate
from online.store.migrate import Upgraded
from online.store.sqlite_file import connect, failure, missing
from shared import durable
from shared.errors import ColdrootError, StoreFailed


def upgrade(path: Path, *, say: Callable[[str], None]) -> Upgraded:
    """Bring the tables of a file to this program's version, in one transaction.

    Args:
        path: the database.
        say: told of each step.

    Raises:
        StoreFailed: ``store.*``; the file is as it was.
    """
    with _failures(), _turn(path), _opened(path) as connection:
        if migrate.found_version(connection) is None:
            raise StoreFailed("store.foreign", f"{path} is not a database of coldroot", hint="online init makes one")
        connection.exec_driver_sql("BEGIN IMMEDIATE").close()
        try:
            upgraded = migrate.upgrade(connection, say=say)
        except BaseException:
            connection.exec_driver_sql("ROLLBACK").close()
            raise
        connection.exec_driver_sql("COMMIT").close()
        return upgraded


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except ColdrootError:
        raise
    except (sa.exc.SQLAlchemyError, sqlite3.Error) as error:
        raise failure(error) from None


@contextmanager
def _turn(path: Path) -> Iterator[None]:
    """Wait for the right to write, as the writers of ``online.store.sqlite`` do, and hold it."""
    try:
        owner = path.stat()
    except OSError:
        raise missing(path) from None
    beside = path.with_name(f"{path.name}.lock")
    try:
        lock = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, durable.PRIVATE)
    except OSError as error:
        raise StoreFailed("store.lock", f"{beside} cannot be locked: {error.strerror}") from None
    try:
        if os.geteuid() == 0:
            # The node's user must be able to lock it, too.
            os.fchown(lock, owner.st_uid, owner.st_gid)
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


@contextmanager
def _opened(path: Path) -> Iterator[sa.Connection]:
    engine = sa.create_engine(
        "sqlite+pysqlite://", creator=lambda: connect(path), poolclass=sa.NullPool, hide_parameters=True
    )
    with closing(engine.connect()) as connection:
        yield connection
