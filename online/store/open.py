"""Opening the database that a configuration names, of whatever kind it is.

A driver is imported where its kind of database is opened: a node needs no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from online.config.settings import DatabaseSettings
from online.store import sqlite, sqlite_search
from online.store.activity import Activity
from online.store.answers import Timed
from online.store.crls import CrlStore
from online.store.networked.engine import Engine
from online.store.protocol import Store
from online.store.recording.door import Door
from online.store.search import Found, Page, Search
from shared.errors import Unsupported

if TYPE_CHECKING:
    from online.store.networked.search import NetworkedInventory

__all__ = ["CaStore", "Inventory", "Timed", "engine_of", "open_inventory", "open_store"]


class CaStore(Store, Protocol):
    """A store with its revocation lists."""

    @property
    def crls(self) -> CrlStore:
        """The lists."""
        ...

    async def authority_version(self) -> int | None:
        """Return the number of the newest authority document, if there is one; costs little.

        Raises:
            StoreFailed: ``store.*``.
        """
        ...


class Inventory(Protocol):
    """The issued certificates of one CA, for reading. For one thread at a time."""

    def page(self, search: Search) -> Page:
        """Return one page of what fits a search.

        Raises:
            StoreFailed: ``store.*``.
        """
        ...

    def all(self, search: Search) -> Iterator[Found]:
        """Yield everything that fits a search, one page in memory at a time.

        Raises:
            StoreFailed: ``store.*``.
        """
        ...


def open_store(
    settings: DatabaseSettings,
    *,
    timed: Timed | None = None,
    activity: Activity | None = None,
    door: Door | None = None,
) -> CaStore:
    """Open the store that a configuration names. SQLite is opened at once, a server with the first use.

    Args:
        settings: its ``db`` block.
        timed: told of each record.
        activity: how many clients are served now.
        door: where the node's recorder is found, if it has one; a server does without.

    Raises:
        Unsupported: ``store.type`` for another kind of database.
        StoreFailed: ``store.*``.
    """
    engine = engine_of(settings)
    if engine is None:
        return sqlite.open_store(settings, timed=timed, activity=activity, door=door)
    from online.store.networked.store import NetworkedStore  # noqa: PLC0415 (as the drivers)

    return NetworkedStore(engine, timed=timed)


@contextmanager
def open_inventory(settings: DatabaseSettings) -> Iterator[Inventory]:
    """Open the database that a configuration names, for reading, for the length of a ``with`` block.

    Args:
        settings: its ``db`` block.

    Raises:
        Unsupported: ``store.type`` for another kind of database.
    """
    with closing(_inventory(settings)) as inventory:
        yield inventory


def _inventory(settings: DatabaseSettings) -> sqlite_search.Inventory | NetworkedInventory:
    engine = engine_of(settings)
    if engine is None:
        return sqlite_search.Inventory(Path(settings.data_source))
    from online.store.networked.search import NetworkedInventory  # noqa: PLC0415 (as the drivers)

    return NetworkedInventory(engine(True))


def engine_of(settings: DatabaseSettings) -> Callable[[bool], Engine] | None:
    """Return what makes connections to a kind of server, told whether for large reads; ``None`` for a file.

    Args:
        settings: the ``db`` block.

    Raises:
        Unsupported: ``store.type`` for another kind of database.
    """
    if settings.type == "postgresql":
        from online.store.networked.postgresql import PostgresqlEngine  # noqa: PLC0415 (see above)

        return lambda reading: PostgresqlEngine(settings, reading=reading)
    if settings.type == "mysql":
        from online.store.networked.mysql import MysqlEngine  # noqa: PLC0415 (see above)

        return lambda _: MysqlEngine(settings)
    if settings.type != "sqlite":
        raise Unsupported(
            "store.type",
            "the kinds of database are sqlite, postgresql and mysql",
            hint='write one of them as "type" of db in ca.json',
        )
    return None
