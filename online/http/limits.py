"""What one client may cost a worker in bytes and seconds, whichever layer reads what it sends."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes in bytes, times in seconds."""

    body: int = 1 << 20
    """Of the content, and of a chunked body as it is sent."""
    request_line: int = 4 << 10
    # A renewal token brings two or three certificates; with long RSA keys they fill most of this.
    header: int = 16 << 10
    headers: int = 64
    head: int = 40 << 10
    """The request line and all headers together."""
    ahead: int = 64 << 10
    """What is kept of further requests while one is answered; the client is not read from beyond that."""
    idle: float = 15.0
    """From the connection (or the last answer) to the end of the next request's headers."""
    receive: float = 15.0
    """From the end of the headers to the end of the body."""
    answer: float = 30.0
    """For the handler: an HSM or a database that hangs must not hold the caller for ever. As long again for a client
    that reads slowly."""
    linger: float = 2.0
    """For reading on after a refusal, so that the caller sees the answer and not a reset."""
    connections: int = 4096
    """A process; when all are taken, the one that has been idle longest goes."""
