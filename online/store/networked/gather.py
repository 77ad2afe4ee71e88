"""Group commit without threads: one batch is in flight, and the next one gathers meanwhile.

Invariants:

* a caller is answered after its batch was done, or failed, and always within the time limit;
* work whose caller gave up or went away before its batch began is not done;
* everything runs on one event loop; callers on other loops are carried there and back;
* no failure of a batch ends the queue.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from online.store.answers import settle
from shared.errors import ColdrootError, Fatal, StoreFailed

_Work = TypeVar("_Work")
_Result = TypeVar("_Result")

_MOST_WAITING = 4096
_LARGEST_BATCH = 256
_CLOSING_SECONDS = 10.0


class _Pending(Generic[_Work, _Result]):
    """One piece of work on its way."""

    __slots__ = ("future", "taken", "work")

    def __init__(self, work: _Work, loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.future: asyncio.Future[_Result] = loop.create_future()
        self.taken = False

    def settle(self, outcome: _Result | ColdrootError) -> None:
        """Answer the caller."""
        settle(self.future, outcome)

    def give_up(self) -> None:
        """Tell the caller that its time is over; what was not taken yet never will be."""
        if self.taken:
            self.settle(StoreFailed("store.outcome-unknown", "the database did not confirm the write in time"))
        else:
            self.settle(StoreFailed("store.busy", "the database did not get to the request in time"))


class Gather(Generic[_Work, _Result]):
    """A queue that does all that is waiting at once, again and again, while anything is waiting."""

    def __init__(
        self, run: Callable[[Sequence[_Work]], Awaitable[Sequence[_Result | ColdrootError]]], *, seconds: float
    ) -> None:
        """Make a queue; it belongs to the loop that first submits, and is of no use after a fork.

        Args:
            run: does a batch and returns an outcome each; bounded in time.
            seconds: how long a caller waits at most.
        """
        self._run = run
        self._seconds = seconds
        self._waiting: deque[_Pending[_Work, _Result]] = deque()
        self._pump: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = os.getpid()
        self._closed = False

    async def submit(self, work: _Work) -> _Result:
        """Have work done.

        Raises:
            StoreFailed: ``store.closed``, ``store.busy``, ``store.outcome-unknown``.
            Fatal: ``store.forked``.
            ColdrootError: the outcome of this work, if it is one.
        """
        if os.getpid() != self._process:
            raise Fatal("store.forked", "the store was opened before the process forked: its connections are not here")
        loop = asyncio.get_running_loop()
        if self._loop is None or self._loop.is_closed():
            # What belonged to a loop that is gone has nobody left who waits for it.
            self._loop, self._pump = loop, None
            self._waiting.clear()
        if self._loop is loop:
            return await self._submit(work, loop)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._submit(work, self._loop), self._loop))

    async def close(self) -> None:
        """Take nothing more, and finish what is waiting, within limits."""
        self._closed = True
        pump = self._pump
        if pump is not None and self._loop is asyncio.get_running_loop():
            await asyncio.wait((pump,), timeout=_CLOSING_SECONDS)
            pump.cancel()

    async def _submit(self, work: _Work, loop: asyncio.AbstractEventLoop) -> _Result:
        if self._closed:
            raise StoreFailed("store.closed", "the store is closed")
        if len(self._waiting) >= _MOST_WAITING:
            raise StoreFailed("store.busy", "too many requests wait for the database")
        pending = _Pending[_Work, _Result](work, loop)
        self._waiting.append(pending)
        if self._pump is None:
            self._pump = loop.create_task(self._drive())
        limit = loop.call_later(self._seconds, pending.give_up)
        try:
            return await pending.future
        finally:
            limit.cancel()

    async def _drive(self) -> None:
        try:
            while self._waiting:
                # What is ready on the loop in this moment rides along.
                await asyncio.sleep(0)
                batch = self._take()
                if batch:
                    await self._do(batch)
        finally:
            self._pump = None

    async def _do(self, batch: Sequence[_Pending[_Work, _Result]]) -> None:
        outcomes: Sequence[_Result | ColdrootError] = ()
        try:
            outcomes = await self._run([each.work for each in batch])
        except Exception as error:  # noqa: BLE001 (a fault of ours in one batch must not end the queue)
            outcomes = [StoreFailed("store.failed", f"the store failed: {type(error).__name__}") for _ in batch]
        finally:
            # Also when the loop is stopped in the middle: whoever still waits must not wait for ever.
            for pending, outcome in zip(batch, outcomes, strict=False):
                pending.settle(outcome)
            for pending in batch[len(outcomes) :]:
                pending.give_up()

    def _take(self) -> list[_Pending[_Work, _Result]]:
        batch: list[_Pending[_Work, _Result]] = []
        while self._waiting and len(batch) < _LARGEST_BATCH:
            pending = self._waiting.popleft()
            # A caller that went away cancelled its future: its token is not used up for nothing.
            if not pending.future.done():
                pending.taken = True
                batch.append(pending)
        return batch
