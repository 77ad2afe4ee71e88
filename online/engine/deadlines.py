"""Many things that may each take so long and no longer, with one timer for all of them.

Since all have the same time, whoever came first is due first: the dictionary's order is the queue. A timer each would
cost every connection as much as its cancelling does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Deadlines(Generic[_T]):
    """Things that are waited for."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, late: Callable[[_T], None]) -> None:
        """Wait for nothing yet.

        Args:
            loop: keeps the time.
            seconds: how long each may take.
            late: told of each that took longer; it is then waited for no more.
        """
        self._loop = loop
        self._seconds = seconds
        self._late = late
        self._due: dict[_T, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._emptied: asyncio.Event | None = None

    def __len__(self) -> int:
        """Return how many are waited for."""
        return len(self._due)

    def __iter__(self) -> Iterator[_T]:
        """Go through a copy of them, the one that has waited longest first."""
        return iter(tuple(self._due))

    def begin(self, thing: _T) -> None:
        """Wait for a thing, from now on."""
        self._due.pop(thing, None)
        self._due[thing] = self._loop.time() + self._seconds
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._look)

    def end(self, thing: _T) -> None:
        """Wait for it no more, if it is waited for."""
        self._due.pop(thing, None)
        if self._emptied is not None and not self._due:
            self._emptied.set()

    def oldest(self) -> _T:
        """Return the one that has waited longest; there must be one."""
        return next(iter(self._due))

    async def emptied(self, seconds: float) -> None:
        """Wait until nothing is waited for, or so long."""
        if self._due:
            self._emptied = asyncio.Event()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._emptied.wait(), seconds)

    def _look(self) -> None:
        self._timer = None
        now = self._loop.time()
        for thing, due in tuple(self._due.items()):
            if due > now:
                break
            if thing in self._due:
                self.end(thing)
                self._late(thing)
        # Whoever was late may have made room for a new one, which then set the timer.
        if self._due and self._timer is None:
            first = next(iter(self._due.values()))
            self._timer = self._loop.call_later(max(0.0, first - self._loop.time()), self._look)
