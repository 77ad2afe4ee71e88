"""TLS on a plain asyncio transport: a protocol to what is below, a transport to what is above.

Invariants:

* the protocol above exists only once the handshake is done; what it reads was decrypted, whole and in order;
* what waits to be sent is bounded: when the peer does not read, the protocol above is told to pause, a large answer is
  encrypted piece by piece, and a protocol that does not pause loses its connection; so does a peer that reads nothing
  for too long;
* an alert, and the last bytes of an answer, reach the peer: the sending side is closed first, and what still arrives
  is read and dropped, for a while. A socket that is closed with unread bytes would answer with a reset, which destroys
  what is on its way;
* when the connection is gone, nothing here refers to the TLS library's objects any more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, cast

from cryptography import x509

from online.engine.machine import Machine
from online.engine.refusals import HandshakeRefused, Refusal
from shared.errors import PeerFailed
from shared.pem import load_certificate_der

if TYPE_CHECKING:
    from online.engine.acceptor import Acceptor

# Four records: what a socket takes at once.
_PIECE = 64 << 10
# As Go's servers say it to a client that took the port for plain HTTP; in TLS it could not be read.
_HTTPS_WANTED = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 25\r\n"
    b"Connection: close\r\n\r\nThis port speaks HTTPS.\r\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes in bytes, times in seconds."""

    handshake: float = 10.0
    """From the connection to the end of its handshake."""
    handshakes: int = 1024
    """At one time, a process; a further one displaces the one that has lasted longest."""
    received: int = 64 << 10
    """What a client may send before its handshake is done; its certificate's chain is nearly all of that."""
    close: float = 2.0
    """For the peer to close after our close_notify or alert."""
    stall: float = 30.0
    """For a peer that reads nothing while there is something for it to read."""
    waiting: int = 1 << 20
    """What a protocol may add to what waits already, though it was told to pause."""


class _State(Enum):
    SHAKING = auto()
    OPEN = auto()
    CLOSING = auto()
    """The protocol above has closed, or the handshake was refused: nothing is read any more."""
    LOST = auto()


class TlsTransport(asyncio.Transport, asyncio.Protocol):
    """One TLS connection, on the server's side."""

    __slots__ = (
        "__weakref__", "_above", "_acceptor", "_below", "_ended", "_finished", "_full", "_machine", "_paused", "_peer",
        "_peer_known", "_received", "_state", "_stopped", "_waiting", "_waiting_size",
    )  # fmt: skip

    def __init__(self, acceptor: Acceptor) -> None:
        """Wait for the connection.

        Args:
            acceptor: of the connection.
        """
        super().__init__()
        self._acceptor = acceptor
        self._machine: Machine | None = acceptor.context.machine()
        self._below: asyncio.Transport | None = None
        self._above: asyncio.Protocol | None = None
        self._state = _State.SHAKING
        self._received = 0
        # Whether the protocol above wants nothing to read.
        self._paused = False
        # Whether the transport below wants nothing to write.
        self._full = False
        # Whether the protocol above was told to pause.
        self._stopped = False
        # Whether the peer has closed its sending side.
        self._ended = False
        # Whether our last words are said.
        self._finished = False
        # What waits to be encrypted until the transport below has room.
        self._waiting: deque[bytes | memoryview] = deque()
        self._waiting_size = 0
        self._peer: x509.Certificate | None = None
        self._peer_known = False

    # The transport's face: for the protocol above.

    @property
    def remote(self) -> str:
        """The address at the other end."""
        name = self.get_extra_info("peername")
        return str(name[0]) if isinstance(name, tuple) else "-"

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Tell something about the connection: ``peer_certificate``, or what the transport below knows.

        Raises:
            RequestRejected: the peer's certificate was verified and cannot be read all the same.
        """
        if name == "peer_certificate":
            return self._peer_certificate()
        if name == "sslcontext":
            # Protocols look whether there is one, and into it never.
            return self._acceptor.context
        return default if self._below is None else self._below.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Put another protocol above."""
        assert isinstance(protocol, asyncio.Protocol)
        self._above = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol above; there is one from the end of the handshake to the end of the connection."""
        assert self._above is not None
        return self._above

    def is_closing(self) -> bool:
        """Tell whether nothing can be written any more."""
        return self._state is not _State.OPEN

    def is_reading(self) -> bool:
        """Tell whether the protocol above gets what arrives."""
        return self._state is _State.OPEN and not self._paused

    def pause_reading(self) -> None:
        """Keep what arrives from the protocol above, and soon from being read at all."""
        if self._state is _State.OPEN and not self._paused and self._below is not None:
            self._paused = True
            self._below.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading: first what was received but not decrypted."""
        if self._paused:
            self._paused = False
            self._acceptor.loop.call_soon(self._read_on)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send, or keep until there is room."""
        if self._state is not _State.OPEN or not data:
            return
        # Whatever may change under our hands is copied.
        piece = data if isinstance(data, bytes) else bytes(data)
        if not self._full:
            self._send(piece)
        elif self._waiting and self._waiting_size + len(piece) > self._acceptor.limits.waiting:
            self.abort()
        else:
            self._waiting.append(piece)
            self._waiting_size += len(piece)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Send several pieces, small ones as one record."""
        pieces = list(list_of_data)
        if sum(map(len, pieces)) <= _PIECE:
            self.write(b"".join(pieces))
            return
        for piece in pieces:
            self.write(piece)

    def can_write_eof(self) -> bool:
        """Tell that TLS is closed in both directions at once, as HTTP does it."""
        return False

    def get_write_buffer_size(self) -> int:
        """Return how much waits, here and below."""
        return self._waiting_size + (0 if self._below is None else self._below.get_write_buffer_size())

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return when the protocol above is told to pause and to go on."""
        return (0, 0) if self._below is None else self._below.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set when the protocol above is told to pause and to go on."""
        if self._below is not None:
            self._below.set_write_buffer_limits(high, low)

    def close(self) -> None:
        """Send what waits, say close_notify, wait a moment for the peer to close, and close."""
        if self._state is _State.OPEN:
            self._state = _State.CLOSING
            if not self._waiting:
                self._finish()

    def abort(self) -> None:
        """Close at once; whatever waits is lost."""
        if self._below is not None and self._state is not _State.LOST:
            # Not the client's doing: a handshake that ends so is none that was refused.
            self._state = _State.CLOSING
            self._below.abort()

    # The protocol's face: for the transport below.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake, as soon as the client does."""
        # uvloop's transports are no subclass of asyncio's.
        self._below = cast("asyncio.Transport", transport)
        self._acceptor.entered(self)

    def data_received(self, data: bytes) -> None:
        """Take in bytes of TLS."""
        if self._state is _State.SHAKING:
            self._shake(data)
        elif self._state is _State.OPEN and not self._ended:
            assert self._machine is not None
            self._machine.receive(data)
            self._read()

    def eof_received(self) -> bool:
        """Take in that the peer sends no more. Return whether we close by ourselves."""
        if self._state is _State.OPEN:
            # Without close_notify it may have been cut short by anybody; HTTP's own framing tells (RFC 9112 §9.8).
            self._end()
            return True
        self._ended = True
        # An answer that is still being sent is sent to its end.
        return self._state is _State.CLOSING and not self._finished

    def pause_writing(self) -> None:
        """Stop sending until the transport below has room."""
        self._full = True
        self._acceptor.stalled.begin(self)
        self._stop_above()

    def resume_writing(self) -> None:
        """Go on sending."""
        self._full = False
        self._acceptor.stalled.end(self)
        while self._waiting and not self._full and self._state in {_State.OPEN, _State.CLOSING}:
            piece = self._waiting.popleft()
            self._waiting_size -= len(piece)
            self._send(piece)
        if self._full or self._waiting:
            return
        if self._state is _State.CLOSING and not self._finished:
            self._finish()
        elif self._state is _State.OPEN and self._above is not None and self._stopped:
            self._stopped = False
            self._above.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything."""
        above, state = self._above, self._state
        self._state = _State.LOST
        if state is _State.SHAKING and self._received:
            # A probe that only looks whether the port is open has sent nothing, and is worth no line.
            self._acceptor.refused(self, Refusal.GONE, "")
        self._acceptor.forget(self)
        self._machine = self._above = None
        self._waiting.clear()
        self._waiting_size = 0
        if above is not None:
            above.connection_lost(exc)

    # The handshake.

    def handshake_late(self) -> None:
        """End a handshake that takes too long."""
        self._give_up(Refusal.TIMEOUT)

    def crowd_out(self) -> None:
        """End a handshake to make room for another one."""
        self._give_up(Refusal.CROWDED)

    def _shake(self, data: bytes) -> None:
        assert self._machine is not None
        room = self._acceptor.limits.received - self._received
        self._received += len(data)
        self._machine.receive(data if len(data) <= room else data[:room])
        try:
            done = self._machine.shake()
        except HandshakeRefused as refused:
            self._refuse(refused)
            return
        self._send_urgent()
        if not done:
            if len(data) >= room:
                self._give_up(Refusal.TOO_LARGE)
            return
        if len(data) > room:
            # Content that came along with the end of the handshake is not counted.
            self._machine.receive(data[room:])
        self._open()

    def _open(self) -> None:
        self._state = _State.OPEN
        self._acceptor.shaking.end(self)
        above = self._acceptor.factory()
        assert isinstance(above, asyncio.Protocol)
        self._above = above
        above.connection_made(self)
        if self._full:
            self._stop_above()
        self._read()

    def _refuse(self, refused: HandshakeRefused) -> None:
        """Refuse, and have the client learn why."""
        self._state = _State.CLOSING
        self._acceptor.refused(self, refused.refusal, refused.detail)
        self._flush()
        if refused.refusal is Refusal.PLAIN_HTTP and self._below is not None:
            self._below.write(_HTTPS_WANTED)
        self._linger()

    def _give_up(self, refusal: Refusal) -> None:
        """Refuse a client that has had its chance."""
        self._state = _State.CLOSING
        self._acceptor.refused(self, refusal, "")
        self.abort()

    # Reading and writing.

    def _read_on(self) -> None:
        self._read()
        if not self._paused and self._below is not None and self._state is _State.OPEN and not self._ended:
            self._below.resume_reading()

    def _read(self) -> None:
        """Hand what was received to the protocol above, record by record, until it wants no more."""
        while self._state is _State.OPEN and not (self._paused or self._ended):
            assert self._machine is not None
            assert self._above is not None
            try:
                data = self._machine.read()
            except PeerFailed:
                self._break()
                return
            if data:
                self._above.data_received(data)
            elif data is None:
                self._send_urgent()
                return
            else:
                self._end()

    def _end(self) -> None:
        """Tell the protocol above that the peer sends no more; unless it wants to answer still, close."""
        if not self._ended and self._above is not None:
            self._ended = True
            if not self._above.eof_received():
                self.close()

    def _break(self) -> None:
        """End a connection whose TLS is broken, with the alert that says so."""
        self._state = _State.CLOSING
        self._waiting.clear()
        self._waiting_size = 0
        self._finished = True
        self._flush()
        self._linger()

    def _stop_above(self) -> None:
        if self._above is not None and self._state is _State.OPEN and not self._stopped:
            self._stopped = True
            self._above.pause_writing()

    def _send(self, data: bytes | memoryview) -> None:
        """Encrypt and send as much as there is room for; the rest is put in front of what waits."""
        if self._machine is None or self._below is None:
            return
        try:
            if len(data) <= _PIECE:
                self._machine.write(data)
                self._below.write(self._machine.take())
                return
            rest = memoryview(data)
            while rest and not self._full:
                self._machine.write(rest[:_PIECE])
                self._below.write(self._machine.take())
                rest = rest[_PIECE:]
        except PeerFailed:
            self.abort()
            return
        if rest:
            self._waiting.appendleft(rest)
            self._waiting_size += len(rest)

    def _send_urgent(self) -> None:
        """Send what TLS itself has to say, if the peer waits for it."""
        if self._machine is not None and self._below is not None:
            data = self._machine.urgent()
            if data:
                self._below.write(data)

    def _flush(self) -> None:
        """Send what TLS itself has to say."""
        if self._machine is not None and self._below is not None:
            data = self._machine.take()
            if data:
                self._below.write(data)

    def _finish(self) -> None:
        """Say our last words: everything is sent."""
        self._finished = True
        if self._machine is not None:
            self._machine.close()
        self._flush()
        self._linger()

    def _linger(self) -> None:
        """Close the sending side, and read on for a while, so that no reset overtakes what was sent."""
        self._finished = True
        below = self._below
        if below is None:
            return
        if self._ended:
            below.close()
            return
        self._acceptor.lingers(self)
        # The peer may be gone already; then the transport below says so in its next turn.
        with suppress(OSError, RuntimeError):
            below.write_eof()
        if self._paused:
            self._paused = False
            with suppress(RuntimeError):
                below.resume_reading()

    def _peer_certificate(self) -> x509.Certificate | None:
        if not self._peer_known and self._machine is not None:
            der = self._machine.peer_der()
            self._peer = None if der is None else load_certificate_der(der, what="client certificate")
            self._peer_known = True
        return self._peer
