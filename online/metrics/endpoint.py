"""``GET /metrics`` on an address of its own, in plain HTTP: for Prometheus on the same machine.

Any worker answers for all of them. Nothing else is served here, no request is more than a line and its headers, and
nothing that comes in reaches the rest of the node.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from online.api import Request, Response
from online.api.routes import request_ids
from online.http import Desk, Layer, Limits, make_server
from online.metrics.board import Board, Page
from online.metrics.meter import Meter
from online.store.protocol import Census
from shared.errors import ColdrootError

_PUBLISH_SECONDS = 1.0
_CENSUS_SECONDS = 60.0
# With a million live certificates a census takes seconds, and each worker takes its own.
_CENSUS_PAUSES = 30
_DRAIN_SECONDS = 2.0
_LIMITS = Limits(body=1 << 10, header=4 << 10, head=16 << 10, connections=64)
_TEXT = {"Content-Type": "text/plain; charset=utf-8"}


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
    exposing = _Exposing(metering, meter, census=census, version=version)
    server = make_server(Layer.THIN, Desk(exposing, None), _LIMITS)
    accepting = await asyncio.get_running_loop().create_server(server, sock=metering.listener.dup())
    putting = asyncio.create_task(_put_up(metering.page, meter))
    try:
        yield
    finally:
        accepting.close()
        putting.cancel()
        with suppress(asyncio.CancelledError):
            await putting
        # Who has just connected is answered: a scrape that meets a reload is not lost.
        await server.drain(_DRAIN_SECONDS)
        metering.page.put(meter.tally)


class _Exposing:
    """Answers those who scrape."""

    def __init__(
        self, metering: Metering, meter: Meter, *, census: Callable[[], Awaitable[Census]], version: str
    ) -> None:
        self._metering = metering
        self._meter = meter
        self._memory = _Memory(census)
        self._version = version
        self._ids = request_ids()

    def request_id(self, headers: Mapping[str, str]) -> str:
        """Return a new identifier; nothing is logged here that a caller's own would be found in."""
        del headers
        return next(self._ids)

    def begin(self, request: Request) -> Response | Coroutine[Any, Any, Response]:
        """Answer ``GET /metrics``."""
        if request.path != "/metrics":
            return Response(status=404, headers=_TEXT, body=b"the numbers are at /metrics\n")
        if request.method not in {"GET", "HEAD"}:
            return Response(status=405, headers={"Allow": "GET, HEAD"})
        return self._expose(request.headers.get("accept", ""))

    async def _expose(self, accept: str) -> Response:
        # Part of a node's start and of its memory: for those only who want the numbers.
        from online.metrics.exposition import Picture, expose  # noqa: PLC0415

        self._metering.page.put(self._meter.tally)
        tally, workers = self._metering.board.total()
        picture = Picture(
            tally=tally,
            workers=workers,
            uptime=time.monotonic() - self._metering.begun,
            version=self._version,
            census=await self._memory.census(),
        )
        body, content_type = expose(picture, accept)
        return Response(status=200, headers={"Content-Type": content_type}, body=body)


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
        """Return the last census, which is a minute old at most, or more where it takes long.

        Returns:
            ``None`` when the store failed.
        """
        async with self._lock:
            begun = self._monotonic()
            if begun >= self._fresh_until:
                try:
                    self._census = await self._take()
                except ColdrootError:
                    self._census = None
                ended = self._monotonic()
                self._fresh_until = ended + max(_CENSUS_SECONDS, _CENSUS_PAUSES * (ended - begun))
        return self._census
