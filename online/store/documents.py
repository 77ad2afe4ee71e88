"""Versions of the document that tells all nodes of one database what their authority is: provisioners, policy, limits.

Invariants:

* a version is written once, under the number behind the newest one; of two writers at once one is told so and has
  written nothing, whatever the kind of database;
* no version is changed or dropped: who changed what, and when, stays to be read;
* nothing here says whether a document is good; its reader does.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from online.config.settings import DatabaseSettings
from online.store.open import engine_of
from online.store.protocol import Document
from online.store.rows import seconds
from online.store.schema import AUTHORITY_DOCUMENT
from online.store.sqlite_file import Database, connect, failure
from online.store.sqlite_turn import Turn
from shared.errors import ColdrootError, RequestRejected

_Result = TypeVar("_Result")
_NEWEST = sa.select(AUTHORITY_DOCUMENT).order_by(AUTHORITY_DOCUMENT.c.version.desc()).limit(1)
_LONGEST_AUTHOR = 300


def newest_document(settings: DatabaseSettings) -> Document | None:
    """Return the newest version, if there is any. Opens the database, and closes it again.

    Args:
        settings: the ``db`` block.

    Raises:
        StoreFailed: ``store.*``.
    """

    def read(connection: sa.Connection) -> Document | None:
        row = connection.execute(_NEWEST).mappings().first()
        if row is None:
            return None
        return Document(
            version=row["version"],
            text=row["document"],
            changed_at=datetime.fromtimestamp(row["changed_at"], UTC),
            changed_by=row["changed_by"],
        )

    return _transaction(settings, read, writes=False)


def add_document(settings: DatabaseSettings, document: Document) -> None:
    """Write the next version. Opens the database, and closes it again.

    Args:
        settings: the ``db`` block.
        document: its version is 1, or one more than that of the version it was made from.

    Raises:
        RequestRejected: ``authority.changed`` when somebody else wrote meanwhile; nothing was written.
        StoreFailed: ``store.*``; after ``store.outcome-unknown`` it may have been written.
    """
    changed = RequestRejected(
        "authority.changed", "somebody else changed the authority in the database meanwhile", hint="look, and try again"
    )
    values = {
        "version": document.version,
        "document": document.text,
        "changed_at": seconds(document.changed_at),
        "changed_by": document.changed_by[:_LONGEST_AUTHOR],
    }

    def write(connection: sa.Connection) -> None:
        newest = connection.execute(sa.select(sa.func.max(AUTHORITY_DOCUMENT.c.version))).scalar()
        if (newest or 0) != document.version - 1:
            raise changed
        try:
            connection.execute(sa.insert(AUTHORITY_DOCUMENT), values)
        except IntegrityError:
            # In flight until now, on another node.
            raise changed from None

    _transaction(settings, write, writes=True)


def _transaction(settings: DatabaseSettings, work: Callable[[sa.Connection], _Result], *, writes: bool) -> _Result:
    engine = engine_of(settings)
    if engine is None:
        return _in_file(Path(settings.data_source), work, writes=writes)
    from online.store.networked.once import do_once  # noqa: PLC0415 (as the drivers)

    return do_once(engine(False), work, writes=writes)


def _in_file(path: Path, work: Callable[[sa.Connection], _Result], *, writes: bool) -> _Result:
    """Do something in one transaction of a SQLite file; a writer stands in the line of all writers."""
    database, turn = Database(path, connect, _prepare), Turn(path)
    try:
        if writes:
            turn.take(wait=True)
        connection = database.connection()
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN").close()
        result = work(connection)
        connection.exec_driver_sql("COMMIT" if writes else "ROLLBACK").close()
    except ColdrootError:
        raise
    except Exception as error:  # noqa: BLE001 (whatever a database throws, it is the database that failed)
        raise failure(error) from None
    finally:
        # What was begun and not committed is undone.
        database.drop()
        turn.close()
    return result


def _prepare(connection: sa.Connection) -> None:
    connection.exec_driver_sql("PRAGMA synchronous=FULL").close()
