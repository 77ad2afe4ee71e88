"""Certificate serial numbers: drawn, written and read (RFC 5280 §4.1.2.2)."""

from __future__ import annotations

import re
from collections.abc import Callable

from shared.errors import RequestRejected

# RFC 5280 §4.1.2.2: at most 20 octets, positive.
LARGEST_SERIAL = (1 << 159) - 1
_BYTES = 16
_DECIMAL = re.compile(r"[0-9]{1,49}", re.ASCII)
_HEX = re.compile(r"0[xX][0-9a-fA-F]{1,40}", re.ASCII)


def random_serial(rng: Callable[[int], bytes]) -> int:
    """Draw a serial of 126 random bits and constant length.

    The two top bits are fixed to 01: the number is positive without a leading zero octet, and every serial
    has exactly 16 octets, so that a TBS length never depends on chance. The CA/B baseline asks for 64 bits.

    Args:
        rng: returns the asked number of random bytes, such as ``os.urandom``.
    """
    drawn = int.from_bytes(rng(_BYTES), "big")
    return drawn & ((1 << 126) - 1) | (1 << 126)


def parse_serial(text: str) -> int:
    """Read a serial in decimal, or in hexadecimal after ``0x``, as step writes and reads them.

    Raises:
        RequestRejected: ``serial.malformed``.
    """
    if _DECIMAL.fullmatch(text):
        serial = int(text)
    elif _HEX.fullmatch(text):
        serial = int(text, 16)
    else:
        serial = 0
    if not 0 < serial <= LARGEST_SERIAL:
        raise RequestRejected(
            "serial.malformed",
            f"{text[:64]!r} is not a valid serial number - use a base 10 representation"
            " or a base 16 representation with '0x' prefix",
        )
    return serial
