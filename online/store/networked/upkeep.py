"""What an operator does with a store in a database server beside running nodes: make its tables, bring them along.

Invariant: tables change behind the exclusive gate, so no node is met in the middle of recording anything; a node of
another version refuses with its next transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import sqlalchemy as sa

from online.store import migrate
from online.store.migrate import Upgraded
from online.store.networked.engine import Engine, Gate, Session
from online.store.networked.link import Link, TransactionFailedError

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
    return in_transaction(engine, Gate.TABLES, lambda connection: migrate.upgrade(connection, say=say))


def in_transaction(engine: Engine, gate: Gate, work: Callable[[sa.Connection], _Result]) -> _Result:
    """Do something in one transaction, from outside of any event loop.

    Args:
        engine: the kind of server.
        gate: what it must not overlap with.
        work: reads or writes.

    Raises:
        StoreFailed: ``store.*``.
    """

    async def run(session: Session) -> _Result:
        return await session.connection.run_sync(work)

    return _alone(engine, lambda link: link.transaction(gate, run))


def _alone(engine: Engine, use: Callable[[Link], Awaitable[_Result]]) -> _Result:
    async def run() -> _Result:
        link = Link(engine, seconds=_SECONDS)
        try:
            return await use(link)
        except TransactionFailedError as failed:
            raise failed.verdict.error from None
        finally:
            await link.drop()

    return asyncio.run(run())
