"""One attempt to sign, renew, rekey or revoke: who vouched for it, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from online.metrics.meter import Meter
from shared.errors import Unauthenticated

# Each request runs in a context of its own, so the authority need not hand the name up through every error.
_voucher: ContextVar[str] = ContextVar("voucher", default="")
_TOKEN_ROOMS = ("token.", "renew-token.")


def vouched_by(provisioner: str) -> None:
    """Note the name of the provisioner that vouches for the request at hand, as soon as it is known."""
    _voucher.set(provisioner)


@contextmanager
def attempt(meter: Meter, family: str) -> Iterator[None]:
    """Count what happens in a ``with`` block: done, or refused, and why when a token was the reason.

    Args:
        meter: counts.
        family: as for ``Meter.operation``.
    """
    _voucher.set("")
    try:
        yield
    except Unauthenticated as error:
        if error.code.startswith(_TOKEN_ROOMS):
            meter.refused(error.code)
        meter.operation(family, _voucher.get(), success=False)
        raise
    except BaseException:
        # A request that was cut off counts too.
        meter.operation(family, _voucher.get(), success=False)
        raise
    meter.operation(family, _voucher.get(), success=True)
