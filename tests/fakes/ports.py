"""Ports for servers that must know theirs before they listen.

The kernel gives port 0 and every outgoing connection a port of its ephemeral range. A port of that range that was
free a moment ago may so be taken, a moment later, by a connection of whatever runs beside the test. The ports given
here lie below that range, where only those who name a port go.
"""

from __future__ import annotations

import random
import socket
from pathlib import Path

_LOWEST = 10_000
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_TRIES = 200


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on and that the kernel gives to nobody by itself."""
    end = int(_EPHEMERAL.read_text().split()[0]) if _EPHEMERAL.exists() else 32_768
    # Each process draws for itself: Hypothesis and xdist seed the global generator alike in all of them.
    draw = random.SystemRandom()
    for _ in range(_TRIES):
        port = draw.randrange(_LOWEST, end) if end > _LOWEST else 0
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            found: int = tried.getsockname()[1]
            return found
    raise AssertionError(f"no free port below {end} after {_TRIES} tries")
