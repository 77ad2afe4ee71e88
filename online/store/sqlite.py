"""The store in one SQLite file, shared by any number of processes of one machine.

Invariants:

* write-ahead log and ``synchronous=FULL``: when COMMIT returns, the rows survive a power cut;
* writers stand in line at a kernel lock on a side file, not in SQLite's polling one, so nobody meets "database is
  locked"; the kernel drops the lock of a process that dies, and SQLite its half-done transaction;
* nothing is created by opening: a mistyped path is an error, not an empty database that forgot every token;
* a database of another schema version, or one that was replaced under a running process, is refused.

The file must lie on a local disk: neither lock means anything over a network.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from online.config.settings import DatabaseSettings
from online.store import operations
from online.store.activity import Activity
from online.store.answers import Timed, timing
from online.store.census import census_of, census_statement
from online.store.crls import SqliteCrls
from online.store.group import BatchWriter, GroupCommit, Outcome, busy
from online.store.operations import CertificateRecord, Operation
from online.store.protocol import Census, CertificateRow, Lineage, Revocation, Standing, TokenUse
from online.store.recording.door import Door
from online.store.recording.line import Line, NotSentError
from online.store.rows import Row, certificate_of, revocation_of, serial_text
from online.store.schema import CERTIFICATE, REVOCATION
from online.store.sqlite_file import Connect, Database, connect, create_database, driver_of, failure
from online.store.sqlite_ready import Ready
from online.store.sqlite_turn import Turn
from online.store.sqlite_upkeep import SqliteUpkeep
from shared.errors import StoreFailed

__all__ = ["SqliteStore", "create_database", "open_store"]

_WRITE_SECONDS = 5.0
_WAL_BYTES_KEPT = 64 << 20
# The process that keeps house folds the log long before; where there is none, or it is slow, a writer does.
_MOST_PAGES = 8000

_CERTIFICATE = Ready(sa.select(CERTIFICATE).where(CERTIFICATE.c.serial == sa.bindparam("serial")))
_REVOCATION = Ready(sa.select(REVOCATION).where(REVOCATION.c.serial == sa.bindparam("serial")))
_SERIAL = sa.bindparam("serial", type_=sa.String)
_STANDING = Ready(
    sa.select(
        sa.select(CERTIFICATE.c.provisioner_id)
        .where(CERTIFICATE.c.serial == _SERIAL)
        .scalar_subquery()
        .label("provisioner_id"),
        sa.exists().where(REVOCATION.c.serial == _SERIAL).label("is_revoked"),
    )
)

# Trying each write of a batch alone would meet the same failure again.
_HOPELESS = frozenset({"store.readonly", "store.busy", "store.unopenable", "store.corrupt", "store.replaced"})


class SqliteStore:
    """The store of ``online.store.protocol.Store`` in one SQLite file. Open it after forking, once a process."""

    def __init__(
        self,
        path: Path,
        *,
        connect: Connect = connect,
        seconds: float = _WRITE_SECONDS,
        timed: Timed | None = None,
        activity: Activity | None = None,
        door: Door | None = None,
    ) -> None:
        """Open an existing store and start its helper.

        Args:
            path: made by ``create_database``.
            connect: opens the file.
            seconds: how long a write may take before its caller is told that the store is busy.
            timed: told of each record.
            activity: how many clients are served now; a write waits for the company of theirs, 2 ms at most.
            door: where the node's recorder is found, if it has one; certificates are recorded by it then.

        Raises:
            StoreFailed: ``store.missing``, ``store.corrupt``, ``store.foreign``, ``store.version``, ``store.*``.
        """
        writer = _Writer(path, connect)
        writer.open()
        try:
            self._reader = _Reader(path, connect)
        except BaseException:
            writer.close()
            raise
        self._commits = GroupCommit[Operation](writer, seconds=seconds, activity=activity)
        self._path, self._connect, self._timed, self._seconds = path, connect, timed, seconds
        self.crls = SqliteCrls(self._commits.submit, lambda: Database(path, connect, _prepare_reader))
        """The revocation lists."""
        self._line = None if door is None else Line(door, file=self._reader.file, seconds=seconds, activity=activity)
        self._upkeep = SqliteUpkeep(path, connect, partial(self._commits.submit, is_long=True))

    async def record_certificate(
        self, *, token: TokenUse | None, certificate: CertificateRow, lineage: Lineage | None = None
    ) -> int:
        """See ``Store.record_certificate``."""
        record = operations.record_certificate(token, certificate, lineage)
        return await timing(self._timed, self._by_recorder(record)) - 1

    async def record_revocation(self, *, token: TokenUse | None, revocation: Revocation) -> None:
        """See ``Store.record_revocation``."""
        await self._record(operations.record_revocation(token, revocation))

    async def revocation(self, serial: int) -> Revocation | None:
        """See ``Store.revocation``."""
        row = self._reader.first(_REVOCATION, serial)
        return None if row is None else revocation_of(row)

    async def standing(self, serial: int) -> Standing:
        """See ``Store.standing``."""
        row = self._reader.first(_STANDING, serial)
        assert row is not None
        return Standing(row["provisioner_id"], bool(row["is_revoked"]))

    async def certificate(self, serial: int) -> CertificateRow | None:
        """See ``Store.certificate``."""
        row = self._reader.first(_CERTIFICATE, serial)
        return None if row is None else certificate_of(row)

    async def census(self, *, now: datetime) -> Census:
        """See ``Store.census``: on a thread and a connection of its own."""
        return await asyncio.to_thread(self._count, now)

    async def revoke_superseded(self, *, renewed_before: datetime, now: datetime) -> int:
        """See ``Store.revoke_superseded``."""
        return await self._upkeep.superseded(renewed_before=renewed_before, now=now)

    async def forget_tokens(self, *, expired_before: datetime) -> int:
        """See ``Store.forget_tokens``."""
        return await self._upkeep.do(operations.forget_tokens(expired_before))

    async def ended(self, *, before: datetime, limit: int) -> Sequence[CertificateRow]:
        """See ``Store.ended``."""
        return await self._upkeep.ended(before=before, limit=limit)

    async def authority_version(self) -> int | None:
        """See ``CaStore.authority_version``."""
        return await self._upkeep.authority_version()

    async def drop_ended(self, certificates: Sequence[CertificateRow]) -> int:
        """See ``Store.drop_ended``."""
        return await self._upkeep.do(operations.drop_certificates(certificates))

    async def fold_log(self) -> bool:
        """See ``SqliteUpkeep.fold_log``: for the one process that keeps house."""
        return await self._upkeep.fold_log()

    async def ready(self) -> None:
        """See ``Store.ready``: takes a turn in the line of writers, with an empty transaction."""
        self._reader.check()
        await self._commits.submit(operations.nothing)

    async def close(self) -> None:
        """See ``Store.close``."""
        if self._line is not None:
            self._line.close()
        try:
            await self._commits.close()
        finally:
            self._upkeep.close()
            self.crls.close()
            self._reader.close()

    async def _record(self, operation: Operation) -> int:
        return await timing(self._timed, self._commits.submit(operation))

    async def _by_recorder(self, record: CertificateRecord) -> int:
        """Have it written by the recorder, or write it where there is none, with what is left of the time."""
        until = time.monotonic() + self._seconds
        if self._line is not None:
            with suppress(NotSentError):
                return await self._line.submit(record)
        return await self._commits.submit(record, seconds=until - time.monotonic())

    def _count(self, now: datetime) -> Census:
        database = Database(self._path, self._connect, _prepare_reader)
        try:
            return census_of(database.connection().execute(census_statement(now)).one())
        except Exception as error:  # noqa: BLE001 (as in _Reader.first)
            raise failure(error) from None
        finally:
            database.drop()


def open_store(
    settings: DatabaseSettings,
    *,
    timed: Timed | None = None,
    activity: Activity | None = None,
    door: Door | None = None,
) -> SqliteStore:
    """Open the file that a configuration names; ``online.store.open`` knows the other kinds of database.

    Args:
        settings: its ``db`` block, of the type ``sqlite``.
        timed: told of each record.
        activity: as for ``SqliteStore``.
        door: as for ``SqliteStore``; only inside a running event loop.

    Raises:
        StoreFailed: ``store.*``.
    """
    return SqliteStore(Path(settings.data_source), timed=timed, activity=activity, door=door)


@contextmanager
def open_writer(settings: DatabaseSettings) -> Iterator[tuple[BatchWriter[Operation], tuple[int, int]]]:
    """Open what writes into the file that a configuration names, for the recorder; give the file's identity with it.

    Args:
        settings: its ``db`` block, of the type ``sqlite``.

    Raises:
        StoreFailed: ``store.*``.
    """
    writer = _Writer(Path(settings.data_source), connect)
    writer.open()
    try:
        yield writer, writer.file
    finally:
        writer.close()


class _Reader:
    """Answers point queries on the caller's thread: a few microseconds from the page cache."""

    def __init__(self, path: Path, connect: Connect) -> None:
        self._database = Database(path, connect, _prepare_reader)
        self._lock = threading.Lock()
        self._closed = False
        self.check()

    @property
    def file(self) -> tuple[int, int]:
        """Device and inode of what is read."""
        return self._database.identity

    def check(self) -> None:
        """Insist that the database can be read.

        Raises:
            StoreFailed: ``store.*``.
        """
        self.first(_CERTIFICATE, 0)

    def first(self, statement: Ready, serial: int) -> Row | None:
        """Return the row of a serial, if there is one.

        Raises:
            StoreFailed: ``store.*``.
        """
        with self._lock:
            if self._closed:
                raise StoreFailed("store.closed", "the store is closed")
            try:
                cursor = driver_of(self._database.connection()).cursor()
                # All rows, though there is but one: a statement that is left half-read keeps its moment of the log.
                values = (serial_text(serial),) * len(statement.places)
                rows = cursor.execute(statement.text, values).fetchall()
            except Exception as error:  # noqa: BLE001 (whatever a database throws, it is the database that failed)
                self._database.drop()
                raise failure(error) from None
        return dict(zip(statement.columns, rows[0], strict=True)) if rows else None

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._closed = True
            self._database.drop()


class _Writer:
    """Writes batches for ``GroupCommit``: sometimes on an event loop, sometimes on the helper's thread."""

    def __init__(self, path: Path, connect: Connect) -> None:
        self._database = Database(path, connect, self._prepare)
        self._patience = 0
        self._turn = Turn(path)

    def open(self) -> None:
        """Open everything once on the caller's thread, so that what is wrong is said at the start.

        Raises:
            StoreFailed: ``store.*``.
        """
        try:
            self._turn.take(wait=True)
            try:
                self._database.connection()
            finally:
                self._turn.end()
        except Exception as error:  # noqa: BLE001 (as in _Reader.first)
            self.close()
            raise failure(error) from None

    @property
    def file(self) -> tuple[int, int]:
        """Device and inode of what is written."""
        return self._database.identity

    def begin(self, *, wait: bool, seconds: float | None = None) -> bool:
        """See ``BatchWriter.begin``.

        1. The turn among the processes that keep to our lock.
        2. The database, opened again after a failure; that takes time, too.
        3. SQLite's own lock, which only a stranger can hold: there is waiting for him, within limits.
        """
        # 1.
        if not (wait or self._database.is_open):
            return False
        if not self._turn.take(wait=wait, seconds=seconds):
            if wait:
                raise busy()
            return False
        try:
            # 2.
            driver = driver_of(self._database.connection())
            # 3.
            cursor = driver.cursor()
            if wait:
                cursor.execute(f"PRAGMA busy_timeout={self._patience}")
            cursor.execute("BEGIN IMMEDIATE")
            if wait:
                cursor.execute("PRAGMA busy_timeout=0")
            cursor.close()
        except Exception as error:  # noqa: BLE001 (as in _Reader.first)
            failed = failure(error)
            if failed.code == "store.busy" and not wait:
                self._turn.end()
                return False
            self._undo()
            raise failed from None
        return True

    def write(self, batch: Sequence[Operation]) -> Sequence[Outcome]:
        """See ``BatchWriter.write``."""
        try:
            connection = self._database.held()
            return [operation(connection) for operation in batch]
        except Exception as error:  # noqa: BLE001 (as in _Reader.first)
            self._undo()
            raise failure(error) from None

    def commit(self) -> None:
        """See ``BatchWriter.commit``."""
        try:
            connection = self._database.held()
            if connection.in_transaction():
                connection.commit()
            else:
                # What was written went past SQLAlchemy, which therefore knows of no transaction.
                driver_of(connection).commit()
        except Exception as error:  # noqa: BLE001 (as in _Reader.first)
            self._database.drop()
            raise failure(error) from None
        finally:
            self._turn.end()

    def may_retry(self, failure: StoreFailed) -> bool:
        """See ``BatchWriter.may_retry``."""
        return failure.code not in _HOPELESS

    def close(self) -> None:
        """See ``BatchWriter.close``."""
        self._database.drop()
        self._turn.close()

    def _prepare(self, connection: sa.Connection) -> None:
        mode = connection.exec_driver_sql("PRAGMA journal_mode=WAL").scalar()
        if mode != "wal":
            raise StoreFailed("store.no-wal", "the database's file system does not allow a write-ahead log")
        connection.exec_driver_sql("PRAGMA synchronous=FULL").close()
        connection.exec_driver_sql(f"PRAGMA journal_size_limit={_WAL_BYTES_KEPT}").close()
        connection.exec_driver_sql(f"PRAGMA wal_autocheckpoint={_MOST_PAGES}").close()
        self._patience = int(connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one())
        connection.exec_driver_sql("PRAGMA busy_timeout=0").close()

    def _undo(self) -> None:
        self._database.drop()
        self._turn.end()


def _prepare_reader(connection: sa.Connection) -> None:
    connection.exec_driver_sql("PRAGMA query_only=ON").close()
