"""What an operator does with the database that a configuration names, of whatever kind it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from online.config.check import Check
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


def check(settings: DatabaseSettings) -> Iterator[Check]:
    """Look a database over, without changing anything.

    Args:
        settings: the ``db`` block.

    Raises:
        StoreFailed: ``store.*`` when it cannot be opened or reached at all.
    """
    engine = engine_of(settings)
    if engine is None:
        return sqlite_care.check(Path(settings.data_source))
    from online.store.networked import upkeep  # noqa: PLC0415 (as the drivers)

    return upkeep.check(engine(True))


def backup(settings: DatabaseSettings, target: Path, *, say: Callable[[str], None]) -> None:
    """Copy everything, as it is at one moment, into a SQLite file; nodes may be at work meanwhile.

    Args:
        settings: the ``db`` block.
        target: must not exist; readable by its owner only.
        say: told of what takes long.

    Raises:
        RequestRejected: ``file.exists``.
        StoreFailed: ``store.*`` or ``file.write-failed``; there is no partial copy.
    """
    engine = engine_of(settings)
    if engine is None:
        sqlite_care.backup(Path(settings.data_source), target)
        return
    from online.store.networked import upkeep  # noqa: PLC0415 (as the drivers)

    upkeep.backup(engine(True), target, say=say)


def restore(settings: DatabaseSettings, backup_file: Path, *, say: Callable[[str], None]) -> None:
    """Restore a backup of any kind of database: a file is replaced and kept aside, a server's database must be empty.

    Args:
        settings: the ``db`` block.
        backup_file: made by ``backup``, of this program's version or an older one.
        say: told of what takes long, and of where an old file is.

    Raises:
        RequestRejected: ``backup.*`` or ``store.not-empty``; nothing was written.
        StoreFailed: ``store.*``; nothing was written.
    """
    engine = engine_of(settings)
    if engine is None:
        aside = sqlite_care.restore(backup_file, Path(settings.data_source))
        if aside is not None:
            say(f"the database that stood there is {aside} now")
        return
    from online.store.networked import upkeep  # noqa: PLC0415 (as the drivers)

    upkeep.restore(engine(True), backup_file, say=say)
