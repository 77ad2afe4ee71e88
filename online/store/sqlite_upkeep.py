"""What keeps a SQLite store quick and small: its log folded back in, and what is over moved out.

One process does it for all. Reading is done on threads and holds no lock; the turn of the writers is held for a
bounded number of rows or pages, and between two turns others have theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa

from online.store.operations import SUPERSEDED, Operation, revoke_superseded
from online.store.protocol import CertificateRow
from online.store.rows import certificate_of, seconds
from online.store.schema import CERTIFICATE, ENDED, NEWEST_AUTHORITY
from online.store.sqlite_file import Connect, Database, driver_of, failure
from online.store.sqlite_ready import Ready
from online.store.sqlite_turn import Turn

_FEW_PAGES = 64
# Half of what a writer would fold in its own COMMIT.
_LONG_LOG = 4000
_MOST_PASSES = 3
_ROWS_A_FOLD = 200
_LONGEST_READ = 2000
_MOST_REVOKED = 200
_NEWEST = Ready(sa.select(sa.func.max(CERTIFICATE.c.number)))

_Read = TypeVar("_Read")

Submit = Callable[[Operation], Awaitable[int]]


class SqliteUpkeep:
    """The upkeep of one file. For one event loop."""

    def __init__(self, path: Path, connect: Connect, submit: Submit) -> None:
        """Take part in a store.

        Args:
            path: of the database.
            connect: opens it.
            submit: has a write committed that takes long.
        """
        self._database = Database(path, connect, _prepare)
        self._turn = Turn(path)
        self._submit = submit
        self._folded_at = 0
        self._changed = 0
        # One connection, so one thread at a time.
        self._lock = asyncio.Lock()

    async def fold_log(self) -> bool:
        """Fold the write-ahead log back into the file when some hundred rows came or went since the last time.

        SQLite would do it in the middle of somebody's COMMIT, whose turn then lasts for as long as the disk takes. Here
        it is done without a turn. Only now and then, when the log is long, what came meanwhile is done within one, so
        that the log can begin anew.

        Returns:
            Whether there was anything to do.

        Raises:
            StoreFailed: ``store.*``.
        """
        async with self._lock:
            # A moment's look, for it is taken often, and nearly always in vain.
            newest = self._once(_newest)
            if 0 <= newest - self._folded_at < _ROWS_A_FOLD - self._changed:
                return False
            self._changed = 0
            await asyncio.to_thread(self._once, self._fold)
            self._folded_at = newest
        return True

    async def do(self, operation: Operation) -> int:
        """Have something written that takes long; return how many rows it was about."""
        rows = await self._submit(operation)
        self._changed += rows
        return rows

    async def superseded(self, *, renewed_before: datetime, now: datetime) -> int:
        """See ``Store.revoke_superseded``: found without a turn, and judged once more within one."""
        before, moment = seconds(renewed_before), seconds(now)

        def find(connection: sa.Connection) -> Sequence[str]:
            values = {"before": before, "now": moment, "limit": _LONGEST_READ}
            return connection.execute(SUPERSEDED, values).scalars().all()

        found = await self._read(find)
        return sum(
            [
                await self.do(revoke_superseded(found[begin : begin + _MOST_REVOKED], before, moment))
                for begin in range(0, len(found), _MOST_REVOKED)
            ]
        )

    async def ended(self, *, before: datetime, limit: int) -> Sequence[CertificateRow]:
        """See ``Store.ended``."""
        values = {"horizon": seconds(before), "limit": limit}
        rows = await self._read(lambda connection: connection.execute(ENDED, values).mappings().all())
        return [certificate_of(row) for row in rows]

    async def authority_version(self) -> int | None:
        """See ``CaStore.authority_version``."""
        return await self._read(lambda connection: connection.execute(NEWEST_AUTHORITY).scalar())

    def close(self) -> None:
        """Let go of the file."""
        self._database.drop()
        self._turn.close()

    async def _read(self, read: Callable[[sa.Connection], _Read]) -> _Read:
        async with self._lock:
            return await asyncio.to_thread(self._once, read)

    def _once(self, read: Callable[[sa.Connection], _Read]) -> _Read:
        try:
            connection = self._database.connection()
            found = read(connection)
            connection.rollback()
        except Exception as error:  # noqa: BLE001 (whatever a database throws, it is the database that failed)
            self._database.drop()
            raise failure(error) from None
        return found

    def _fold(self, connection: sa.Connection) -> None:
        """Fold the log in.

        1. Without a turn, again and again, until others hardly write more meanwhile than was folded.
        2. A log that has grown long begins anew; for that, all of it must be folded, and nobody write.
        """
        # 1.
        folded = 0
        for _ in range(_MOST_PASSES):
            before, folded = folded, _checkpoint(connection)
            if folded - before < _FEW_PAGES:
                break
        # 2.
        if folded < _LONG_LOG:
            return
        self._turn.take(wait=True)
        try:
            _checkpoint(connection)
        finally:
            self._turn.end()


def _newest(connection: sa.Connection) -> int:
    return int(driver_of(connection).execute(_NEWEST.text).fetchall()[0][0] or 0)


def _checkpoint(connection: sa.Connection) -> int:
    """Fold in what no reader needs as it is; return how many pages of the log are folded."""
    _, _, folded = connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)").one()
    connection.rollback()
    return int(folded)


def _prepare(connection: sa.Connection) -> None:
    connection.exec_driver_sql("PRAGMA synchronous=FULL").close()
