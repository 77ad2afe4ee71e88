"""Telling systemd how the service fares (sd_notify(3)): a datagram to the socket that it names, if it names one.

Invariant: nothing here ever fails or waits; a service without a service manager does not notice the difference.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress

_VARIABLE = "NOTIFY_SOCKET"


def notify(*assignments: str) -> None:
    """Send assignments such as ``READY=1``. Without a service manager, and on any failure, nothing happens.

    Args:
        assignments: ``NAME=VALUE`` each.
    """
    address = os.environ.get(_VARIABLE, "")
    # A path, or a name in Linux's abstract namespace, whose first byte is then NUL.
    if not address.startswith(("/", "@")):
        return
    target = f"\0{address[1:]}" if address.startswith("@") else address
    kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    with suppress(OSError), socket.socket(socket.AF_UNIX, kind) as out:
        out.sendto("\n".join(assignments).encode(), target)


class Watchdog:
    """Tells systemd that the service is alive, as often as it wants to hear it (``WatchdogSec=``)."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Read what systemd wants, once.

        Args:
            monotonic: seconds on a clock that never steps.
        """
        self._monotonic = monotonic
        self._every = _wanted_seconds() / 3
        self._next = float("-inf")

    def beat(self) -> float:
        """Send a sign of life when one is due.

        Returns:
            Seconds until the next is due; infinite when nobody listens.
        """
        if self._every <= 0:
            return float("inf")
        now = self._monotonic()
        if now >= self._next:
            notify("WATCHDOG=1")
            self._next = now + self._every
        return self._next - now


def _wanted_seconds() -> float:
    """Return the longest silence that systemd accepts from this process; 0 for any."""
    microseconds, process = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if process != str(os.getpid()) or not (microseconds.isascii() and microseconds.isdigit()):
        return 0.0
    return int(microseconds) / 1e6
