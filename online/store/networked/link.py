"""One connection to a database server, opened when it is needed and again after it was lost.

Invariants:

* whoever gets a result got it after the COMMIT; of what failed it is known whether it may have happened;
* nothing is tried again once its COMMIT was asked for, unless the server says that it was rolled back;
* every wait ends: connecting, a statement, a lock, the COMMIT;
* one transaction at a time; a connection that failed in the middle of anything is cut, not reused.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from online.store.networked import failures
from online.store.networked.engine import Engine, Gate, Session, discard
from online.store.networked.failures import Fate, Verdict
from shared.errors import ColdrootError

_Result = TypeVar("_Result")

_MOST_DEADLOCKS = 6
_MOST_LOSSES = 2
_PAUSE_SECONDS = 0.01
_TIDY_SECONDS = 1.0


class TransactionFailedError(Exception):
    """A transaction came to nothing, or nobody knows."""

    def __init__(self, verdict: Verdict) -> None:
        """Keep the verdict."""
        super().__init__(verdict.code)
        self.verdict = verdict


class Link:
    """A connection for one purpose. Its methods are called by one task at a time, on one event loop."""

    def __init__(self, engine: Engine, *, seconds: float) -> None:
        """Make a link; nothing is opened yet.

        Args:
            engine: the kind of server.
            seconds: how long a transaction may take, with all that is tried again.
        """
        self._engine = engine
        self._seconds = seconds
        self._session: Session | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._committing = False

    async def transaction(self, gate: Gate, work: Callable[[Session], Awaitable[_Result]]) -> _Result:
        """Do something in one transaction and commit.

        1. What was rolled back for another's sake is tried again, a bounded number of times.
        2. What was lost with its connection is tried again on another one, once.

        Args:
            gate: what it must not overlap with.
            work: writes; it may be called more than once, so it decides anew each time.

        Raises:
            TransactionFailedError: why not; its code is ``store.outcome-unknown`` when it may have happened.
            ColdrootError: what ``work`` raised; nothing was written then.
        """
        return await self._persist(lambda: self._once(gate, work))

    async def read(self, work: Callable[[Session], Awaitable[_Result]]) -> _Result:
        """Do something that writes nothing, outside of a transaction.

        Raises:
            TransactionFailedError: why not.
            ColdrootError: what ``work`` raised.
        """

        async def reading() -> _Result:
            return await work(await self._open())

        return await self._persist(reading)

    async def drop(self) -> None:
        """Cut the connection; the next use opens another."""
        session, self._session = self._session, None
        if session is None:
            return
        if self._loop is asyncio.get_running_loop():
            await discard(self._engine, session)
        # Otherwise its loop is gone, and with it everything that could be closed in order.

    async def _persist(self, attempt: Callable[[], Awaitable[_Result]]) -> _Result:
        deadline = asyncio.get_running_loop().time() + self._seconds
        deadlocks = losses = 0
        while True:
            verdict = await self._judged(attempt, deadline)
            if not isinstance(verdict, Verdict):
                return verdict[0]
            # 1.
            deadlocks += verdict.fate is Fate.AGAIN
            # 2.
            losses += verdict.fate is Fate.LOST
            again = (verdict.fate is Fate.AGAIN and deadlocks < _MOST_DEADLOCKS) or (
                verdict.fate is Fate.LOST and losses < _MOST_LOSSES
            )
            if not again or asyncio.get_running_loop().time() >= deadline:
                raise TransactionFailedError(verdict)
            # Rivals that woke each other up must not meet again in the same moment.
            await asyncio.sleep(random.uniform(0, _PAUSE_SECONDS * (deadlocks + losses)))  # noqa: S311 (no secret)

    async def _judged(self, attempt: Callable[[], Awaitable[_Result]], deadline: float) -> tuple[_Result] | Verdict:
        """Try once; return the result, or the verdict with the connection in a state from which one can go on."""
        self._committing = False
        try:
            async with asyncio.timeout_at(deadline):
                return (await attempt(),)
        except asyncio.CancelledError:
            await self.drop()
            raise
        except ColdrootError:
            # Said by ourselves, about the database as a whole: look at it afresh next time.
            await self.drop()
            raise
        except TimeoutError:
            await self.drop()
            return failures.UNKNOWN if self._committing else failures.LATE
        except Exception as error:  # noqa: BLE001 (whatever a driver throws, it is the database that failed)
            if asyncio.get_running_loop().time() < deadline:
                return await self._after(self._engine.judge(error))
            # What a driver says that was interrupted at the end of the time tells nothing.
            await self.drop()
            return failures.UNKNOWN if self._committing else failures.LATE

    async def _after(self, verdict: Verdict) -> Verdict:
        committing, self._committing = self._committing, False
        usable = verdict.fate in {Fate.AGAIN, Fate.TAKEN, Fate.REFUSED}
        if usable and not committing and self._session is not None:
            try:
                async with asyncio.timeout(_TIDY_SECONDS):
                    await self._engine.rollback(self._session)
            except Exception:  # noqa: BLE001 (as in _judged)
                await self.drop()
        else:
            await self.drop()
        # In COMMIT only one answer is certain: that it was rolled back for another's sake.
        return failures.UNKNOWN if committing and verdict.fate is not Fate.AGAIN else verdict

    async def _once(self, gate: Gate, work: Callable[[Session], Awaitable[_Result]]) -> _Result:
        session = await self._open()
        await self._engine.begin(session, gate)
        result = await work(session)
        self._committing = True
        await self._engine.commit(session)
        self._committing = False
        return result

    async def _open(self) -> Session:
        loop = asyncio.get_running_loop()
        if self._session is not None and self._loop is not loop:
            await self.drop()
        if self._session is None:
            self._session, self._loop = await self._engine.connect(), loop
        return self._session
