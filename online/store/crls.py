"""Published revocation lists in the store, and what goes into the next one.

Invariants:

* a number is given out once, under the lock of the writers, and is greater than every one before; it is at least the
  time in seconds, so that also a database that came from a backup, or is new, does not repeat the numbers of its
  predecessor;
* only who holds the newest number may publish: of two builders at once, on any process or node, one is turned away,
  and a list that was read earlier never follows one that was read later;
* what is published is one row with all its bytes, so that every worker serves the same.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from online.store.operations import Operation
from online.store.rows import Row, seconds
from online.store.schema import CERTIFICATE, CRL, CRL_NUMBER, REVOCATION
from online.store.sqlite_file import Database, failure
from shared.crl import Reason, RevokedEntry
from shared.errors import ColdrootError, RequestRejected, StoreFailed

_Read = TypeVar("_Read")


@dataclass(frozen=True, slots=True, kw_only=True)
class CrlFacts:
    """What is known of a published list, without its bytes."""

    number: int
    issuer: str
    """SHA-256 of the signing key's SubjectPublicKeyInfo, lower-case hex."""
    url: str
    """The place that it names."""
    this_update: datetime
    next_update: datetime
    revocations: int
    """How many revocations there were, listed or not, when it was made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedCrl(CrlFacts):
    """A list as it is served."""

    der: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What is revoked at one moment."""

    entries: tuple[RevokedEntry, ...]
    revocations: int
    """How many revocations there are, those of certificates that ended included."""


class CrlStore(Protocol):
    """What building and serving lists ask of a store."""

    async def reserve(self, *, now: datetime) -> int:
        """Give out the next number. What is read afterwards may be published under it.

        Args:
            now: aware UTC.

        Raises:
            StoreFailed: ``store.*``.
        """
        ...

    async def snapshot(self, *, ended_before: datetime) -> Snapshot:
        """Read what is revoked, without what ended before a moment; on a thread, in one transaction.

        Args:
            ended_before: aware UTC. A certificate that the store has no row of never ends here.

        Raises:
            StoreFailed: ``store.*``.
        """
        ...

    async def publish(self, crl: PublishedCrl) -> None:
        """Make a list the one that is served.

        Raises:
            RequestRejected: ``crl.overtaken`` when a newer number was given out meanwhile.
            StoreFailed: ``store.*``.
        """
        ...

    async def newest(self) -> PublishedCrl | None:
        """Return the list that is served, if there is one.

        Raises:
            StoreFailed: ``store.*``.
        """
        ...

    async def facts(self) -> CrlFacts | None:
        """Return which list is served, if there is one; costs microseconds.

        Raises:
            StoreFailed: ``store.*``.
        """
        ...

    async def revocations(self) -> int:
        """Count all revocations there are.

        Raises:
            StoreFailed: ``store.*``.
        """
        ...


def crl_values(crl: PublishedCrl) -> dict[str, Any]:
    """Return the columns of ``crl``."""
    return {
        "number": crl.number,
        "issuer": crl.issuer,
        "url": crl.url,
        "this_update": seconds(crl.this_update),
        "next_update": seconds(crl.next_update),
        "revocations": crl.revocations,
        "der": crl.der,
    }


def reserve(now: datetime) -> Operation:
    """Give out a number; the operation's outcome is the number."""
    statement = insert(CRL_NUMBER).values(only=1, given_out=seconds(now))
    statement = statement.on_conflict_do_update(
        index_elements=[CRL_NUMBER.c.only],
        set_={"given_out": sa.func.max(CRL_NUMBER.c.given_out + 1, statement.excluded.given_out)},
    )
    returning = statement.returning(CRL_NUMBER.c.given_out)

    def run(connection: sa.Connection) -> ColdrootError | int:
        return int(connection.execute(returning).scalar_one())

    return run


def publish(crl: PublishedCrl) -> Operation:
    """Publish a list.

    1. Its number must still be the newest.
    2. It takes the place of those before.
    """
    values = crl_values(crl)

    def run(connection: sa.Connection) -> ColdrootError | int:
        # 1.
        if connection.execute(sa.select(CRL_NUMBER.c.given_out)).scalar() != crl.number:
            return RequestRejected("crl.overtaken", "another revocation list was begun meanwhile")
        # 2.
        connection.execute(sa.delete(CRL))
        connection.execute(sa.insert(CRL), values)
        return 1

    return run


_FACTS = (CRL.c.number, CRL.c.issuer, CRL.c.url, CRL.c.this_update, CRL.c.next_update, CRL.c.revocations)
NEWEST_FACTS = sa.select(*_FACTS).order_by(CRL.c.number.desc()).limit(1)
NEWEST = sa.select(*_FACTS, CRL.c.der).order_by(CRL.c.number.desc()).limit(1)
COUNT = sa.select(sa.func.count()).select_from(REVOCATION)
REVOKED = (
    sa.select(REVOCATION.c.serial, REVOCATION.c.revoked_at, REVOCATION.c.reason_code)
    .outerjoin(CERTIFICATE, CERTIFICATE.c.serial == REVOCATION.c.serial)
    .where(sa.or_(CERTIFICATE.c.not_after.is_(None), CERTIFICATE.c.not_after >= sa.bindparam("horizon")))
)


class SqliteCrls:
    """``CrlStore`` in the SQLite store's file. Safe to call from any thread that runs an event loop."""

    def __init__(self, submit: Callable[[Operation], Awaitable[int]], database: Callable[[], Database]) -> None:
        """Take part in a store.

        Args:
            submit: has a write committed.
            database: makes a connection for reading, of its own for each thread that reads.
        """
        self._submit = submit
        self._make = database
        self._looks = database()
        self._lock = threading.Lock()
        self._closed = False

    async def reserve(self, *, now: datetime) -> int:
        """See ``CrlStore.reserve``."""
        return await self._submit(reserve(now))

    async def snapshot(self, *, ended_before: datetime) -> Snapshot:
        """See ``CrlStore.snapshot``."""
        horizon = seconds(ended_before)
        return await asyncio.to_thread(self._once, lambda connection: _snapshot(connection, horizon))

    async def publish(self, crl: PublishedCrl) -> None:
        """See ``CrlStore.publish``."""
        await self._submit(publish(crl))

    async def newest(self) -> PublishedCrl | None:
        """See ``CrlStore.newest``."""
        return await asyncio.to_thread(self._once, _newest)

    async def facts(self) -> CrlFacts | None:
        """See ``CrlStore.facts``."""
        with self._lock:
            if self._closed:
                raise StoreFailed("store.closed", "the store is closed")
            try:
                connection = self._looks.connection()
                row = connection.execute(NEWEST_FACTS).mappings().first()
                connection.rollback()
            except Exception as error:  # noqa: BLE001 (whatever a database throws, it is the database that failed)
                self._looks.drop()
                raise failure(error) from None
        return None if row is None else facts_of(row)

    async def revocations(self) -> int:
        """See ``CrlStore.revocations``."""
        return await asyncio.to_thread(self._once, lambda connection: int(connection.execute(COUNT).scalar_one()))

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._closed = True
            self._looks.drop()

    def _once(self, read: Callable[[sa.Connection], _Read]) -> _Read:
        """Read with a connection of its own: what takes long must not hold up the short looks."""
        database = self._make()
        try:
            return read(database.connection())
        except Exception as error:  # noqa: BLE001 (as in facts)
            raise failure(error) from None
        finally:
            database.drop()


def snapshot_of(connection: sa.Connection, horizon: int) -> Snapshot:
    """Read what is revoked, inside a transaction that sees one moment.

    Args:
        connection: in such a transaction.
        horizon: seconds since 1970; what ended before is left out.
    """
    count = int(connection.execute(COUNT).scalar_one())
    rows = connection.execute(REVOKED, {"horizon": horizon})
    entries = tuple(
        RevokedEntry(serial=int(serial, 16), revoked_at=_moment(revoked_at), reason=Reason(reason))
        for serial, revoked_at, reason in rows
    )
    return Snapshot(entries=entries, revocations=count)


def _snapshot(connection: sa.Connection, horizon: int) -> Snapshot:
    # Two statements, one moment: a transaction of SQLite reads what was committed when it began.
    connection.exec_driver_sql("BEGIN")
    snapshot = snapshot_of(connection, horizon)
    connection.rollback()
    return snapshot


def _newest(connection: sa.Connection) -> PublishedCrl | None:
    row = connection.execute(NEWEST).mappings().first()
    return None if row is None else published_of(row)


def published_of(row: sa.RowMapping) -> PublishedCrl:
    """Read a row of ``NEWEST``."""
    return PublishedCrl(**_fields(row), der=row["der"])


def facts_of(row: Row) -> CrlFacts:
    """Read a row of ``NEWEST_FACTS``."""
    return CrlFacts(**_fields(row))


def _fields(row: Row) -> dict[str, Any]:
    return {
        "number": row["number"],
        "issuer": row["issuer"],
        "url": row["url"],
        "this_update": _moment(row["this_update"]),
        "next_update": _moment(row["next_update"]),
        "revocations": row["revocations"],
    }


def _moment(value: int) -> datetime:
    return datetime.fromtimestamp(value, UTC)
