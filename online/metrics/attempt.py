"""One attempt to sign, renew, rekey or revoke: who vouched for it, and how it ended."""

from __future__ import annotations

from contextvars import ContextVar
from types import TracebackType

from online.metrics.meter import Meter
from shared.errors import Unauthenticated

# Each request runs in a context of its own, so the authority need not hand the name up through every error.
_voucher: ContextVar[str] = ContextVar("voucher", default="")
_TOKEN_ROOMS = ("token.", "renew-token.")


def vouched_by(provisioner: str) -> None:
    """Note the name of the provisioner that vouches for the request at hand, as soon as it is known."""
    _voucher.set(provisioner)


class Attempt:
    """Counts what happens in a ``with`` block: done, or refused, and why when a token was the reason."""

    __slots__ = ("_family", "_meter")

    def __init__(self, meter: Meter, family: str) -> None:
        """Begin.

        Args:
            meter: counts.
            family: as for ``Meter.operation``.
        """
        self._meter = meter
        self._family = family

    def __enter__(self) -> None:
        """Forget who vouched for another request."""
        _voucher.set("")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Count. A request that was cut off counts too."""
        if isinstance(error, Unauthenticated) and error.code.startswith(_TOKEN_ROOMS):
            self._meter.refused(error.code)
        self._meter.operation(self._family, _voucher.get(), success=error is None)
