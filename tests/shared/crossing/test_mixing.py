"""The arithmetic of mixing against the published vectors: one bit off, and only the pure frames would decode."""

from __future__ import annotations

import zlib

from fakes.ur_vectors import VECTORS, published_message
from hypothesis import given
from hypothesis import strategies as st

from shared.crossing.mixing import Sampler, Xoshiro256, choose_degree, choose_fragments, shuffled_prefix


def test_generator() -> None:
    """The generator decides all that follows."""
    expected = VECTORS["generator"]
    generator = Xoshiro256(b"Wolf")
    assert [generator.next() % 100 for _ in range(100)] == expected["wolf_modulo_100"]
    generator = Xoshiro256(zlib.crc32(b"Wolf").to_bytes(4, "big"))
    assert [generator.next() % 100 for _ in range(100)] == expected["wolf_crc32_modulo_100"]
    generator = Xoshiro256(b"Wolf")
    assert [generator.next_below(10) + 1 for _ in range(100)] == expected["wolf_from_1_to_10"]


def test_message_of_the_vectors() -> None:
    """The other vectors rest on this message; its checksum is published."""
    assert zlib.crc32(published_message(1024)) == 0x2F19F3BB
    assert published_message(10).hex() == "916ec65cf77cadf55cd7"


def test_sampler() -> None:
    """The order in which the alias table is filled is part of the specification."""
    generator = Xoshiro256(b"Wolf")
    sampler = Sampler([1, 2, 4, 8])
    expected = VECTORS["samples_of_1_2_4_8"]
    assert [sampler.draw(generator) for _ in expected] == expected


def test_sampler_totals() -> None:
    """The paper gives the totals of 500 draws, beyond the part of the sequence that the vectors keep."""
    generator = Xoshiro256(b"Wolf")
    sampler = Sampler([1, 2, 4, 8])
    drawn = [sampler.draw(generator) for _ in range(500)]
    assert [drawn.count(index) for index in range(4)] == [28, 68, 130, 274]


def test_shuffle() -> None:
    """Ten shuffles from one generator: each must take exactly the draws that the specification takes."""
    generator = Xoshiro256(b"Wolf")
    shuffles = [[index + 1 for index in shuffled_prefix(10, 10, generator)] for _ in range(10)]
    assert shuffles == VECTORS["shuffles_of_1_to_10"]


def test_degrees() -> None:
    """How many fragments are mixed, for two hundred seeds."""
    degrees = [choose_degree(11, Xoshiro256(f"Wolf-{nonce}".encode())) for nonce in range(1, 201)]
    assert degrees == VECTORS["degrees_of_11"]


def test_fragments() -> None:
    """Which fragments are mixed, for the first thirty frames of a message of eleven."""
    checksum = zlib.crc32(published_message(1024))
    chosen = [sorted(choose_fragments(sequence, 11, checksum)) for sequence in range(1, 31)]
    assert chosen == VECTORS["fragments_of_1024_bytes"]


@given(st.integers(1, (1 << 32) - 1), st.integers(1, 256), st.integers(0, (1 << 32) - 1))
def test_choice_stays_within_the_message(sequence: int, count: int, checksum: int) -> None:
    """Sequence and checksum come from a stranger's frame: no pair may choose nothing, or outside the message."""
    chosen = choose_fragments(sequence, count, checksum)
    assert chosen
    assert chosen <= set(range(count))


def test_largest_draw_stays_below_the_limit() -> None:
    """The largest 64-bit draws round up to 1.0, and an index one past the end would end in IndexError."""
    generator = Xoshiro256(b"")
    # A state whose next draw is 2**64 - 1: the draw is rotl(s1 * 5, 7) * 9, and both factors have inverses.
    word = 1 << 64
    before_nine = (word - 1) * pow(9, -1, word) % word
    before_turn = (before_nine >> 7 | before_nine << 57) % word
    generator._state[1] = before_turn * pow(5, -1, word) % word
    assert generator.next_below(10) == 9
