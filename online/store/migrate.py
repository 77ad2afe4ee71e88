"""Bringing the tables of a database to this program's version, step by step.

Invariants: the version row of the database is the only truth about where it stands, and is written with the step that
it tells of, in one transaction where the kind of database has that for tables (PostgreSQL and SQLite do; on MariaDB
and MySQL it is written last); no step leads back; nothing is done by opening a store.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory

from online.store.schema import SCHEMA_VERSION, VERSION
from shared.errors import StoreFailed

MIGRATIONS = Path(__file__).with_name("migrations")
_WHOLE = "restore the newest backup"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgraded:
    """What an upgrade did."""

    found: int | None
    """The version before; ``None`` when there were no tables."""
    reached: int


def found_version(connection: sa.Connection) -> int | None:
    """Return the version of the tables; ``None`` when there are none.

    Raises:
        StoreFailed: ``store.version`` when there are tables and they do not say.
    """
    if not sa.inspect(connection).has_table(SCHEMA_VERSION.name):
        return None
    versions = connection.execute(sa.select(SCHEMA_VERSION.c.version)).scalars().all()
    if len(versions) != 1:
        raise StoreFailed("store.version", "the database does not say which version its tables have", hint=_WHOLE)
    return int(versions[0])


def upgrade(
    connection: sa.Connection,
    *,
    say: Callable[[str], None],
    location: Path = MIGRATIONS,
    wanted: int = VERSION,
) -> Upgraded:
    """Take all steps that are missing, inside a transaction of the caller's.

    Args:
        connection: nobody else writes.
        say: told of each step.
        location: of the steps.
        wanted: the version to reach.

    Raises:
        StoreFailed: ``store.version`` when the tables are newer, or of a version that no step begins at.
    """
    found = found_version(connection)
    if found is not None and found > wanted:
        raise StoreFailed(
            "store.version",
            f"the tables are of a newer version of coldroot: {found}, this program needs {wanted}",
            hint="run the version that upgraded them, or a later one",
        )
    context = MigrationContext.configure(connection, opts={"transactional_ddl": False})
    for script in _missing(found, wanted, location):
        reached = int(script.revision)
        say(f"version {reached}: {(script.doc or '').rstrip('.')}")
        with Operations.context(context):
            script.module.upgrade()
        connection.execute(sa.delete(SCHEMA_VERSION))
        connection.execute(sa.insert(SCHEMA_VERSION), {"version": reached})
    return Upgraded(found=found, reached=wanted)


def _missing(found: int | None, wanted: int, location: Path) -> list[Script]:
    directory = ScriptDirectory(str(location), version_locations=[str(location / "versions")])
    steps = sorted(directory.walk_revisions(), key=lambda each: int(each.revision))
    known = {int(each.revision) for each in steps}
    if found is not None and found not in known:
        raise StoreFailed("store.version", f"no step leads on from version {found} of the tables", hint=_WHOLE)
    missing = [each for each in steps if (found or 0) < int(each.revision) <= wanted]
    assert found == wanted or (missing and int(missing[-1].revision) == wanted)
    return missing
