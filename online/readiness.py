"""Whether the node could issue, asked as often as anybody likes and looked up now and then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from shared.errors import ColdrootError

_SECONDS = 1.0


class Readiness:
    """Remembers the last outcome of a costly check: ``/health`` is open to all, the database must not be."""

    def __init__(
        self,
        check: Callable[[], Awaitable[None]],
        *,
        seconds: float = _SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a memory of a check.

        Args:
            check: raises a ``ColdrootError`` when the node could not issue.
            seconds: how long the outcome counts.
            monotonic: seconds on a clock that never steps.
        """
        self._check = check
        self._seconds = seconds
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._fresh_until = float("-inf")
        self._error: ColdrootError | None = None

    def recall(self) -> bool:
        """Tell whether the last outcome still counts; when it does not, ``require`` must be awaited.

        Raises:
            ColdrootError: it counts, and this is what the check raised.
        """
        if self._monotonic() >= self._fresh_until:
            return False
        if self._error is not None:
            raise self._error.with_traceback(None)
        return True

    async def require(self) -> None:
        """Return when the node could issue a moment ago; several callers at once wait for one check.

        Raises:
            ColdrootError: what the check raised.
        """
        async with self._lock:
            if self._monotonic() >= self._fresh_until:
                try:
                    await self._check()
                    self._error = None
                except ColdrootError as error:
                    self._error = error
                self._fresh_until = self._monotonic() + self._seconds
        if self._error is not None:
            raise self._error.with_traceback(None)
