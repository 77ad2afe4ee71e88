"""Copying everything that a store remembers from one kind of database into another.

A backup is always a SQLite file, so it can be restored to any kind of database, and a store can move between them.

Invariants: what is read is read inside the caller's transaction, which sees one moment; what is written appears with
the caller's commit or not at all; the names that certificates are searched by are not copied but made anew, for each
kind of database keeps so much of them as it can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from online.store.protocol import CertificateRow
from online.store.rows import certificate_of
from online.store.schema import CERTIFICATE, CERTIFICATE_NAME, METADATA, NAME, SCHEMA_VERSION
from shared.errors import RequestRejected

_ROWS = 1000
_MADE_ANEW = (NAME, CERTIFICATE_NAME)
_COPIED = tuple(each for each in METADATA.sorted_tables if each not in {SCHEMA_VERSION, *_MADE_ANEW})

Names = Callable[[CertificateRow], Sequence[str]]
"""Under which names the target finds a certificate."""


def require_empty(target: sa.Connection) -> None:
    """Insist that a store remembers nothing yet.

    Raises:
        RequestRejected: ``store.not-empty``.
    """
    for table in _COPIED:
        if target.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first() is not None:
            raise RequestRejected(
                "store.not-empty",
                f"the database is not empty: there are rows in {table.name}",
                hint="a backup goes into an empty database: create a new one and name it in ca.json",
            )


def copy(source: sa.Connection, target: sa.Connection, *, names: Names, say: Callable[[str], None]) -> None:
    """Copy all rows.

    Args:
        source: inside a transaction that sees one moment.
        target: empty, inside a transaction.
        names: of the target.
        say: told of each table.
    """
    known: dict[str, int] = {}
    for table in _COPIED:
        count = 0
        for rows in _pages(source, table):
            target.execute(sa.insert(table), rows)
            if table is CERTIFICATE:
                _link(target, rows, names, known)
            count += len(rows)
        say(f"{table.name}: {count}")


def _pages(source: sa.Connection, table: sa.Table) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows by their key, page by page: no driver holds a whole table."""
    key = tuple(table.primary_key)
    page = sa.select(table).order_by(*key).limit(_ROWS)
    following = page
    while True:
        rows = [dict(row) for row in source.execute(following).mappings()]
        if rows:
            yield rows
        if len(rows) < _ROWS:
            return
        following = page.where(_behind(key, [rows[-1][each.name] for each in key]))


def _behind(key: Sequence[sa.Column[Any]], last: Sequence[Any]) -> sa.ColumnElement[bool]:
    behind: sa.ColumnElement[bool] = key[0] > last[0]
    if len(key) == 1:
        return behind
    return sa.or_(behind, sa.and_(key[0] == last[0], _behind(key[1:], last[1:])))


def _link(target: sa.Connection, rows: Sequence[dict[str, Any]], names: Names, known: dict[str, int]) -> None:
    fresh: list[dict[str, Any]] = []
    links: set[tuple[int, int]] = set()
    for row in rows:
        for name in names(certificate_of(row)):
            if name not in known:
                known[name] = len(known) + 1
                fresh.append({"id": known[name], "text": name})
            links.add((known[name], row["number"]))
    if fresh:
        target.execute(sa.insert(NAME), fresh)
    if links:
        target.execute(
            sa.insert(CERTIFICATE_NAME), [{"name_id": name, "number": number} for name, number in sorted(links)]
        )
