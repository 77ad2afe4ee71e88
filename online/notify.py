"""Telling systemd how the service fares (sd_notify(3)): a datagram to the socket that it names, if it names one."""

from __future__ import annotations

import os
import socket
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
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
        out.sendto("\n".join(assignments).encode(), target)
