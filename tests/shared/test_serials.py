"""Serial numbers: unpredictable, of one length, read as step writes them."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import RequestRejected
from shared.serials import LARGEST_SERIAL, parse_serial, random_serial


@given(st.binary(min_size=16, max_size=16))
def test_length_never_depends_on_chance(drawn: bytes) -> None:
    """A serial that begins with a zero octet would change the length of a certificate, or turn negative."""
    serial = random_serial(lambda count: drawn[:count])
    assert serial.bit_length() == 127


def test_every_random_bit_is_used() -> None:
    """The incident of 2019: a fixed bit halves the entropy. Over 2000 serials each free bit is near one half."""
    drawn = [random_serial(os.urandom) for _ in range(2000)]
    assert len(set(drawn)) == 2000
    for bit in range(126):
        ones = sum(serial >> bit & 1 for serial in drawn)
        # Ten standard deviations (22.4) around 1000: chance alone never gets there.
        assert 776 < ones < 1224, bit


@pytest.mark.parametrize(("text", "serial"), [("1", 1), ("007", 7), ("0x1F", 31), ("0Xff", 255), (str(2**128), 2**128)])
def test_read_as_step_writes(text: str, serial: int) -> None:
    """A serial read in the wrong base would revoke somebody else's certificate, or nobody's."""
    assert parse_serial(text) == serial


@pytest.mark.parametrize(
    "text", ["", "0", "0x0", "-1", "+1", "ff", "0x", "1_000", " 1", "1 ", "١", str(LARGEST_SERIAL + 1), "1'; --"]
)
def test_nonsense_is_refused(text: str) -> None:
    """Whatever is not plainly a serial must not reach the store."""
    with pytest.raises(RequestRejected):
        parse_serial(text)
