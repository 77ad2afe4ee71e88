"""``GET /metrics`` on an address of its own, in plain HTTP: for Prometheus on the same machine.

Any worker answers for all of them. Nothing else is served here, no request is more than a line and its headers, and
nothing that comes in reaches the rest of the node.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from online.metrics.board import Board, Page
from online.metrics.meter import Meter
from online.store.protocol import Census
from shared.errors import ColdrootError

if TYPE_CHECKING:
    from aiohttp import web

_PUBLISH_SECONDS = 1.0
_CENSUS_SECONDS = 60.0
_IDLE_SECONDS = 15.0
_LONGEST_LINE = 4 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Metering:
    """What a worker inherits from its parent."""

    listener: socket.socket
    """Bound and listening; it stays the parent's."""
    board: Board
    page: Page
    """The worker's own."""
    begun: float
    """Monotonic: when the node was started."""


@asynccontextmanager
async def publish(
    metering: Metering, meter: Meter, *, census: Callable[[], Awaitable[Census]], version: str
) -> AsyncIterator[None]:
    """Put the worker's numbers up, and answer for all workers, for the length of an ``async with`` block.

    Args:
        metering: from the parent.
        meter: of this worker.
        census: counts certificates in the store; asked at most once a minute.
        version: of the program.
    """
    # A quarter of a node's start, and a third of its memory: for those only who want the numbers.
    from aiohttp import web  # noqa: PLC0415

    from online.metrics.exposition import Picture, expose  # noqa: PLC0415

    memory = _Memory(census)

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.raw_path.partition("?")[0] != "/metrics":
            return web.Response(status=404, text="the numbers are at /metrics\n")
        if request.method not in {"GET", "HEAD"}:
            return web.Response(status=405, headers={"Allow": "GET, HEAD"})
        metering.page.put(meter.tally)
        tally, workers = metering.board.total()
        picture = Picture(
            tally=tally,
            workers=workers,
            uptime=time.monotonic() - metering.begun,
            version=version,
            census=await memory.census(),
        )
        body, content_type = expose(picture, request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type, "X-Content-Type-Options": "nosniff"})

    web_server = web.Server(
        answer,
        access_log=None,
        keepalive_timeout=_IDLE_SECONDS,
        max_line_size=_LONGEST_LINE,
        max_field_size=_LONGEST_LINE,
    )
    accepting = await asyncio.get_running_loop().create_server(web_server, sock=metering.listener.dup())
    putting = asyncio.create_task(_put_up(metering.page, meter))
    try:
        yield
    finally:
        accepting.close()
        putting.cancel()
        with suppress(asyncio.CancelledError):
            await putting
        await web_server.shutdown(0)
        metering.page.put(meter.tally)


async def _put_up(page: Page, meter: Meter) -> None:
    while True:
        if meter.changed:
            meter.changed = False
            page.put(meter.tally)
        await asyncio.sleep(_PUBLISH_SECONDS)


class _Memory:
    """The last census: counting reads many rows, and whoever may scrape must not be able to keep the disk busy."""

    def __init__(
        self, take: Callable[[], Awaitable[Census]], *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._take = take
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._census: Census | None = None
        self._fresh_until = float("-inf")

    async def census(self) -> Census | None:
        """Return the census of the last minute; ``None`` when the store failed."""
        async with self._lock:
            if self._monotonic() >= self._fresh_until:
                try:
                    self._census = await self._take()
                except ColdrootError:
                    self._census = None
                self._fresh_until = self._monotonic() + _CENSUS_SECONDS
        return self._census
