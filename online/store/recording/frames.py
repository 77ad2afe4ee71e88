"""What goes over a line: frames of a length and a value, in the notation that Python has for its own use.

Both ends are forked from one process, so they read and write the same; nothing of it is ever stored, or comes from
anywhere else.
"""

from __future__ import annotations

import marshal
import socket
import struct
from typing import Any

_LENGTH = struct.Struct("!I")


def frame(value: Any) -> bytes:
    """Write a value of numbers, texts, bytes and tuples as a frame."""
    content = marshal.dumps(value)
    return _LENGTH.pack(len(content)) + content


class Frames:
    """Reads frames from the pieces in which they arrive."""

    def __init__(self) -> None:
        """Begin with nothing."""
        # Grows in place: a frame of many pieces would be copied once for each of them.
        self._rest = bytearray()

    def receive(self, line: socket.socket, most: int) -> list[Any] | None:
        """Read from a line what is there, and return the values of the frames that it completes; ``None`` at its end.

        Args:
            line: does not block.
            most: bytes to read.
        """
        try:
            piece = line.recv(most)
        except BlockingIOError:
            return []
        except OSError:
            return None
        return self.read(piece) if piece else None

    def read(self, piece: bytes) -> list[Any]:
        """Take in a piece and return the values of the frames that it completes."""
        data = self._rest
        data += piece
        values, begin = [], 0
        while len(data) >= begin + _LENGTH.size:
            (length,) = _LENGTH.unpack_from(data, begin)
            content = begin + _LENGTH.size
            if len(data) < content + length:
                break
            begin = content + length
            values.append(marshal.loads(data[content:begin]))  # noqa: S302 (from our own fork)
        del data[:begin]
        return values
