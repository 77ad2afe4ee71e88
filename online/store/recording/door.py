"""How a worker gets a line to the recorder, whichever process that is at the moment.

The parent makes the door before it forks, so it has no name that a stranger could find. A worker makes a pair of
sockets and hands one of them through; it waits at the door until there is somebody to take it.
"""

from __future__ import annotations

import socket
from contextlib import suppress


class Door:
    """One for all processes of a node."""

    def __init__(self) -> None:
        """Make a door, before anything is forked."""
        self._inside, self._outside = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for each in (self._inside, self._outside):
            each.setblocking(False)

    def knock(self) -> socket.socket | None:
        """Hand one end of a new line through the door and return the other; ``None`` when it cannot be done now."""
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError:
            return None
        with theirs:
            ours.setblocking(False)
            try:
                socket.send_fds(self._outside, [b"\0"], [theirs.fileno()])
            except OSError:
                # Too many wait already, and nobody takes them.
                ours.close()
                return None
        return ours

    def fileno(self) -> int:
        """Return what is readable when somebody has knocked."""
        return self._inside.fileno()

    def answer(self) -> socket.socket | None:
        """Take a line that somebody handed through; ``None`` when there is none."""
        with suppress(OSError):
            _, descriptors, _, _ = socket.recv_fds(self._inside, 1, 1, socket.MSG_CMSG_CLOEXEC)
            if descriptors:
                line = socket.socket(fileno=descriptors[0])
                line.setblocking(False)
                return line
        return None

    def close(self) -> None:
        """Let go of it."""
        self._inside.close()
        self._outside.close()
