"""Group commit: one writer thread a process puts all waiting writes into one transaction.

A flush to the disk costs the same for one row as for a hundred. While one batch is being flushed, the next one
gathers by itself; nobody waits for company when there is none.

Invariants:

* a caller is answered after the commit of its batch, or after its failure, and always within the time limit;
* a write whose caller gave up before the batch was taken is not done;
* the thread outlives every failure of a batch.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager
from enum import Enum, auto
from typing import Generic, Protocol, TypeVar

from shared.errors import ColdrootError, Fatal, StoreFailed

_Work = TypeVar("_Work")
_Work_contra = TypeVar("_Work_contra", contravariant=True)

_MOST_WAITING = 4096
_LARGEST_BATCH = 256
_CLOSING_SECONDS = 10.0

Outcome = ColdrootError | int


class BatchWriter(Protocol[_Work_contra]):
    """What the writer thread drives. All methods are called from that one thread."""

    def turn(self) -> AbstractContextManager[None]:
        """Wait for the right to write, for as long as it takes, and hold it.

        Raises:
            StoreFailed: ``store.*`` before anything was written.
        """
        ...

    def write(self, batch: Sequence[_Work_contra]) -> Sequence[Outcome]:
        """Do a batch in as few transactions as it takes, commit, and return an outcome each. Never raises."""
        ...

    def close(self) -> None:
        """Let go of the database."""
        ...


class _State(Enum):
    WAITING = auto()
    TAKEN = auto()
    ABANDONED = auto()


class _Pending(Generic[_Work]):
    """One write on its way. Its state is guarded by the queue's lock, its future belongs to its loop."""

    __slots__ = ("future", "loop", "state", "work")

    def __init__(self, work: _Work, loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.loop = loop
        self.future: asyncio.Future[int] = loop.create_future()
        self.state = _State.WAITING

    def settle(self, outcome: Outcome) -> None:
        """Answer the caller, unless it was answered or went away."""
        if self.future.done():
            return
        if isinstance(outcome, ColdrootError):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)


class GroupCommit(Generic[_Work]):
    """A queue with one thread behind it that writes."""

    def __init__(self, writer: BatchWriter[_Work], *, seconds: float) -> None:
        """Start the writer thread.

        Args:
            writer: who writes.
            seconds: how long a caller waits before it is told that the store is busy.
        """
        self._writer = writer
        self._seconds = seconds
        self._waiting: deque[_Pending[_Work]] = deque()
        self._wakes = threading.Condition()
        self._closing = False
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    async def submit(self, work: _Work) -> int:
        """Have a write done and committed.

        Raises:
            StoreFailed: ``store.closed``, ``store.busy``, ``store.outcome-unknown``, or what the writer says.
            Fatal: ``store.forked``.
            ColdrootError: the refusal that the write returned.
        """
        if os.getpid() != self._process:
            raise Fatal("store.forked", "the store was opened before the process forked: its writer is not here")
        loop = asyncio.get_running_loop()
        pending = _Pending(work, loop)
        with self._wakes:
            if self._closing:
                raise StoreFailed("store.closed", "the store is closed")
            if len(self._waiting) >= _MOST_WAITING:
                raise StoreFailed("store.busy", "too many writes are waiting")
            self._waiting.append(pending)
            self._wakes.notify()
        limit = loop.call_later(self._seconds, self._give_up, pending)
        try:
            return await pending.future
        finally:
            limit.cancel()
            # Also when the caller was cancelled: a client that went away does not use up its token for nothing.
            self._abandon(pending)

    async def close(self) -> None:
        """Write what is waiting, then stop the thread.

        Raises:
            StoreFailed: ``store.busy`` when the thread does not get its turn to finish.
        """
        with self._wakes:
            self._closing = True
            self._wakes.notify()
        await asyncio.to_thread(self._thread.join, _CLOSING_SECONDS)
        if self._thread.is_alive():
            raise StoreFailed("store.busy", "the store could not finish its writes")

    def _give_up(self, pending: _Pending[_Work]) -> None:
        if self._abandon(pending):
            pending.settle(StoreFailed("store.busy", "the store did not get its turn to write in time"))
        else:
            pending.settle(StoreFailed("store.outcome-unknown", "the store did not confirm the write in time"))

    def _abandon(self, pending: _Pending[_Work]) -> bool:
        """Take a write back; ``False`` when it is too late for that."""
        with self._wakes:
            if pending.state is _State.WAITING:
                pending.state = _State.ABANDONED
            return pending.state is _State.ABANDONED

    def _run(self) -> None:
        while self._await_work():
            outcomes: Sequence[Outcome] = ()
            try:
                with self._writer.turn():
                    # Taken only now: whoever came while this process waited for its turn rides along.
                    batch = self._take()
                    if batch:
                        outcomes = self._writer.write([pending.work for pending in batch])
            except StoreFailed as failure:
                batch = self._take()
                outcomes = [StoreFailed(failure.code, failure.message, hint=failure.hint) for _ in batch]
            _answer(batch, outcomes)
        self._writer.close()

    def _await_work(self) -> bool:
        with self._wakes:
            while not self._waiting and not self._closing:
                self._wakes.wait()
            return bool(self._waiting)

    def _take(self) -> list[_Pending[_Work]]:
        batch: list[_Pending[_Work]] = []
        with self._wakes:
            while self._waiting and len(batch) < _LARGEST_BATCH:
                pending = self._waiting.popleft()
                if pending.state is _State.WAITING:
                    pending.state = _State.TAKEN
                    batch.append(pending)
        return batch


def _answer(batch: Sequence[_Pending[_Work]], outcomes: Sequence[Outcome]) -> None:
    """Hand the outcomes to the callers' loops, one wake-up a loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Pending[_Work], Outcome]]] = {}
    for pending, outcome in zip(batch, outcomes, strict=True):
        by_loop.setdefault(pending.loop, []).append((pending, outcome))
    for loop, settled in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle_all, settled)
        except RuntimeError:
            # The loop was closed, and with it everybody who could be told.
            continue


def _settle_all(settled: Sequence[tuple[_Pending[_Work], Outcome]]) -> None:
    for pending, outcome in settled:
        pending.settle(outcome)
