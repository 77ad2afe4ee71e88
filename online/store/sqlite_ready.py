"""Statements that lie ready for SQLite's driver.

SQLAlchemy writes a statement out once, from the same tables as everywhere. When it runs, its values go straight to the
driver: to build and unwrap SQLAlchemy's result costs more than SQLite's own work on a row, and what every client waits
for is half a dozen statements.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import dialect

_DIALECT = dialect()


class Ready:
    """A statement's text, the order in which it wants its values, and the names of what it returns.

    It must need no conversion of types.
    """

    __slots__ = ("columns", "places", "text")

    def __init__(self, statement: sa.ClauseElement) -> None:
        """Write a statement out."""
        compiled = statement.compile(dialect=_DIALECT)
        assert isinstance(compiled, sa.sql.compiler.SQLCompiler)
        self.text = str(compiled)
        self.places = tuple(compiled.positiontup or ())
        self.columns = (
            tuple(each.name for each in statement.selected_columns) if isinstance(statement, sa.Select) else ()
        )

    def values(self, named: Mapping[str, Any]) -> tuple[Any, ...]:
        """Put named values into the statement's order."""
        return tuple([named[each] for each in self.places])
