"""Group commit: waiting writes share a transaction, written on the event loop and committed by a helper thread.

A flush to the disk costs the same for one row as for a hundred, so that writes of one moment share it. To hand each
row to another thread costs more than to write it; so the rows are written on the loop, and the helper does only what
waits: for the turn, when another process has it, and for COMMIT. The next batch gathers meanwhile.

A batch goes when as many writes wait as clients are being served, for then nobody is left who could join it, and
after 2 ms at the latest. Where nobody counts clients, it goes with the next round of the loop.

Invariants:

* a caller is answered after the commit of its batch, or after its failure, and always within the time limit;
* a write whose caller gave up before the batch was taken is not done;
* the loop never waits for a lock or for the disk's flush;
* at any moment the writer belongs to one thread: whoever set ``_in_flight`` has it, or passed it on;
* no failure of a batch ends the helper, and no loop that ends keeps the turn from others.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum, auto
from functools import partial
from typing import Generic, Protocol, TypeVar

from online.store.activity import LARGEST_BATCH, LINGER_SECONDS, Activity
from online.store.answers import settle
from shared.errors import ColdrootError, Fatal, StoreFailed

_Work = TypeVar("_Work")
_Work_contra = TypeVar("_Work_contra", contravariant=True)

_MOST_WAITING = 4096
# The helper holds the turn for its loop, and other processes wait: a loop that does not come is not waited for.
_PICK_UP_SECONDS = 0.1
_CLOSING_SECONDS = 10.0

Outcome = ColdrootError | int


class BatchWriter(Protocol[_Work_contra]):
    """What writes. Its methods are called from several threads, but from one at a time."""

    def begin(self, *, wait: bool, seconds: float | None = None) -> bool:
        """Take the right to write and begin a transaction.

        Args:
            wait: whether to wait for it.
            seconds: for how long at most; for as long as it takes when not given.

        Returns:
            ``False`` when that would have needed waiting, and nothing was begun.

        Raises:
            StoreFailed: ``store.*``; nothing was begun. ``store.busy`` when the time is over.
        """
        ...

    def write(self, batch: Sequence[_Work_contra]) -> Sequence[Outcome]:
        """Do a batch inside the transaction, without waiting for anything, and return an outcome each.

        Raises:
            StoreFailed: ``store.*``; the transaction was undone and the right given back.
        """
        ...

    def commit(self) -> None:
        """Commit, wait until it is durable, and give the right back.

        Raises:
            StoreFailed: ``store.*``; what was written may be there or not. The right was given back.
        """
        ...

    def may_retry(self, failure: StoreFailed) -> bool:
        """Tell whether each write of a batch may do better alone than the batch that failed so in ``write``."""
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

    __slots__ = ("future", "is_long", "loop", "state", "work")

    def __init__(self, work: _Work, loop: asyncio.AbstractEventLoop, *, is_long: bool) -> None:
        self.work = work
        self.is_long = is_long
        self.loop = loop
        self.future: asyncio.Future[int] = loop.create_future()
        self.state = _State.WAITING

    def settle(self, outcome: Outcome) -> None:
        """Answer the caller."""
        settle(self.future, outcome)


_Settled = list[tuple[_Pending[_Work], Outcome]]


class GroupCommit(Generic[_Work]):
    """A queue of writes, and the helper thread that waits for the disk."""

    def __init__(self, writer: BatchWriter[_Work], *, seconds: float, activity: Activity | None = None) -> None:
        """Start the helper.

        Args:
            writer: who writes.
            seconds: how long a caller waits before it is told that the store is busy.
            activity: how many clients are served now.
        """
        self._writer = writer
        self._seconds = seconds
        self._activity = activity
        self._guard = threading.Lock()
        self._waiting: deque[_Pending[_Work]] = deque()
        self._in_flight = False
        self._granted = False
        self._closing = False
        self._timer: tuple[asyncio.AbstractEventLoop, asyncio.Handle] | None = None
        self._process = os.getpid()
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._help, name="store-commits", daemon=True)
        self._thread.start()

    async def submit(self, work: _Work, *, is_long: bool = False, seconds: float | None = None) -> int:
        """Have a write done and committed.

        Args:
            work: what the writer is to do.
            seconds: how long the caller waits; the usual time when not given.
            is_long: whether it takes so long that it had better be done by the helper, in a transaction of its own.

        Raises:
            StoreFailed: ``store.closed``, ``store.busy``, ``store.outcome-unknown``, or what the writer says.
            Fatal: ``store.forked``.
            ColdrootError: the refusal that the write returned.
        """
        if os.getpid() != self._process:
            raise Fatal("store.forked", "the store was opened before the process forked: its helper is not here")
        loop = asyncio.get_running_loop()
        pending = _Pending(work, loop, is_long=is_long)
        with self._guard:
            if self._closing:
                raise StoreFailed("store.closed", "the store is closed")
            if len(self._waiting) >= _MOST_WAITING:
                raise StoreFailed("store.busy", "too many writes are waiting")
            self._waiting.append(pending)
        limit = loop.call_later(self._seconds if seconds is None else seconds, self._give_up, pending)
        try:
            self._consider(loop)
            return await pending.future
        finally:
            limit.cancel()
            # Also when the caller was cancelled: a client that went away does not use up its token for nothing.
            self._abandon(pending)

    async def close(self) -> None:
        """Write what is waiting, then stop the helper.

        Raises:
            StoreFailed: ``store.busy`` when the helper does not get its turn to finish.
        """
        with self._guard:
            self._closing = True
            rest = None if self._in_flight else self._next_while_closing()
        if rest is not None:
            rest()
        await asyncio.to_thread(self._thread.join, _CLOSING_SECONDS)
        if self._thread.is_alive():
            raise StoreFailed("store.busy", "the store could not finish its writes")

    def _give_up(self, pending: _Pending[_Work]) -> None:
        if self._abandon(pending):
            pending.settle(busy())
        else:
            pending.settle(StoreFailed("store.outcome-unknown", "the store did not confirm the write in time"))

    def _abandon(self, pending: _Pending[_Work]) -> bool:
        """Take a write back; ``False`` when it is too late for that."""
        with self._guard:
            if pending.state is _State.WAITING:
                pending.state = _State.ABANDONED
            return pending.state is _State.ABANDONED

    # On the loop of a caller.

    def _consider(self, loop: asyncio.AbstractEventLoop) -> None:
        """Send the waiting writes off if nobody is left to wait for; see to it that they go soon if there is."""
        if self._in_flight:
            # When that batch ends, each loop with a waiting write considers again.
            return
        if self._activity is not None and self._activity.is_complete(len(self._waiting)):
            self._send_off(loop)
        elif self._timer is None or self._timer[0] is not loop:
            send = partial(self._send_off, loop)
            self._timer = (
                loop,
                loop.call_soon(send) if self._activity is None else loop.call_later(LINGER_SECONDS, send),
            )

    def _send_off(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None and self._timer[0] is loop:
            self._timer[1].cancel()
            self._timer = None
        with self._guard:
            if self._in_flight or not self._waiting:
                return
            self._in_flight = True
            is_long = self._waiting[0].is_long
        if is_long:
            self._jobs.put(self._do_all)
            return
        try:
            is_begun = self._writer.begin(wait=False)
        except Exception as error:  # noqa: BLE001 (whatever it was, callers wait for an answer)
            self._fail(error)
            return
        if is_begun:
            self._write()
        else:
            self._jobs.put(partial(self._await_turn, loop))

    def _settle(self, loop: asyncio.AbstractEventLoop, settled: _Settled[_Work]) -> None:
        for pending, outcome in settled:
            pending.settle(outcome)
        if self._waiting:
            self._consider(loop)

    # On the loop, or on the helper where the loop does not come.

    def _pick_up(self) -> None:
        """Use the turn that the helper got, unless somebody else did."""
        with self._guard:
            if not self._granted:
                return
            self._granted = False
        self._write()

    def _write(self) -> None:
        # Taken only now: whoever came while this process waited for its turn rides along.
        batch = self._take()
        try:
            outcomes = self._writer.write([pending.work for pending in batch]) if batch else ()
        except Exception as error:  # noqa: BLE001 (as in _send_off)
            self._jobs.put(partial(self._retry, batch, error))
        else:
            self._jobs.put(partial(self._commit, batch, outcomes))

    def _take(self) -> list[_Pending[_Work]]:
        batch: list[_Pending[_Work]] = []
        with self._guard:
            while self._waiting and len(batch) < LARGEST_BATCH:
                pending = self._waiting[0]
                is_long = pending.is_long and pending.state is _State.WAITING
                if is_long and batch:
                    break
                self._waiting.popleft()
                if pending.state is _State.WAITING:
                    pending.state = _State.TAKEN
                    batch.append(pending)
                if is_long:
                    break
        return batch

    def _fail(self, error: Exception) -> None:
        batch = self._take()
        self._finish(batch, [said(error) for _ in batch])

    def _finish(self, batch: Sequence[_Pending[_Work]], outcomes: Sequence[Outcome]) -> None:
        """Hand the outcomes to the callers' loops, one wake-up a loop, and wake those that have writes waiting."""
        by_loop: dict[asyncio.AbstractEventLoop, _Settled[_Work]] = {}
        for pending, outcome in zip(batch, outcomes, strict=True):
            by_loop.setdefault(pending.loop, []).append((pending, outcome))
        with self._guard:
            self._in_flight = False
            for pending in self._waiting:
                by_loop.setdefault(pending.loop, [])
            rest = self._next_while_closing() if self._closing else None
        for loop, settled in by_loop.items():
            try:
                loop.call_soon_threadsafe(self._settle, loop, settled)
            except RuntimeError:
                # The loop was closed, and with it everybody who could be told.
                continue
        if rest is not None:
            rest()

    def _next_while_closing(self) -> Callable[[], None]:
        """Return what is left to do, under the guard: loops that may end do not come into it any more."""
        self._in_flight = True
        return partial(self._jobs.put, self._do_all if self._waiting else None)

    # On the helper.

    def _help(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=_PICK_UP_SECONDS if self._granted else None)
            except queue.Empty:
                job = self._pick_up
            if job is None:
                break
            job()
        self._writer.close()

    def _await_turn(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            self._writer.begin(wait=True)
        except Exception as error:  # noqa: BLE001 (as in _send_off)
            self._fail(error)
            return
        self._granted = True
        try:
            loop.call_soon_threadsafe(self._pick_up)
        except RuntimeError:
            self._pick_up()

    def _do_all(self) -> None:
        try:
            self._writer.begin(wait=True)
        except Exception as error:  # noqa: BLE001 (as in _send_off)
            self._fail(error)
            return
        self._write()

    def _commit(self, batch: Sequence[_Pending[_Work]], outcomes: Sequence[Outcome]) -> None:
        try:
            self._writer.commit()
        except Exception as error:  # noqa: BLE001 (as in _send_off)
            # Not tried again, for it may have happened.
            outcomes = [said(error) for _ in batch]
        self._finish(batch, outcomes)

    def _retry(self, batch: Sequence[_Pending[_Work]], error: Exception) -> None:
        """Do each write of a failed batch alone, where that may help: one that cannot be done takes no other down."""
        if len(batch) > 1 and self._writer.may_retry(said(error)):
            self._finish(batch, [write_alone(self._writer, pending.work) for pending in batch])
        else:
            self._finish(batch, [said(error) for _ in batch])


def write_alone(writer: BatchWriter[_Work], work: _Work) -> Outcome:
    """Do one write in a transaction of its own, waiting for whatever it takes."""
    try:
        writer.begin(wait=True)
        outcome = writer.write((work,))[0]
        writer.commit()
    except Exception as error:  # noqa: BLE001 (whatever it was, the caller waits for an answer)
        return said(error)
    return outcome


def busy() -> StoreFailed:
    """Return the failure of a write whose turn did not come in time: nothing was written."""
    return StoreFailed("store.busy", "the store did not get its turn to write in time")


def said(error: Exception) -> StoreFailed:
    """Return a writer's failure in our words. A fresh exception each time: each goes to another caller."""
    if isinstance(error, StoreFailed):
        return StoreFailed(error.code, error.message, hint=error.hint)
    return StoreFailed("store.failed", f"the store failed: {type(error).__name__}")
