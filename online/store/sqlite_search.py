"""Searching the SQLite store from outside of the node: beside it while it runs, or while it stands still.

Invariants: nothing is written and no lock is held, whatever is asked; as with the node, opening makes nothing, and
only a database of this program's schema version is read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from online.store.search import LARGEST_PAGE, Found, Page, Search, page_of, statement
from online.store.sqlite_file import Connect, Database, connect, failure


class Inventory:
    """The issued certificates of one CA, for reading. For one thread at a time."""

    def __init__(self, path: Path, *, connect: Connect = connect) -> None:
        """Take a database; it is opened with the first search."""
        self._database = Database(path, connect, _read_only)

    def page(self, search: Search) -> Page:
        """Return one page of what fits a search.

        Raises:
            StoreFailed: ``store.*``.
        """
        try:
            connection = self._database.connection()
            rows = connection.execute(statement(search)).mappings().all()
            connection.rollback()
        except Exception as error:  # noqa: BLE001 (whatever a database throws, it is the database that failed)
            self._database.drop()
            raise failure(error) from None
        return page_of(search, list(rows))

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
        """Let go of the file."""
        self._database.drop()


def _read_only(connection: sa.Connection) -> None:
    connection.exec_driver_sql("PRAGMA query_only=ON").close()
