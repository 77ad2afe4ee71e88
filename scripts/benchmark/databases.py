"""Database servers for the nodes: one for each, so that the processor time of each can be told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fakes import galera, postgresql_pair
from nodes import Database
from works import EMBEDDED, POSTGRESQL


def missing(kind: str) -> str | None:
    """Return why a kind of database cannot be had here, if it cannot."""
    if kind == EMBEDDED:
        return None
    return postgresql_pair.MISSING if kind == POSTGRESQL else galera.MISSING


@contextmanager
def database(kind: str) -> Iterator[Database | None]:
    """Run a server with an empty database, as its package configures it, until the block ends; none if embedded."""
    if kind == EMBEDDED:
        yield None
    elif kind == POSTGRESQL:
        with postgresql_pair.postgresql() as server:
            block = {"type": "postgresql", "dataSource": server.data_source, "database": postgresql_pair.DATABASE}
            yield Database(block=block, pid=server.pid)
    else:
        with galera.mariadb() as other:
            block = {"type": "mysql", "dataSource": other.data_source, "database": galera.DATABASE}
            yield Database(block=block, pid=other.pid)
