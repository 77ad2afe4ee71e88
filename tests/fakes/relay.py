"""A relay between a client and a server that can be cut at the worst moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Self


class Relay:
    """Passes bytes on between 127.0.0.1 and a server."""

    def __init__(self, host: str, port: int) -> None:
        """Take the server."""
        self.cut_after = b""
        """Once the client has sent this, the server gets it, and the client no answer: its connection is cut."""
        self.port = 0
        self._server = (host, port)
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def to(cls, place: str) -> AsyncIterator[Self]:
        """Relay to ``host:port``, with or without a path behind it, for the length of an ``async with`` block."""
        host, _, port = place.partition("/")[0].rpartition(":")
        relay = cls(host, int(port))
        listening = await asyncio.start_server(relay._accept, "127.0.0.1", 0)
        relay.port = listening.sockets[0].getsockname()[1]
        try:
            yield relay
        finally:
            listening.close()
            await relay.cut()

    async def cut(self) -> None:
        """Cut all connections now."""
        for writer in tuple(self._writers):
            writer.transport.abort()
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        far_reader, far_writer = await asyncio.open_connection(*self._server)
        ends = {writer, far_writer}
        self._writers |= ends
        try:
            await asyncio.gather(self._forward(reader, far_writer, writer), self._back(far_reader, writer))
        finally:
            self._writers -= ends
            for each in ends:
                each.transport.abort()
                with suppress(OSError):
                    await each.wait_closed()
            self._tasks.discard(task)

    async def _forward(
        self, reader: asyncio.StreamReader, far: asyncio.StreamWriter, near: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                doomed = self.cut_after and self.cut_after in data
                if doomed:
                    self.cut_after = b""
                    near.transport.abort()
                far.write(data)
                await far.drain()
                if doomed:
                    # So that the server has time to read it before its own connection ends.
                    await asyncio.sleep(0.3)
        far.transport.close()

    @staticmethod
    async def _back(reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                near.write(data)
                await near.drain()
        near.transport.close()
