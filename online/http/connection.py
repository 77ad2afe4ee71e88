"""One connection of the thin layer: a state machine between a transport, the reader of requests and the handler.

Invariants:

* one request is read and answered at a time; of what a client sends ahead, a bounded part is kept;
* in each phase something must happen until a moment, and one timer watches it: a client can neither stay silent nor
  read slowly for longer than the limits say, and a handler that hangs does not hold a client;
* a request that was refused for its form is the last one of its connection.
"""

from __future__ import annotations

import asyncio
import time
from enum import Enum
from typing import TYPE_CHECKING, cast

from cryptography import x509

from online.api import EdgeError, Request, Response, edge_response, internal_response, unavailable_response
from online.http.answer import CONTINUE
from online.http.desk import peer_certificate
from online.http.reader import Reader

if TYPE_CHECKING:
    from online.http.thin import ThinServer

_NEVER = float("inf")
# Refusals that a client may meet before it has sent all; it would not see the answer if the connection closed on it.
_STILL_SENDING = frozenset({413, 415, 417, 429, 431})


class Phase(Enum):
    """What a connection waits for."""

    HEAD = "the head of a request"
    BODY = "its body"
    ANSWER = "the handler"
    SENDING = "a client that reads slowly"
    LINGER = "a client that still sends what was refused"
    CLOSING = "the transport"
    CLOSED = "nothing"


class Connection(asyncio.Protocol):
    """Serves one client."""

    __slots__ = (
        "__weakref__",
        "_ahead",
        "_begun",
        "_deadline",
        "_ended",
        "_full",
        "_loop",
        "_path",
        "_peer",
        "_peer_known",
        "_phase",
        "_query",
        "_reader",
        "_reading",
        "_remote",
        "_request_id",
        "_server",
        "_task",
        "_timer",
        "_timer_at",
        "_transport",
        "served",
    )

    def __init__(self, server: ThinServer) -> None:
        """Wait for a transport.

        Args:
            server: whose connection it is.
        """
        self._server = server
        self._loop = server.loop
        self._phase = Phase.HEAD
        self._reader = Reader(server.limits)
        self._transport: asyncio.Transport | None = None
        self._remote = "-"
        self._peer: x509.Certificate | None = None
        self._peer_known = False
        self._request_id = ""
        self._path = "/"
        self._query = ""
        self._begun = 0.0
        self._ahead = b""
        self._reading = True
        self._full = False
        self._ended = False
        self._task: asyncio.Task[Response] | None = None
        self._deadline = self._timer_at = _NEVER
        self._timer: asyncio.TimerHandle | None = None
        self.served = False
        """Whether it had an answer already."""

    @property
    def busy(self) -> bool:
        """Whether a request is being read or answered."""
        return self._phase in {Phase.BODY, Phase.ANSWER, Phase.SENDING}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; with TLS, when the handshake is done."""
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        name = self._transport.get_extra_info("peername")
        if isinstance(name, tuple):
            self._remote = str(name[0])
        self._wait(Phase.HEAD, self._server.limits.idle)
        self._server.arrived(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End. A request that is being answered is finished, for it may have issued something."""
        del exc
        self._phase = Phase.CLOSED
        self._transport = None
        if self._task is None:
            self._forget_timer()
        self._ahead = b""
        self._reader.close()
        self._server.left(self)

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""
        phase = self._phase
        if phase is Phase.LINGER or phase is Phase.CLOSING:
            return
        if self._ahead or phase is Phase.ANSWER or phase is Phase.SENDING:
            self._ahead += data
            if len(self._ahead) > self._server.limits.ahead and self._reading and self._transport is not None:
                self._reading = False
                self._transport.pause_reading()
        else:
            self._read(data)

    def eof_received(self) -> bool:
        """Let a client that ends its side first have the answers that it waits for."""
        self._ended = self._phase is Phase.ANSWER or self._phase is Phase.SENDING or bool(self._ahead)
        return self._ended

    def pause_writing(self) -> None:
        """Note that the client does not read as fast as it is written to."""
        self._full = True

    def resume_writing(self) -> None:
        """Go on with the next request once the last answer is on its way."""
        self._full = False
        if self._phase is Phase.SENDING:
            self._next()

    def close(self) -> None:
        """Close; what was written is still sent."""
        if self._transport is not None and self._phase is not Phase.CLOSING:
            limits = self._server.limits
            self._wait(Phase.CLOSING, limits.answer if self._full else limits.linger)
            self._transport.close()

    def abort(self) -> None:
        """Close at once, and give up the request that is being answered."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._transport is not None:
            self._transport.abort()

    def _read(self, data: bytes) -> None:
        """Read on.

        1. The head, until it is complete. Then the request has begun: it is counted, and has an identifier.
        2. The body, until it is complete.
        3. The answer.
        """
        reader = self._reader
        try:
            # 1.
            if self._phase is Phase.HEAD:
                complete = reader.read_head(data)
                if not complete:
                    return
                self._begin()
                self._server.desk.check_rate(self._remote, self._path)
                data = reader.rest
            # 2.
            if not reader.read_body(data):
                if self._phase is Phase.HEAD:
                    self._await_body()
                return
            self._ahead = reader.rest
            # 3.
            if not self._peer_known:
                self._peer, self._peer_known = peer_certificate(self._transport), True
        except EdgeError as error:
            self._refuse(error)
            return
        self._answer()

    def _begin(self) -> None:
        reader = self._reader
        self._begun = time.monotonic()
        self._request_id = self._server.desk.handler.request_id(reader.headers)
        self._path, _, self._query = reader.target.partition("?")

    def _await_body(self) -> None:
        self._wait(Phase.BODY, self._server.limits.receive)
        if self._reader.wants_permission and self._transport is not None:
            self._transport.write(CONTINUE)

    def _answer(self) -> None:
        reader = self._reader
        request = Request(
            method=reader.method,
            path=self._path,
            query=self._query,
            headers=reader.headers,
            body=reader.body,
            peer=self._peer,
        )
        outcome = self._server.desk.handler.begin(request)
        if isinstance(outcome, Response):
            self._send(outcome)
            return
        self._wait(Phase.ANSWER, self._server.limits.answer)
        self._task = self._loop.create_task(outcome)
        # The loop itself holds tasks weakly.
        self._server.tasks.add(self._task)
        self._server.desk.activity.requests += 1
        self._task.add_done_callback(self._answered)

    def _answered(self, task: asyncio.Task[Response]) -> None:
        self._server.tasks.discard(task)
        self._server.desk.activity.requests -= 1
        if task.cancelled():
            response = unavailable_response("it was broken off")
        else:
            error = task.exception()
            response = task.result() if error is None else internal_response(error)
        if task is not self._task:
            # It was given up, and that has been answered and noted.
            return
        self._task = None
        if self._phase is Phase.ANSWER:
            self._send(response)
        else:
            self._forget_timer()
            self._note(response)

    def _send(self, response: Response, *, close: bool = False) -> None:
        """Send an answer, then read the next request or close."""
        last = self._server.draining or not self._reader.keep_alive or (self._ended and not self._ahead)
        if not self._write(response, close=close or last):
            self.close()
        elif self._full:
            self._wait(Phase.SENDING, self._server.limits.answer)
        else:
            self._next()

    def _write(self, response: Response, *, close: bool) -> bool:
        """Write an answer and note it. Return whether the connection goes on."""
        head_only = self._reader.method == "HEAD"
        try:
            data = self._server.writer.write(response, self._request_id, head_only=head_only, close=close)
        except ValueError as error:
            response, close = internal_response(error), True
            data = self._server.writer.write(response, self._request_id, head_only=head_only, close=close)
        if self._transport is not None:
            self._transport.write(data)
        self.served = True
        self._note(response)
        return not close

    def _note(self, response: Response) -> None:
        self._server.desk.served(
            remote=self._remote,
            request_id=self._request_id,
            method=self._reader.method,
            path=self._path,
            response=response,
            seconds=time.monotonic() - self._begun,
        )

    def _refuse(self, error: EdgeError) -> None:
        """Answer what is no request that can be served; nothing more is read as one."""
        if not self._request_id:
            self._begin()
        self._ahead = b""
        self._write(edge_response(error), close=True)
        if error.status not in _STILL_SENDING or self._reader.is_complete or self._transport is None:
            self.close()
            return
        self._wait(Phase.LINGER, self._server.limits.linger)
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def _next(self) -> None:
        self._reader.reset()
        self._request_id = ""
        self._wait(Phase.HEAD, self._server.limits.idle)
        self._server.rests(self)
        if self._ahead or not self._reading:
            # In a turn of its own: other connections come between two requests of one that sends many at once.
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        if self._phase is not Phase.HEAD or self._transport is None:
            return
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()
        data, self._ahead = self._ahead, b""
        self._read(data)

    def _wait(self, phase: Phase, seconds: float) -> None:
        """Enter a phase that may last so long."""
        self._phase = phase
        self._deadline = time.monotonic() + seconds
        # A timer that goes off early is set again then; so the usual request sets none.
        if self._deadline < self._timer_at:
            self._set_timer(seconds)

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self, seconds: float) -> None:
        self._forget_timer()
        self._timer_at = self._deadline
        self._timer = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        """Do what is to be done at the deadline of a phase, or wait on if it is a later one by now."""
        self._timer, self._timer_at = None, _NEVER
        left = self._deadline - time.monotonic()
        if left > 0:
            self._set_timer(left)
        elif self._phase is Phase.BODY:
            self._refuse(EdgeError(408, "The request was not received in time."))
        elif self._task is not None:
            self._give_up()
        elif self._phase is Phase.HEAD or self._phase is Phase.LINGER:
            self.close()
        else:
            self.abort()

    def _give_up(self) -> None:
        """Answer for a handler that does not, or end it when nobody waits for it any more."""
        assert self._task is not None
        self._task.cancel()
        self._task = None
        seconds = self._server.limits.answer
        self._send(unavailable_response(f"there was no outcome within {seconds:g} s"), close=True)
