"""Reading what takes long: over a connection of its own, so that nobody waits behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa

from online.store.networked.engine import Engine, Gate, Session
from online.store.networked.link import Link, TransactionFailedError

_Read = TypeVar("_Read")

# A count of a million rows, a list of many megabytes.
_SECONDS = 60.0


class Large:
    """Runs large reads, each in a transaction that sees one moment."""

    def __init__(self, engine: Callable[[], Engine]) -> None:
        """Take what makes the kind of server."""
        self._engine = engine

    async def read(self, work: Callable[[sa.Connection], _Read]) -> _Read:
        """Open a connection, read, and close it.

        Raises:
            StoreFailed: ``store.*``.
        """
        engine = self._engine()
        link = Link(engine, seconds=_SECONDS)

        async def run(session: Session) -> _Read:
            await engine.check(session)
            return await session.connection.run_sync(work)

        try:
            return await link.transaction(Gate.SNAPSHOT, run)
        except TransactionFailedError as failed:
            raise failed.verdict.error from None
        finally:
            await link.drop()
