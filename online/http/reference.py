"""The layer over aiohttp: aiohttp parses, this module sets the limits. The thin layer is held against it.

Invariants (RFC 9112):

* a request whose framing or target two readers could understand differently is answered with 4xx, and its
  connection is closed: nothing that follows on it is ever read as a second request;
* a request line, its headers and its body each have a size and a deadline;
* every answer is complete JSON (or PEM) with a length, also to bytes that are no HTTP at all;
* the handler sees a client certificate only when the TLS engine verified it in this connection's handshake.
"""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import Coroutine, Mapping
from typing import Any

from aiohttp import HttpVersion10, HttpVersion11, web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.streams import StreamReader

from online.api import EdgeError, Request, Response, edge_response, internal_response, unavailable_response
from online.http.desk import Desk, peer_certificate
from online.http.limits import Limits

_DRAIN_LOOK_SECONDS = 0.02
_VERSIONS = (HttpVersion10, HttpVersion11)


class ReferenceServer(web.Server):
    """Makes one protocol a connection, and knows which of them are busy."""

    def __init__(self, desk: Desk, limits: Limits | None = None) -> None:
        """Make a layer. Call it inside the running event loop.

        Args:
            desk: answers and writes down.
            limits: sizes and deadlines.
        """
        self.limits = limits or Limits()
        super().__init__(
            self._answer,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=self.limits.idle,
            lingering_time=self.limits.linger,
            max_line_size=self.limits.request_line,
            max_field_size=self.limits.header,
            max_headers=self.limits.headers,
        )
        self._desk = desk
        # A protocol exists from the moment of accept(), its connection only from the end of the TLS handshake.
        self._handshaking: weakref.WeakSet[_Connection] = weakref.WeakSet()
        self._draining = False

    def __call__(self) -> web.RequestHandler:
        """Make the protocol of a connection that was just accepted."""
        connection = _Connection(
            self,
            loop=self._loop,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=self.limits.idle,
            lingering_time=self.limits.linger,
            max_line_size=self.limits.request_line,
            max_field_size=self.limits.header,
            max_headers=self.limits.headers,
        )
        self._handshaking.add(connection)
        return connection

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Count a connection whose handshake is done; make room for it when there is none."""
        assert isinstance(handler, _Connection)
        self._handshaking.discard(handler)
        super().connection_made(handler, transport)
        if len(self._connections) > self.limits.connections:
            idle = next((each for each in self.connections if not _is_busy(each)), handler)
            idle.force_close()

    async def drain(self, seconds: float, *, grace: float = 1.0) -> None:
        """Finish what clients have begun, then close. Accepting must have stopped.

        1. Connections that had an answer and wait for another request are closed.
        2. Connections that are still in the handshake, or have sent nothing yet, get a moment to send a request.
        3. Requests that have begun are answered; each answer says that the connection closes.
        4. What is left at the deadline is cut.

        Args:
            seconds: the deadline.
            grace: the moment, in seconds.
        """
        self._draining = True
        # A handshake that failed leaves its protocol to the garbage collector; it must not count as one in progress.
        gc.collect()
        deadline = time.monotonic() + seconds
        fresh_until = min(time.monotonic() + grace, deadline)
        while time.monotonic() < (deadline if self._connections else fresh_until):
            if not self._connections and not self._handshaking:
                break
            for each in self.connections:
                assert isinstance(each, _Connection)
                if not each.busy and (each.served or time.monotonic() >= fresh_until):
                    each.force_close()
            await asyncio.sleep(_DRAIN_LOOK_SECONDS)
        cut = list(self._connections.values())
        # aiohttp takes 0 for "no limit".
        await self.shutdown(_DRAIN_LOOK_SECONDS)
        for transport in cut:
            transport.abort()
        await asyncio.sleep(_DRAIN_LOOK_SECONDS)

    def refuse(self, request: web.BaseRequest, error: BaseException | None) -> web.StreamResponse:
        """Answer what aiohttp could not parse (or, with an error of another kind, could not serve)."""
        if isinstance(error, LineTooLong) or _is_about(error, "Too many headers"):
            response = edge_response(EdgeError(431, "The request line or the headers are too large."))
        elif error is None or isinstance(error, HttpProcessingError):
            response = edge_response(EdgeError(400, "The request is not valid HTTP/1.1."))
        else:
            response = internal_response(error)
        return self._finish(request, response, self._desk.handler.request_id({}), time.monotonic(), close=True)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        begun = time.monotonic()
        request_id = self._desk.handler.request_id({name.lower(): value for name, value in request.headers.items()})
        assert isinstance(request.protocol, _Connection)
        request.protocol.busy = True
        try:
            self._desk.check_rate(request.remote or "", request.raw_path.partition("?")[0])
            _check_framing(request)
            headers = _single_headers(request)
            body = await self._receive(request)
            peer = peer_certificate(request.transport)
        except EdgeError as error:
            return self._finish(request, edge_response(error), request_id, begun, close=True)
        path, _, query = request.raw_path.partition("?")
        neutral = Request(method=request.method, path=path, query=query, headers=headers, body=body, peer=peer)
        try:
            with self._desk.activity:
                async with asyncio.timeout(self.limits.answer):
                    response = await _outcome(self._desk.handler.begin(neutral))
        except TimeoutError:
            response = unavailable_response(f"there was no outcome within {self.limits.answer:g} s")
        # HTTP/1.0 has no persistent connections of its own, and those that were added are read in several ways.
        close = self._draining or request.version < HttpVersion11
        return self._finish(request, response, request_id, begun, close=close)

    async def _receive(self, request: web.BaseRequest) -> bytes:
        """Read the body within its size and deadline."""
        length = request.content_length
        if length is not None and length > self.limits.body:
            raise EdgeError(413, "The request body is too large.")
        expectation = request.headers.get("Expect")
        if expectation is not None and request.version >= HttpVersion11:
            if expectation.lower() != "100-continue":
                raise EdgeError(417, "The expectation cannot be met.")
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            # The interim answer does not count as the beginning of the real one.
            request.writer.output_size = 0
        try:
            async with asyncio.timeout(self.limits.receive):
                return await _read(request.content, self.limits.body)
        except TimeoutError:
            raise EdgeError(408, "The request was not received in time.") from None
        except web.RequestPayloadError:
            raise EdgeError(400, "The request body is not valid HTTP/1.1.") from None

    def _finish(
        self, request: web.BaseRequest, response: Response, request_id: str, begun: float, *, close: bool
    ) -> web.Response:
        headers = {
            "Server": "coldroot",
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
            **response.headers,
            "X-Request-Id": request_id,
        }
        if request.version not in _VERSIONS:
            # aiohttp writes the caller's own version into the status line; what we speak is HTTP/1.1 (RFC 9110 §2.5).
            request._cache["version"] = HttpVersion11  # noqa: SLF001 (there is no other way to set it)
            close = True
        answer = web.Response(status=response.status, headers=headers, body=response.body)
        if close:
            answer.force_close()
        self._desk.served(
            remote=request.remote or "-",
            request_id=request_id,
            method=request.method,
            path=request.raw_path.partition("?")[0],
            response=response,
            seconds=time.monotonic() - begun,
        )
        return answer


class _Connection(web.RequestHandler):
    """aiohttp's protocol, with our answers in the place of its plain-text ones."""

    __slots__ = ("__weakref__", "busy", "served")

    def __init__(self, server: ReferenceServer, **settings: object) -> None:
        super().__init__(server, **settings)  # type: ignore[arg-type]
        self.busy = False
        """Whether a request is being read or answered."""
        self.served = False
        """Whether it had an answer already."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer bytes that are no HTTP request; aiohttp's own answer and its log line would not be ours."""
        del status, message
        assert isinstance(self._manager, ReferenceServer)
        return self._manager.refuse(request, exc)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send an answer; only then is the connection idle."""
        self.served = True
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self.busy = False

    def log_exception(self, *args: object, **kw: object) -> None:
        """Write nothing: an exception's text could hold what a caller sent."""


def _is_busy(connection: web.RequestHandler) -> bool:
    return isinstance(connection, _Connection) and connection.busy


def _is_about(error: BaseException | None, beginning: str) -> bool:
    return isinstance(error, HttpProcessingError) and error.message.startswith(beginning)


def _check_framing(request: web.BaseRequest) -> None:
    """Refuse what intermediaries and servers are known to read differently (request smuggling)."""
    headers = request.headers
    if request.version not in _VERSIONS:
        raise EdgeError(505, "The request must be HTTP/1.1.")
    if "Transfer-Encoding" in headers and ("Content-Length" in headers or request.version < (1, 1)):
        raise EdgeError(400, "Transfer-Encoding together with Content-Length or HTTP/1.0 is refused.")
    if [each.lower() for each in headers.getall("Transfer-Encoding", [])] not in ([], ["chunked"]):
        raise EdgeError(400, "The only transfer coding is chunked.")
    hosts = headers.getall("Host", [])
    if len(hosts) > 1 or (not hosts and request.version >= (1, 1)) or "" in hosts:
        raise EdgeError(400, "One Host header is wanted.")
    if "Upgrade" in headers:
        raise EdgeError(400, "No other protocol is offered.")
    if not request.raw_path.startswith("/"):
        raise EdgeError(400, "The request target must be a path.")
    if headers.get("Content-Encoding", "identity").lower() != "identity":
        raise EdgeError(415, "A compressed body is not accepted.")


def _single_headers(request: web.BaseRequest) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for name, value in request.headers.items():
        lower = name.lower()
        if lower in found and lower in {"authorization", "content-type", "content-length", "expect", "x-request-id"}:
            raise EdgeError(400, "A header is given twice that may be given once.")
        found.setdefault(lower, value)
    return found


async def _read(content: StreamReader, limit: int) -> bytes:
    body = bytearray()
    while not content.at_eof():
        body += await content.readany()
        if len(body) > limit:
            raise EdgeError(413, "The request body is too large.")
    return bytes(body)


async def _outcome(begun: Response | Coroutine[Any, Any, Response]) -> Response:
    return begun if isinstance(begun, Response) else await begun
