"""What an operator does with a SQLite store beside running it: upgrade its tables, look it over, copy it, restore it.

Invariants: whatever writes stands in the line of the writers, so a running node is never met in the middle; a copy is
of one moment, and complete before it has its name; what is replaced is kept aside.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import sqlalchemy as sa

from online.config.check import Check, Outcome
from online.store import migrate
from online.store.migrate import Upgraded
from online.store.schema import CERTIFICATE, REVOCATION, USED_TOKEN, VERSION
from online.store.sqlite_file import connect, failure, missing
from online.store.sqlite_turn import Turn
from shared import durable
from shared.errors import ColdrootError, RequestRejected, StoreFailed

_SIDE_FILES = ("-wal", "-shm")
_PAGES_A_STEP = 4096


def upgrade(path: Path, *, say: Callable[[str], None]) -> Upgraded:
    """Bring the tables of a file to this program's version, in one transaction.

    Args:
        path: the database.
        say: told of each step.

    Raises:
        StoreFailed: ``store.*``; the file is as it was.
    """
    _require_file(path)
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


def check(path: Path) -> Iterator[Check]:
    """Look a database over: its tables' version, its file, each page, and whether a write gets its turn.

    Args:
        path: the database.

    Raises:
        StoreFailed: ``store.*`` when it cannot be opened at all.
    """
    _require_file(path)
    mode = stat.S_IMODE(path.stat().st_mode)
    private = mode & 0o077 == 0
    yield Check(
        what="file",
        outcome=Outcome.OK if private else Outcome.WARNING,
        detail=f"{path}, mode {mode:04o}" + ("" if private else f": chmod 600 {path}"),
    )
    with _failures(), _opened(path) as connection:
        if not _is_whole(connection):
            advice = "damaged: stop the node, keep the file aside, restore the newest backup"
            yield Check(what="pages", outcome=Outcome.FAULT, detail=advice)
            return
        yield Check(what="pages", outcome=Outcome.OK, detail="whole")
        found = migrate.found_version(connection)
        yield version_check(found)
        if found == VERSION:
            yield counts(connection)
    with _failures(), _turn(path), _opened(path) as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE").close()
        connection.exec_driver_sql("ROLLBACK").close()
    yield Check(what="writing", outcome=Outcome.OK, detail="a write gets its turn")


def backup(path: Path, target: Path) -> None:
    """Copy a database as it is at one moment; the node may be at work meanwhile.

    Args:
        path: the database.
        target: must not exist; readable by its owner only.

    Raises:
        RequestRejected: ``file.exists``.
        StoreFailed: ``store.*`` or ``file.write-failed``; there is no partial copy.
    """
    _require_file(path)
    with new_file(target) as beside, _failures(), closing(connect(path)) as source, closing(connect(beside)) as copied:
        source.backup(copied, pages=_PAGES_A_STEP, sleep=0.01)
        # Of the original's mode nothing is left but a promise of side files, which a copy does not have.
        copied.execute("PRAGMA journal_mode=DELETE").close()


def restore(backup_file: Path, path: Path) -> Path | None:
    """Put a copy into the place of a database; the node must stand still.

    Args:
        backup_file: made by ``backup``, of this program's version or an older one.
        path: of the database.

    Returns:
        Where the database is that stood there before, if one did.

    Raises:
        RequestRejected: ``backup.*``.
        StoreFailed: ``store.*``; nothing was replaced.
    """
    with prepared(backup_file, beside=path) as ready:
        aside = None
        if path.exists():
            with _turn(path):
                aside = path.with_name(f"{path.name}.replaced-{secrets.token_hex(4)}")
                _move(path, aside)
        if os.geteuid() == 0:
            # Root may be an operator at work beside the node, whose user must be able to read it.
            owner = (aside or path.parent).stat()
            os.chown(ready, owner.st_uid, owner.st_gid)
        os.link(ready, path)
        _flush(path.parent)
    return aside


@contextmanager
def prepared(backup_file: Path, *, beside: Path) -> Iterator[Path]:
    """Make a private copy of a backup with tables of this program's version, for the length of a ``with`` block.

    Args:
        backup_file: is only read.
        beside: a file in whose directory the copy lies.

    Raises:
        RequestRejected: ``backup.*``: it is none, it is damaged, or it is of a newer version.
    """
    if not backup_file.is_file():
        raise RequestRejected("backup.missing", f"{backup_file} does not exist")
    copied = _beside(beside)
    try:
        try:
            with closing(connect(backup_file)) as source, closing(_created(copied)) as target:
                source.backup(target)
                target.execute("PRAGMA journal_mode=DELETE").close()
                if target.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                    raise RequestRejected("backup.damaged", f"{backup_file} is damaged")
            upgrade(copied, say=lambda _: None)
        except sqlite3.Error:
            raise RequestRejected("backup.malformed", f"{backup_file} is not a backup of coldroot") from None
        except StoreFailed as error:
            if error.code not in {"store.version", "store.foreign", "store.corrupt"}:
                raise
            raise RequestRejected("backup.malformed", f"{backup_file}: {error.message}", hint=error.hint) from None
        _flush(copied)
        yield copied
    finally:
        for each in (copied, *(copied.with_name(f"{copied.name}{end}") for end in (*_SIDE_FILES, ".lock"))):
            each.unlink(missing_ok=True)


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """Make a database file that appears complete and flushed at the end of a ``with`` block, or not at all.

    Raises:
        RequestRejected: ``file.exists``.
        StoreFailed: ``file.write-failed``.
    """
    taken = RequestRejected("file.exists", f"{target} exists already", hint="choose another name")
    if target.exists():
        raise taken
    beside = _beside(target)
    try:
        _created(beside).close()
        yield beside
        _flush(beside)
        os.link(beside, target)
        _flush(target.parent)
    except FileExistsError:
        raise taken from None
    except OSError as error:
        raise StoreFailed("file.write-failed", f"{target} cannot be written: {error.strerror}") from None
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


@contextmanager
def opened(path: Path) -> Iterator[sa.Connection]:
    """Open a database file through SQLAlchemy, for the length of a ``with`` block.

    Raises:
        StoreFailed: ``store.*``.
    """
    with _failures(), _opened(path) as connection:
        yield connection


def version_check(found: int | None) -> Check:
    """Say whether tables have this program's version."""
    if found == VERSION:
        return Check(what="tables", outcome=Outcome.OK, detail=f"version {found}")
    if found is None:
        return Check(what="tables", outcome=Outcome.FAULT, detail="there are none: online db upgrade makes them")
    older = "online db upgrade brings them along" if found < VERSION else "run the version that upgraded them"
    return Check(what="tables", outcome=Outcome.FAULT, detail=f"version {found}, this program needs {VERSION}: {older}")


def counts(connection: sa.Connection) -> Check:
    """Say how much there is."""
    numbers = {
        name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
        for name, table in (("certificates", CERTIFICATE), ("revocations", REVOCATION), ("used tokens", USED_TOKEN))
    }
    return Check(
        what="rows", outcome=Outcome.OK, detail=", ".join(f"{count} {name}" for name, count in numbers.items())
    )


def _is_whole(connection: sa.Connection) -> bool:
    try:
        return [row[0] for row in connection.exec_driver_sql("PRAGMA quick_check(1)")] == ["ok"]
    except sa.exc.DatabaseError as error:
        if failure(error).code != "store.corrupt":
            raise
        return False


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
    turn = Turn(path)
    try:
        turn.take(wait=True)
        yield
    finally:
        turn.close()


@contextmanager
def _opened(path: Path) -> Iterator[sa.Connection]:
    engine = sa.create_engine(
        "sqlite+pysqlite://", creator=lambda: connect(path), poolclass=sa.NullPool, hide_parameters=True
    )
    with closing(engine.connect()) as connection:
        yield connection


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise missing(path)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")


def _created(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, durable.PRIVATE))
    return connect(path)


def _move(path: Path, aside: Path) -> None:
    """Move a database with its side files: the log belongs to it, and to no other."""
    for end in ("", *_SIDE_FILES):
        with suppress(FileNotFoundError):
            path.with_name(f"{path.name}{end}").rename(aside.with_name(f"{aside.name}{end}"))


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
