"""The layers on real sockets: deadlines, slow and vanishing clients, and an end that drops nothing. Plain HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from online import loop
from online.api import Request, Response
from online.http import Desk, HttpServer, Layer, Limits, make_server

_HEAD = b" HTTP/1.1\r\nHost: a\r\n"
_LARGE = 1 << 23

layers = pytest.mark.parametrize("layer", Layer)


class Handler:
    """Answers at once, after a moment, with a lot, or never."""

    def __init__(self) -> None:
        """Begin."""
        self.ended: list[str] = []

    def request_id(self, headers: Mapping[str, str]) -> str:
        """Return something."""
        del headers
        return "id"

    def begin(self, request: Request) -> Response | Coroutine[Any, Any, Response]:
        """Answer by the path."""
        if request.path == "/large":
            return Response(status=200, body=bytes(_LARGE))
        if request.path == "/":
            return Response(status=200, body=b"now")
        if request.path == "/broken-off":
            return self._broken_off()
        return self._later(30.0 if request.path == "/never" else 0.2)

    async def _broken_off(self) -> Response:
        await asyncio.sleep(0)
        raise asyncio.CancelledError

    async def _later(self, seconds: float) -> Response:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        self.ended.append("done")
        return Response(status=200, body=b"later")


@asynccontextmanager
async def serving(layer: Layer, limits: Limits | None = None) -> AsyncIterator[tuple[HttpServer, Handler, int]]:
    """Serve on a free port."""
    handler = Handler()
    server = make_server(layer, Desk(handler, None), limits)
    accepting = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    try:
        yield server, handler, accepting.sockets[0].getsockname()[1]
    finally:
        accepting.close()
        await server.drain(0.5, grace=0.0)


async def ask(port: int, path: bytes, *, eof: bool = False) -> bytes:
    """Send one request, and return all that comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"GET " + path + _HEAD + b"Connection: close\r\n\r\n")
        if eof:
            writer.write_eof()
        return await asyncio.wait_for(reader.read(), 5.0)
    finally:
        writer.close()


@layers
async def test_a_handler_that_hangs_does_not_hold_its_caller(layer: Layer) -> None:
    """Without this, an HSM that no longer answers would look like a network that no longer does."""
    async with serving(layer, Limits(answer=0.2)) as (_, handler, port):
        answer = await ask(port, b"/never")
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: " in answer
        assert handler.ended == ["cancelled"]


async def test_a_handler_is_ended_at_its_deadline_also_when_its_caller_has_gone() -> None:
    """Without this, requests that hang could pile up behind callers who gave up."""
    async with serving(Layer.THIN, Limits(answer=0.3)) as (_, handler, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /never" + _HEAD + b"\r\n")
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.transport.abort()
        await asyncio.sleep(0.5)
        assert handler.ended == ["cancelled"]


async def test_a_request_that_is_broken_off_is_answered() -> None:
    """Without this, its client would wait for the deadline of an answer that nobody works at."""
    async with serving(Layer.THIN) as (_, _handler, port):
        assert (await ask(port, b"/broken-off")).startswith(b"HTTP/1.1 503 ")


async def test_a_client_that_does_not_read_is_cut() -> None:
    """Without this, a client could keep large answers in the node's memory for as long as it likes."""
    async with serving(Layer.THIN, Limits(answer=0.3)) as (_, _handler, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(b"GET /large" + _HEAD + b"\r\n")
        await asyncio.sleep(0.8)
        received = 0
        with pytest.raises(ConnectionResetError):
            while chunk := await asyncio.wait_for(reader.read(1 << 20), 5.0):
                received += len(chunk)
            raise ConnectionResetError
        assert received < _LARGE
        writer.close()


@layers
async def test_a_client_that_reads_gets_all_of_a_large_answer(layer: Layer) -> None:
    """Without this, a long revocation list could end in the middle."""
    async with serving(layer) as (_, _handler, port):
        answer = await ask(port, b"/large")
        assert len(answer.partition(b"\r\n\r\n")[2]) == _LARGE


async def test_a_client_that_has_no_more_to_send_gets_its_answer() -> None:
    """Without this, a client that ends its side after the request would never hear of its certificate."""
    async with serving(Layer.THIN) as (_, _handler, port):
        assert (await ask(port, b"/slow", eof=True)).endswith(b"later")


def test_the_loop_that_serves_makes_transports_that_serve() -> None:
    """Without this, the faster loop could bring transports that the thin layer does not take for any."""

    async def go() -> bytes:
        async with serving(Layer.THIN) as (_, _handler, port):
            return await ask(port, b"/slow", eof=True)

    assert loop.run(go()).endswith(b"later")


@layers
async def test_silence_ends_a_connection(layer: Layer) -> None:
    """Without this, clients that say nothing could use up the connections."""
    async with serving(layer, Limits(idle=0.2)) as (_, _handler, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await asyncio.wait_for(reader.read(), 5.0) == b""
        writer.close()


@layers
async def test_bytes_now_and_then_do_not_keep_a_connection(layer: Layer) -> None:
    """Without this, a client that sends a byte a second could hold a connection for as long as its headers are."""
    async with serving(layer, Limits(idle=0.3)) as (_, _handler, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        ended = asyncio.create_task(reader.read())
        for byte in b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 100:
            if ended.done():
                break
            writer.write(bytes([byte]))
            await asyncio.sleep(0.05)
        assert ended.done()
        assert await ended == b""
        writer.close()


@layers
async def test_what_was_begun_is_finished_and_what_is_idle_ends(layer: Layer) -> None:
    """Without this, a restart would cost clients their answers, or wait for those that want none."""
    async with serving(layer) as (server, handler, port):
        idle_reader, idle = await asyncio.open_connection("127.0.0.1", port)
        idle.write(b"GET /" + _HEAD + b"\r\n")
        await idle_reader.readuntil(b"now")
        begun = asyncio.create_task(ask(port, b"/slow"))
        await asyncio.sleep(0.1)
        draining = asyncio.create_task(server.drain(5.0, grace=0.05))
        assert await asyncio.wait_for(idle_reader.read(), 2.0) == b""
        answer = await begun
        assert answer.endswith(b"later")
        assert b"Connection: close" in answer
        await draining
        assert handler.ended == ["done"]
        idle.close()


@layers
async def test_what_never_ends_is_cut_at_the_deadline(layer: Layer) -> None:
    """Without this, one handler could keep a worker from ever ending."""
    async with serving(layer) as (server, handler, port):
        begun = asyncio.create_task(ask(port, b"/never"))
        await asyncio.sleep(0.1)
        await server.drain(0.2)
        with pytest.raises(ConnectionResetError):
            await begun
            raise ConnectionResetError
        assert handler.ended == ["cancelled"]
