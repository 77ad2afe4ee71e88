"""What differs between the kinds of database server, as one interface.

Invariants: an engine opens connections in autocommit mode and writes BEGIN and COMMIT itself, so that there is no
doubt when a transaction begins and whether its end was asked for; it opens none before it is asked to.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Protocol

from online.store.networked.failures import Verdict
from online.store.protocol import CertificateRow, Lineage, TokenUse
from online.store.rows import Row
from shared.errors import ColdrootError

if TYPE_CHECKING:
    # A node that keeps its store in a file has no use for it, and it takes long to load.
    import sqlalchemy as sa
    from sqlalchemy.ext.asyncio import AsyncConnection

    from online.config.check import Check

Recorded = ColdrootError | int

_TIDY_SECONDS = 1.0
_NOTICES = 16


class Gate(Enum):
    """The lock that orders what must not overlap; released with the transaction."""

    SHARED = auto()
    """Certificates are issued: many at once."""
    EXCLUSIVE = auto()
    """A revocation: no certificate is being recorded meanwhile, on any node."""
    SNAPSHOT = auto()
    """No lock: reading, all at one moment."""
    TABLES = auto()
    """The tables themselves are changed, or not there yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """A certificate to be recorded, and what with; see ``Store.record_certificate``."""

    token: TokenUse | None
    certificate: CertificateRow
    lineage: Lineage | None


@dataclass(slots=True)
class Session:
    """One open connection, and what is known of its server."""

    connection: AsyncConnection
    """Through SQLAlchemy, in autocommit mode."""
    driver: Any
    """The driver's own object of the same connection."""
    notices: deque[Any] = field(default_factory=lambda: deque(maxlen=_NOTICES), repr=False)
    """What the server said aside, the last of it."""
    clustered: bool = False
    """Whether several servers take writes (Galera), so that locks of one mean nothing to the others."""
    returns: bool = False
    """Whether an INSERT can return what it inserted."""
    version: int | None = None
    """Of the tables, as far as the transaction has looked."""


class Engine(Protocol):
    """A kind of database server. Its methods raise whatever the driver raises; ``judge`` reads it."""

    where: str
    """Server and database, safe to show."""

    async def connect(self) -> Session:
        """Open a connection to a server that takes writes, within a time limit."""
        ...

    def abort(self, session: Session) -> None:
        """Cut a connection at once, without a word to the server."""
        ...

    async def begin(self, session: Session, gate: Gate) -> None:
        """Begin a transaction behind a gate."""
        ...

    async def check(self, session: Session) -> None:
        """Insist, inside a transaction, on this program's version of the tables.

        Raises:
            StoreFailed: ``store.version``.
        """
        ...

    async def commit(self, session: Session) -> None:
        """Commit. When this returns, the rows are as durable as the server promises.

        Raises:
            CommitDoubtedError: the server says that it committed and that others have not confirmed it.
        """
        ...

    async def rollback(self, session: Session) -> None:
        """Undo the transaction."""
        ...

    async def look(self, session: Session, table: sa.Table, serials: Sequence[str]) -> Sequence[Row]:
        """Return the rows of a table that have one of some serials."""
        ...

    async def record(self, session: Session, batch: Sequence[Issue]) -> Sequence[Recorded]:
        """Record certificates inside a transaction behind the shared gate; no token occurs twice. Checks as ``check``.

        Returns:
            For each a refusal, of which nothing is recorded, or 1 and how many older successors its parent has.
        """
        ...

    async def recheck(self, session: Session, batch: Sequence[Issue]) -> Sequence[ColdrootError | None]:
        """Tell after the COMMIT which of the certificates were revoked on another server before it."""
        ...

    def judge(self, error: BaseException) -> Verdict:
        """Say what an exception means."""
        ...

    def names(self, row: CertificateRow) -> Sequence[str]:
        """Return the names under which a certificate is found here."""
        ...

    def promises(self, connection: sa.Connection) -> Iterator[Check]:
        """Tell what the server promises: durability, its standbys or its cluster, and TLS on the way to it."""
        ...

    def continue_numbers(self, connection: sa.Connection, column: sa.Column[Any]) -> None:
        """Let numbers that the server gives to rows go on behind those that were copied."""
        ...


async def discard(engine: Engine, session: Session) -> None:
    """Cut a connection, and let go of what SQLAlchemy keeps for it; within a time limit, and whatever that raises."""
    engine.abort(session)
    for tidy in (session.connection.invalidate, session.connection.close):
        with suppress(Exception):
            async with asyncio.timeout(_TIDY_SECONDS):
                await tidy()


class CommitDoubtedError(Exception):
    """The rows are committed where they were written, and perhaps not where they would survive."""
