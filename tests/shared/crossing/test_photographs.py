"""How many bad photographs are still read: a number that must not fall, whichever part is exchanged."""

from __future__ import annotations

import collections
import hashlib

import pytest
from fakes.photographs import CONDITIONS, photograph
from fakes.ur_vectors import published_message

from shared.crossing import qr
from shared.crossing.decoding import decode_image

SIZES = (60, 200, 420, 690)
"""Payload bytes: codes from version 5 to the largest that we draw."""

LEAST_READ = 67
"""Of 76. The rest are mostly photographs that are worse than anybody would keep."""

ALWAYS_READ = set(CONDITIONS) - {
    "much blurred",
    "very noisy",
    "much tilted",
    "a third of the size",
    "on a curved page",
    "a bad photograph",
}
"""What an ordinary camera does to a code must cost nothing, whatever the code's size."""


def _codes() -> list[tuple[str, bytes]]:
    frames = [qr.frame_encoder(published_message(size)).frame(1) for size in SIZES]
    return [(frame, qr.draw_frame(frame)) for frame in frames]


def test_bad_photographs_are_read() -> None:
    """A change of decoder, of level or of size that halves the hits is seen by nobody on a clean picture."""
    read: collections.Counter[str] = collections.Counter()
    for number, (frame, png) in enumerate(_codes()):
        for condition in CONDITIONS:
            codes = decode_image(photograph(png, condition, seed=number)).codes
            # A code that is read as something else would be worse than one that is not read.
            assert codes in {(), (frame.encode(),)}, condition
            read[condition] += len(codes)
    assert {each for each in ALWAYS_READ if read[each] < len(SIZES)} == set(), read
    assert read.total() >= LEAST_READ, read


@pytest.mark.parametrize("condition", ["noisy", "a bad photograph"])
def test_the_photographs_are_the_same_each_time(condition: str) -> None:
    """A hit rate over other pictures each time would be no regression test."""
    _, png = _codes()[0]
    digests = {hashlib.sha256(photograph(png, condition, seed=1)).digest() for _ in range(2)}
    assert len(digests) == 1
