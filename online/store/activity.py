"""How many clients a worker is serving at this moment: the one fact that tells whether company is about to come."""

from __future__ import annotations

from types import TracebackType


class Activity:
    """Counts clients from the first byte of a TLS handshake, or of a request, to its end.

    A store that writes several rows at once holds a row back only while somebody is there who may bring another.
    Whoever serves clients enters it for each of them, as a ``with`` block or by hand; one worker has one, and only
    its event loop changes it.
    """

    __slots__ = ("count",)

    def __init__(self) -> None:
        """Begin with nobody."""
        self.count = 0
        """How many are served now."""

    def __enter__(self) -> None:
        """Count one more."""
        self.count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Count one less."""
        self.count -= 1
