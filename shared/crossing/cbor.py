"""The three kinds of CBOR item that a UR needs: unsigned integer, byte string, array head (RFC 8949).

Invariant: only the deterministic encoding is written and read (RFC 8949 section 4.2.1: shortest heads, definite
lengths), so one value has one encoding.
"""

from __future__ import annotations

from shared.errors import RequestRejected

_UNSIGNED, _BYTES, _ARRAY = 0, 2, 4
# A head's low five bits: a value below 24, or one of these with the bytes of value that follow (section 3).
_WIDTHS = {24: 1, 25: 2, 26: 4, 27: 8}
_FIRST_LONG = 24


def unsigned(value: int) -> bytes:
    """Encode an unsigned integer below 2**64."""
    return _head(_UNSIGNED, value)


def byte_string(content: bytes) -> bytes:
    """Encode a byte string."""
    return _head(_BYTES, len(content)) + content


def array_head(count: int) -> bytes:
    """Encode the head of an array of ``count`` items, which must follow."""
    return _head(_ARRAY, count)


class Reader:
    """Reads items one after the other from an encoding; each read raises ``frame.malformed`` when another stands there.

    Lengths are checked against what is there before anything is taken, so a hostile length costs nothing.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    def unsigned(self) -> int:
        """Read an unsigned integer.

        Raises:
            RequestRejected: ``frame.malformed``.
        """
        return self._read_head(_UNSIGNED)

    def byte_string(self) -> bytes:
        """Read a byte string.

        Raises:
            RequestRejected: ``frame.malformed``.
        """
        return self._take(self._read_head(_BYTES))

    def array_of(self, count: int) -> None:
        """Read the head of an array that must have ``count`` items.

        Raises:
            RequestRejected: ``frame.malformed``.
        """
        if self._read_head(_ARRAY) != count:
            raise _malformed()

    def end(self) -> None:
        """Insist that nothing is left.

        Raises:
            RequestRejected: ``frame.malformed``.
        """
        if self._place != len(self._data):
            raise _malformed()

    def _read_head(self, kind: int) -> int:
        first = self._take(1)[0]
        value = first & 0x1F
        if first >> 5 != kind:
            raise _malformed()
        if value < _FIRST_LONG:
            return value
        if value not in _WIDTHS:
            raise _malformed()
        value = int.from_bytes(self._take(_WIDTHS[value]), "big")
        if _head(kind, value)[0] != first:
            raise _malformed()
        return value

    def _take(self, count: int) -> bytes:
        taken = self._data[self._place : self._place + count]
        if len(taken) != count:
            raise _malformed()
        self._place += count
        return taken


def _head(kind: int, value: int) -> bytes:
    if value < _FIRST_LONG:
        return bytes([kind << 5 | value])
    for marker, width in _WIDTHS.items():
        if value < 1 << 8 * width:
            return bytes([kind << 5 | marker]) + value.to_bytes(width, "big")
    raise ValueError("a CBOR head holds less than 2**64")


def _malformed() -> RequestRejected:
    return RequestRejected("frame.malformed", "the frame is not built as a UR frame is (BCR-2020-005)")
