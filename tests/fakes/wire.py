"""A layer of HTTP without a socket: bytes in, bytes out, and a handler that repeats how it understood a request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from online.api import Request, Response
from online.api.messages import json_response
from online.http import Desk, HttpServer, Layer, Limits, make_server

_TURNS = 40
"""Of the event loop, after which whatever was sent has been dealt with."""


class Wire(asyncio.Transport):
    """A transport whose other end is the test."""

    def __init__(self) -> None:
        """Begin with nothing written."""
        super().__init__()
        self.written = bytearray()
        self.closed = False
        self.reading = True

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Keep what is written before the end."""
        if not self.closed:
            self.written += data

    def close(self) -> None:
        """End."""
        self.closed = True

    def abort(self) -> None:
        """End."""
        self.closed = True

    def is_closing(self) -> bool:
        """Whether it has ended."""
        return self.closed

    def can_write_eof(self) -> bool:
        """As with TLS, one direction alone cannot end."""
        return False

    def pause_reading(self) -> None:
        """Note that no more is wanted for now."""
        self.reading = False

    def resume_reading(self) -> None:
        """Note that more is wanted."""
        self.reading = True

    def is_reading(self) -> bool:
        """Whether more is wanted."""
        return self.reading

    def get_write_buffer_size(self) -> int:
        """Nothing waits."""
        return 0


@dataclass(frozen=True, kw_only=True)
class Said:
    """One answer."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def understood(self) -> object:
        """How the handler understood the request; ``None`` for a refusal of the layer."""
        return json.loads(self.body).get("understood") if self.body else None


class Mirror:
    """A handler that answers with what it was asked; below ``/slow`` only after some turns of the loop."""

    def request_id(self, headers: Mapping[str, str]) -> str:
        """Take the caller's."""
        return headers.get("x-request-id") or "none"

    def begin(self, request: Request) -> Response | Coroutine[Any, Any, Response]:
        """Answer."""
        understood = [request.method, request.path, request.query, request.body.hex(), request.headers.get("host")]
        response = json_response(200, {"understood": understood})
        return self._later(response) if request.path.startswith("/slow") else response

    async def _later(self, response: Response) -> Response:
        for _ in range(3):
            await asyncio.sleep(0)
        return response


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """What came back."""

    raw: bytes
    answers: tuple[Said, ...]
    closed: bool
    """Whether the server ended the connection."""

    @property
    def statuses(self) -> list[int]:
        """Of the answers."""
        return [each.status for each in self.answers]

    @property
    def served(self) -> list[object]:
        """How the requests were understood that reached the handler."""
        return [each.understood for each in self.answers if each.understood is not None]


def layer_of(layer: Layer, limits: Limits | None = None) -> HttpServer:
    """Return a layer in front of a mirror. Call it inside the running event loop."""
    return make_server(layer, Desk(Mirror(), None), limits)


async def converse(server: HttpServer, pieces: Iterable[bytes]) -> Conversation:
    """Send bytes over one connection, each piece by itself, and return what has come back when nothing moves."""
    wire = Wire()
    protocol = server()
    assert isinstance(protocol, asyncio.Protocol)
    protocol.connection_made(wire)
    for piece in pieces:
        await _settle(3)
        if wire.closed:
            break
        protocol.data_received(piece)
    await _settle(_TURNS)
    closed = wire.closed
    protocol.connection_lost(None)
    await _settle(3)
    raw = bytes(wire.written)
    return Conversation(raw=raw, answers=tuple(parse_answers(raw)), closed=closed)


def parse_answers(raw: bytes, *, head_only: bool = False) -> Iterable[Said]:
    """Take apart the answers on a connection; nothing may stand between two."""
    while raw:
        head, end, raw = raw.partition(b"\r\n\r\n")
        assert end, "an answer is not complete"
        first, *lines = head.decode("ascii").split("\r\n")
        version, status, _ = first.split(" ", 2)
        assert version in {"HTTP/1.1", "HTTP/1.0"}
        if status == "100":
            continue
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = 0 if head_only else int(headers.get("content-length", "0"))
        assert len(raw) >= length, "an answer is not complete"
        yield Said(status=int(status), headers=headers, body=raw[:length])
        raw = raw[length:]


async def _settle(turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
