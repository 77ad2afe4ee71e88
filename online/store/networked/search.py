"""Searching a store in a database server from outside of the node.

Invariants: nothing is written and no lock is held, whatever is asked; a page is of one moment; only tables of this
program's version are read.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator

import sqlalchemy as sa

from online.store.networked.engine import Engine, Gate, Session
from online.store.networked.link import Link, TransactionFailedError
from online.store.search import LARGEST_PAGE, Found, Page, Search, page_of, statement

_SECONDS = 60.0


class NetworkedInventory:
    """The issued certificates of one CA, for reading. For one thread at a time, which runs no event loop."""

    def __init__(self, engine: Engine) -> None:
        """Take a kind of server; it is spoken to with the first search."""
        self._engine = engine
        self._link = Link(engine, seconds=_SECONDS)
        self._runner = asyncio.Runner()

    def page(self, search: Search) -> Page:
        """Return one page of what fits a search.

        Raises:
            StoreFailed: ``store.*``.
        """

        def read(connection: sa.Connection) -> Page:
            return page_of(search, list(connection.execute(statement(search)).mappings()))

        async def run(session: Session) -> Page:
            await self._engine.check(session)
            return await session.connection.run_sync(read)

        try:
            return self._runner.run(self._link.transaction(Gate.SNAPSHOT, run))
        except TransactionFailedError as failed:
            raise failed.verdict.error from None

    def all(self, search: Search) -> Iterator[Found]:
        """Yield everything that fits a search, however much that is, one page in memory at a time.

        Args:
            search: its ``limit`` does not matter. What is issued meanwhile is not missed where it would come later.

        Raises:
            StoreFailed: ``store.*``.
        """
        search = dataclasses.replace(search, limit=LARGEST_PAGE)
        while True:
            page = self.page(search)
            yield from page.found
            if not page.next:
                return
            search = dataclasses.replace(search, after=page.next)

    def close(self) -> None:
        """Let go of the server and of the event loop."""
        self._runner.run(self._link.drop())
        self._runner.close()
