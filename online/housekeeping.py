"""Keeping house: what the store need not remember goes, in small steps between which everybody else has a turn.

Invariants:

* a token's use is forgotten only when its age alone refuses it, with a day to spare for a clock that is set back;
* a certificate goes from the database only where the configuration says when, long after its end, and never one that
  was revoked; it is in the archive before;
* what fails is said once, and tried again with the next look.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from online.accesslog import Log
from online.archive import Archive
from online.lineage import Succession
from online.store import Store
from shared.clock import Clock
from shared.errors import ColdrootError

TOKEN_MEMORY = timedelta(days=1)
_EVERY = timedelta(hours=1)
_FOLD_SECONDS = 0.2
_SHORTEST_PAUSE_SECONDS = 0.01
_ENDED_A_LOOK = 500
# Each row lies on other pages of half a dozen indexes.
_ENDED_A_TURN = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Chores:
    """What is to be done beside forgetting tokens."""

    succession: Succession
    """Whether what has a successor is revoked."""
    backdate: timedelta
    """By which a certificate begins before it was issued."""
    archive: Archive
    """Where certificates go that ended."""
    archive_after: timedelta | None = None
    """How long after its end a certificate goes; it stays for ever when not given."""


class Housekeeper:
    """Keeps one store in order, for as long as it is told to."""

    def __init__(
        self,
        store: Store,
        chores: Chores,
        *,
        clock: Clock,
        log: Log,
        revoked: Callable[[], None],
        fold_log: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        """Make a housekeeper.

        Args:
            store: to be kept.
            chores: what is to be done.
            clock: wall clock.
            log: takes a line a failure, and one about what was moved.
            revoked: told when certificates were revoked.
            fold_log: folds the store's log, where it has one; returns whether there was anything to do.
        """
        self._store = store
        self._chores = chores
        self._clock = clock
        self._log = log
        self._revoked = revoked
        self._fold_log = fold_log
        self._said: dict[str, str] = {}

    async def run(self, stop: asyncio.Event, *, look: float) -> None:
        """Keep house until told to stop.

        Args:
            stop: set to stop.
            look: seconds between two looks at the clock.
        """
        chores = [self._now_and_then(stop, look)]
        if self._fold_log is not None:
            chores.append(self._fold(stop, look, self._fold_log))
        await asyncio.gather(*chores)

    async def tidy(self) -> None:
        """Do everything that is due, whatever the time since the last one.

        1. Uses of tokens that are too old for anybody.
        2. Certificates whose successor is in use.
        3. Certificates that ended long ago.

        Raises:
            StoreFailed: ``store.*`` or ``file.*``; what was done by then is done.
        """
        # 1.
        now = self._clock.now()
        await _until_none(lambda: self._store.forget_tokens(expired_before=now - TOKEN_MEMORY))
        # 2.
        rules = self._chores.succession
        if rules.revoke_superseded:
            before = now - rules.lineage.grace - self._chores.backdate
            if await _until_none(lambda: self._store.revoke_superseded(renewed_before=before, now=now)):
                self._revoked()
        # 3.
        if self._chores.archive_after is not None:
            moved = await self._move_ended(now - self._chores.archive_after)
            if moved:
                self._log.event(f"{moved} certificates that ended were moved to the archive")

    async def _move_ended(self, before: datetime) -> int:
        moved = 0
        while ended := await self._store.ended(before=before, limit=_ENDED_A_LOOK):
            moved_before = moved
            for begin in range(0, len(ended), _ENDED_A_TURN):
                some = ended[begin : begin + _ENDED_A_TURN]
                begun = time.monotonic()
                await asyncio.to_thread(self._chores.archive.add, some)
                moved += await self._store.drop_ended(some)
                await _leave_room(begun)
            if moved == moved_before:
                # All of them were revoked, or dropped by another node, since they were looked for.
                break
        return moved

    async def _now_and_then(self, stop: asyncio.Event, look: float) -> None:
        due = self._clock.now()
        while not stop.is_set():
            now = self._clock.now()
            # Also when the clock was set back.
            if not now < due <= now + _EVERY and await self._try("housekeeping", self.tidy):
                due = now + _EVERY
            await _is_set_within(stop, look)

    async def _fold(self, stop: asyncio.Event, look: float, fold: Callable[[], Awaitable[bool]]) -> None:
        while not stop.is_set():
            done = await self._try("folding the log of the database", fold)
            await _is_set_within(stop, _FOLD_SECONDS if done else look)

    async def _try(self, what: str, chore: Callable[[], Awaitable[object]]) -> bool:
        try:
            await chore()
        except ColdrootError as error:
            text = f"{what} failed: {error.code}: {error.message}"
            if self._said.get(what) != text:
                self._log.event(text)
            self._said[what] = text
            return False
        self._said.pop(what, None)
        return True


async def _until_none(step: Callable[[], Awaitable[int]]) -> int:
    """Take a step until it finds nothing to do; return how much was done."""
    total = 0
    while True:
        begun = time.monotonic()
        if not (done := await step()):
            return total
        total += done
        await _leave_room(begun)


async def _leave_room(begun: float) -> None:
    """Leave as much time to others as was just taken."""
    await asyncio.sleep(max(_SHORTEST_PAUSE_SECONDS, time.monotonic() - begun))


async def _is_set_within(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
