"""What an operator does with the database that a configuration names, of whatever kind it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from online.config.settings import DatabaseSettings
from online.store import sqlite_care
from online.store.migrate import Upgraded
from online.store.open import engine_of


def upgrade(settings: DatabaseSettings, *, say: Callable[[str], None]) -> Upgraded:
    """Make the tables on a server, or bring those of any database to this program's version.

    Args:
        settings: the ``db`` block.
        say: told of each step.

    Raises:
        StoreFailed: ``store.*``.
    """
    engine = engine_of(settings)
    if engine is None:
        return sqlite_care.upgrade(Path(settings.data_source), say=say)
    from online.store.networked import upkeep  # noqa: PLC0415 (as the drivers)

    return upkeep.upgrade(engine(False), say=say)
