"""One transaction in a database server from outside of any event loop: connect, work, commit, close."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa

from online.store.networked.engine import Engine, Gate, Session
from online.store.networked.link import Link, TransactionFailedError

_Result = TypeVar("_Result")
_SECONDS = 5.0


def do_once(engine: Engine, work: Callable[[sa.Connection], _Result], *, writes: bool) -> _Result:
    """Do something in one transaction, within 5 seconds; nothing of the connection is left.

    Args:
        engine: the kind of server.
        work: may be called more than once; what it raises undoes what it wrote.
        writes: whether it writes.

    Raises:
        StoreFailed: ``store.*``.
        ColdrootError: what ``work`` raised.
    """

    async def do(session: Session) -> _Result:
        await engine.check(session)
        return await session.connection.run_sync(work)

    async def run() -> _Result:
        link = Link(engine, seconds=_SECONDS)
        try:
            return await link.transaction(Gate.SHARED if writes else Gate.SNAPSHOT, do)
        except TransactionFailedError as failed:
            raise failed.verdict.error from None
        finally:
            await link.drop()

    return asyncio.run(run())
