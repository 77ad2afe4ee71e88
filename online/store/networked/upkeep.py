"""What an operator does with a store in a database server beside running nodes: make its tables, look it over, copy it.

Invariant: tables change behind a lock of their own, so no node is met in the middle of recording anything; a node of
another version refuses with its next transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa

from online.config.check import Check, Outcome
from online.store import migrate, sqlite_care
from online.store.copying import copy, require_empty
from online.store.migrate import Upgraded
from online.store.networked.engine import Engine, Gate, Session
from online.store.networked.link import Link, TransactionFailedError
from online.store.networked.version import require_version
from online.store.rows import names_of
from online.store.schema import CERTIFICATE, METADATA, NAME, SCHEMA_VERSION, VERSION
from online.store.sqlite_file import driver_of

_Result = TypeVar("_Result")
# A new index on a table of millions takes its time.
_SECONDS = 3600.0


def upgrade(engine: Engine, *, say: Callable[[str], None]) -> Upgraded:
    """Make the tables, or bring them to this program's version.

    Args:
        engine: the kind of server.
        say: told of each step.

    Raises:
        StoreFailed: ``store.*``.
    """
    return _transaction(engine, Gate.TABLES, lambda connection: migrate.upgrade(connection, say=say))


def check(engine: Engine) -> Iterator[Check]:
    """Look a database over: its tables' version, whether a write gets through, what its server promises.

    Args:
        engine: the kind of server.

    Raises:
        StoreFailed: ``store.*`` when it cannot be reached at all.
    """

    def look(connection: sa.Connection) -> list[Check]:
        found = migrate.found_version(connection)
        checks = [sqlite_care.version_check(found), *engine.promises(connection)]
        return [*checks, sqlite_care.counts(connection)] if found == VERSION else checks

    checks = _transaction(engine, Gate.SNAPSHOT, look)
    yield from checks
    if checks[0].outcome is Outcome.OK:
        _transaction(engine, Gate.EXCLUSIVE, lambda _: None)
        yield Check(what="writing", outcome=Outcome.OK, detail="a write gets its turn")


def backup(engine: Engine, target: Path, *, say: Callable[[str], None]) -> None:
    """Copy everything, as it is at one moment, into a SQLite file; nodes may be at work meanwhile.

    Args:
        engine: the kind of server.
        target: must not exist; readable by its owner only.
        say: told of each table.

    Raises:
        RequestRejected: ``file.exists``.
        StoreFailed: ``store.*`` or ``file.write-failed``; there is no partial copy.
    """
    with sqlite_care.new_file(target) as beside, sqlite_care.opened(beside) as file:

        def read(connection: sa.Connection) -> None:
            require_version(migrate.found_version(connection), engine.where)
            if driver_of(file).in_transaction:
                # The connection was lost in the middle: from the beginning, for it is another moment now.
                file.exec_driver_sql("ROLLBACK").close()
            file.exec_driver_sql("BEGIN").close()
            METADATA.create_all(file)
            file.execute(sa.insert(SCHEMA_VERSION), {"version": VERSION})
            copy(connection, file, names=names_of, say=say)
            file.exec_driver_sql("COMMIT").close()

        _transaction(engine, Gate.SNAPSHOT, read)


def restore(engine: Engine, backup_file: Path, *, say: Callable[[str], None]) -> None:
    """Fill an empty database from a backup of any kind of database.

    Args:
        engine: the kind of server.
        backup_file: made by ``online db backup``, of this program's version or an older one.
        say: told of each table.

    Raises:
        RequestRejected: ``backup.*`` or ``store.not-empty``; nothing was written.
        StoreFailed: ``store.*``; nothing was written.
    """
    with sqlite_care.prepared(backup_file, beside=backup_file) as ready, sqlite_care.opened(ready) as file:

        def write(connection: sa.Connection) -> None:
            require_version(migrate.found_version(connection), engine.where)
            require_empty(connection)
            copy(file, connection, names=engine.names, say=say)
            for column in (CERTIFICATE.c.number, NAME.c.id):
                engine.continue_numbers(connection, column)

        _transaction(engine, Gate.EXCLUSIVE, write)


def _transaction(engine: Engine, gate: Gate, work: Callable[[sa.Connection], _Result]) -> _Result:
    """Do something in one transaction, from outside of any event loop."""

    async def do(session: Session) -> _Result:
        return await session.connection.run_sync(work)

    async def run() -> _Result:
        link = Link(engine, seconds=_SECONDS)
        try:
            return await link.transaction(gate, do)
        except TransactionFailedError as failed:
            raise failed.verdict.error from None
        finally:
            await link.drop()

    return asyncio.run(run())
