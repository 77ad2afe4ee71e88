"""What builds revocation lists: in the keeper's process, beside the workers, so that no signature waits for a list.

It speaks to nobody: what it makes goes into the store, from where the workers serve it. A worker that wants a list at
once rings a bell.

Invariants:

* it is ready only when there is a list in force: no leaf names a list that is not there;
* what fails is said and tried again; a signature that came out wrong ends all building until the node is started
  again.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from contextlib import suppress

from online.accesslog import Log
from online.crl import CrlBuilder
from shared.clock import rfc3339
from shared.errors import ColdrootError, Fatal

LOOK_SECONDS = 30.0
_RETRY_SECONDS = (0.2, 1.0)
_MOST_ATTEMPTS = 10


class Bell:
    """A pipe that any process rings and one hears; made before they are forked."""

    def __init__(self) -> None:
        self._hears, self._rings = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def ring(self) -> None:
        """Wake the one who hears; a bell that rings already need not ring louder."""
        with suppress(BlockingIOError):
            os.write(self._rings, b"!")

    def fileno(self) -> int:
        """Return what becomes readable."""
        return self._hears

    def clear(self) -> None:
        """Make it unreadable until the next ring."""
        with suppress(BlockingIOError):
            while os.read(self._hears, 4096):
                pass

    def close(self) -> None:
        """Let go of the pipe."""
        os.close(self._hears)
        os.close(self._rings)


class Keeper:
    """Keeps the list in force, until told to stop."""

    def __init__(self, builder: CrlBuilder, *, bell: Bell, log: Log, look: float = LOOK_SECONDS) -> None:
        """Make a keeper. Call it inside the running event loop.

        Args:
            builder: builds.
            bell: rung when a list may be due.
            log: takes a line a list.
            look: seconds between two looks at the clock.
        """
        self._builder = builder
        self._bell = bell
        self._log = log
        self._look = look
        self._stopped = False

    async def run(self, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        """Build what is due now, say that it is there, then go on.

        Args:
            stop: set to stop.
            ready: called once there is a list in force.

        Raises:
            ColdrootError: the first list could not be made.
        """
        woken = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(self._bell.fileno(), self._heard, woken)
        stopping = asyncio.create_task(stop.wait())
        stopping.add_done_callback(lambda _: woken.set())
        try:
            await self._build_if_due(at_start=True)
            ready()
            while not stop.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(woken.wait(), self._look)
                woken.clear()
                begun = loop.time()
                if not stop.is_set():
                    await self._try()
                # A long list takes its time, and a storm of revocations asks for it again and again: half of the
                # time is left to the workers.
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), loop.time() - begun)
        finally:
            loop.remove_reader(self._bell.fileno())
            stopping.cancel()

    def _heard(self, woken: asyncio.Event) -> None:
        self._bell.clear()
        woken.set()

    async def _try(self) -> None:
        if self._stopped:
            return
        try:
            await self._build_if_due()
        except ColdrootError as error:
            # The next look tries again; the list in force stays until its end.
            self._log.event(f"the revocation list was not renewed: {error.code}: {error.message}")
            if isinstance(error, Fatal) and error.code.startswith("issue."):
                self._stopped = True
                self._log.event("no revocation list is made any more: start the node again when the cause is known")

    async def _build_if_due(self, *, at_start: bool = False) -> None:
        for attempt in range(_MOST_ATTEMPTS):
            if not await self._builder.is_due(at_start=at_start):
                return
            try:
                crl = await self._builder.build()
            except ColdrootError as error:
                if error.code != "crl.overtaken" or attempt == _MOST_ATTEMPTS - 1:
                    raise
                # Somebody else builds, too. Whoever is slower than the pause gives way, so that one of them is done.
                await asyncio.sleep(random.uniform(*_RETRY_SECONDS))  # noqa: S311 (no secret)
                continue
            self._log.event(
                f"revocation list {crl.number} published: {len(crl.der)} bytes,"
                f" in force until {rfc3339(crl.next_update)}"
            )
            return
