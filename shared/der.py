"""Writing DER where no library writes it fast enough, and looking at its outline (ITU-T X.690).

Invariants: lengths are definite and minimal, integers are minimal, times have seconds and end with Z. ``outline``
reads one level of what was written before; it is for checking our own output, not for what strangers send.
"""

from __future__ import annotations

from datetime import UTC, datetime

from shared.errors import RequestRejected

INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
OBJECT_IDENTIFIER = 0x06
ENUMERATED = 0x0A
UTC_TIME = 0x17
GENERALIZED_TIME = 0x18
SEQUENCE = 0x30
EXPLICIT_0 = 0xA0
BOOLEAN_TRUE = bytes.fromhex("0101ff")

_SHORT = 0x80
# RFC 5280 §4.1.2.5: UTCTime through 2049, GeneralizedTime from 2050 on.
_FIRST_GENERALIZED_YEAR = 2050
_FIRST_UTC_YEAR = 1950


def tlv(tag: int, *contents: bytes) -> bytes:
    """Write one element.

    Args:
        tag: of one byte.
        contents: put together, they are the value.
    """
    size = sum(map(len, contents))
    if size < _SHORT:
        return b"".join((bytes((tag, size)), *contents))
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return b"".join((bytes((tag, _SHORT | len(length))), length, *contents))


def integer(value: int, *, tag: int = INTEGER) -> bytes:
    """Write a number that is not negative.

    Args:
        value: the number.
        tag: ``INTEGER`` or ``ENUMERATED``.
    """
    return tlv(tag, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def object_identifier(dotted: str) -> bytes:
    """Write an object identifier.

    Args:
        dotted: such as ``2.5.29.20``.
    """
    first, second, *others = map(int, dotted.split("."))
    return tlv(OBJECT_IDENTIFIER, *map(_base_128, (first * 40 + second, *others)))


def time(moment: datetime) -> bytes:
    """Write a moment as RFC 5280 §4.1.2.5 wants it: UTCTime through 2049, GeneralizedTime later.

    Args:
        moment: aware, from 1950 to 9999; a fraction of a second is dropped.
    """
    moment = moment.astimezone(UTC)
    if _FIRST_UTC_YEAR <= moment.year < _FIRST_GENERALIZED_YEAR:
        return tlv(UTC_TIME, moment.strftime("%y%m%d%H%M%SZ").encode("ascii"))
    return generalized_time(moment)


def generalized_time(moment: datetime) -> bytes:
    """Write a moment as GeneralizedTime.

    Args:
        moment: aware; a fraction of a second is dropped.
    """
    # strftime pads a year below 1000 on some systems only.
    shown = f"{moment.astimezone(UTC):%m%d%H%M%SZ}"
    return tlv(GENERALIZED_TIME, f"{moment.astimezone(UTC).year:04}{shown}".encode("ascii"))


def outline(encoded: bytes) -> tuple[tuple[int, bytes], ...]:
    """Return the tags and values of the elements inside one constructed element.

    Raises:
        RequestRejected: ``der.malformed``.
    """
    _, begin, end = _element(encoded, 0)
    if end != len(encoded):
        raise _malformed()
    found = []
    while begin < end:
        tag, inside, after = _element(encoded, begin)
        if after > end:
            raise _malformed()
        found.append((tag, encoded[inside:after]))
        begin = after
    return tuple(found)


def _base_128(number: int) -> bytes:
    octets = [number & 0x7F]
    while number := number >> 7:
        octets.append(number & 0x7F | _SHORT)
    return bytes(reversed(octets))


def _element(encoded: bytes, at: int) -> tuple[int, int, int]:
    """Return an element's tag, where its value begins, and where it ends."""
    head = encoded[at : at + 2]
    if len(head) != 2:  # noqa: PLR2004 (tag and first length byte)
        raise _malformed()
    tag, size = head
    begin = at + 2
    if size >= _SHORT:
        octets = encoded[begin : begin + size - _SHORT]
        size = int.from_bytes(octets, "big")
        begin += len(octets)
    if not begin <= begin + size <= len(encoded):
        raise _malformed()
    return tag, begin, begin + size


def _malformed() -> RequestRejected:
    return RequestRejected("der.malformed", "the encoding is broken")
