"""Short looks at single rows: those that wait for the connection are asked for together.

Invariant: every look sees what was committed anywhere before it was asked, for it goes to a server that takes writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from online.store.networked.engine import Engine, Session
from online.store.networked.gather import Gather
from online.store.networked.link import Link, TransactionFailedError
from online.store.rows import Row, serial_text
from shared.errors import ColdrootError

Look = tuple[sa.Table, str] | sa.Select[Any]
"""A table that is keyed by serial numbers, and one of them; or a statement of which the first row counts."""


class Reading:
    """Looks rows up over one connection."""

    def __init__(self, engine: Engine, *, seconds: float, look_seconds: float) -> None:
        """Make a reader.

        Args:
            engine: the kind of server.
            seconds: how long a caller waits at most.
            look_seconds: how long a look may take, with all that is tried again; less than that.
        """
        self._engine = engine
        self._link = Link(engine, seconds=look_seconds)
        self._looks = Gather[Look, Row | None](self._run, seconds=seconds)

    async def first(self, table: sa.Table, serial: int) -> Row | None:
        """Return the row of a serial, if there is one.

        Raises:
            StoreFailed: ``store.*``.
        """
        return await self._looks.submit((table, serial_text(serial)))

    async def ask(self, statement: sa.Select[Any]) -> Row | None:
        """Return the first row of a statement, always the same object, that costs little.

        Raises:
            StoreFailed: ``store.*``.
        """
        return await self._looks.submit(statement)

    async def close(self) -> None:
        """Finish what is waiting and let go of the connection."""
        await self._looks.close()
        await self._link.drop()

    async def _run(self, looks: Sequence[Look]) -> Sequence[Row | ColdrootError | None]:
        keyed = [each for each in looks if isinstance(each, tuple)]
        statements = [each for each in looks if isinstance(each, sa.Select)]

        async def read(session: Session) -> dict[Look, Row | None]:
            found: dict[Look, Row | None] = {}
            for table in dict.fromkeys(table for table, _ in keyed):
                serials = sorted({serial for each, serial in keyed if each is table})
                rows = await self._engine.look(session, table, serials)
                found.update({(table, row["serial"]): row for row in rows})
            for statement in dict.fromkeys(statements):
                found[statement] = (await session.connection.execute(statement)).mappings().first()
            return found

        try:
            found = await self._link.read(read)
        except TransactionFailedError as failed:
            return [failed.verdict.error for _ in looks]
        except ColdrootError as error:
            return [error for _ in looks]
        return [found.get(look) for look in looks]
