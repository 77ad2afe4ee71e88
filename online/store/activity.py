"""How many clients a worker is serving at this moment: the one fact that tells whether company is about to come."""

from __future__ import annotations

from collections.abc import Sized
from types import TracebackType

LARGEST_BATCH = 256
LINGER_SECONDS = 0.002
"""So long a write waits for company at most."""


class Activity:
    """Counts clients in a TLS handshake or in a request.

    A store that writes several rows at once holds a row back only while somebody is there who may bring another. A
    request is counted from the moment that it is complete, before anything is done for it: of those that arrive in one
    turn of the loop, the first to write then knows of the others. One worker has one, and its event loop changes it.
    """

    __slots__ = ("handshakes", "requests")

    def __init__(self) -> None:
        """Begin with nobody."""
        self.requests = 0
        """How many requests are being answered; also changed by a ``with`` block around each."""
        self.handshakes: Sized = ()
        """The connections that are in their handshake."""

    @property
    def count(self) -> int:
        """How many are served now."""
        return self.requests + len(self.handshakes)

    def is_complete(self, waiting: int) -> bool:
        """Tell whether so many waiting writes are a batch: nobody is left who could join, or there is no more room."""
        return waiting >= min(self.count, LARGEST_BATCH)

    def __enter__(self) -> None:
        """Count one request more."""
        self.requests += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Count one request less."""
        self.requests -= 1
