"""Fountain parts: the published vectors, decoding under loss, and parts that do not belong together."""

from __future__ import annotations

import dataclasses
import random

import pytest
from fakes.ur_vectors import VECTORS, published_message
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.crossing import cbor
from shared.crossing.fountain import (
    LARGEST_MESSAGE_BYTES,
    MOST_FRAGMENTS,
    FountainDecoder,
    FountainEncoder,
    Part,
    decode_part,
    fragment_length,
)
from shared.crossing.mixing import choose_fragments
from shared.errors import RequestRejected


def decode(parts: list[Part]) -> bytes:
    """Decode parts that suffice."""
    decoder = FountainDecoder(parts[0])
    for part in parts:
        decoder.add(part)
    return decoder.result()


def test_published_parts() -> None:
    """Pure and mixed parts must be the published ones byte for byte, or other readers cannot use them."""
    encoder = FountainEncoder(published_message(256), max_fragment=30)
    assert [encoder.part(number).encode().hex() for number in range(1, 21)] == VECTORS["parts_of_256_bytes"]


def test_published_mixed_parts_decode() -> None:
    """Without two of the pure parts the published mixed ones must fill the gap."""
    parts = [decode_part(bytes.fromhex(text)) for text in VECTORS["parts_of_256_bytes"]]
    assert decode(parts[2:]) == published_message(256)


@pytest.mark.parametrize(("message", "largest", "expected"), [(12345, 1955, 1764), (12345, 30000, 12345)])
def test_published_fragment_lengths(message: int, largest: int, expected: int) -> None:
    """Uneven fragments would make one QR code denser than it has to be."""
    assert fragment_length(message, largest) == expected


@given(st.integers(1, 70000), st.integers(10, 2000))
def test_fragments_are_as_few_as_can_be(message: int, largest: int) -> None:
    """One fragment too many is one QR code too many on paper."""
    length = fragment_length(message, largest)
    assert length <= largest
    assert -(-message // length) == -(-message // largest)


@settings(max_examples=60)
@given(st.binary(min_size=1, max_size=3000), st.integers(10, 400), st.randoms(use_true_random=False))
def test_any_order_with_repetitions(message: bytes, largest: int, chance: random.Random) -> None:
    """Images come in the order of a file manager, and some of them twice."""
    encoder = FountainEncoder(message, max_fragment=largest)
    parts = [encoder.part(number) for number in range(1, encoder.fragment_count + 1)]
    parts += chance.choices(parts, k=3)
    chance.shuffle(parts)
    assert decode(parts) == message


@settings(max_examples=60)
@given(
    st.binary(min_size=1, max_size=3000),
    st.integers(20, 400),
    st.floats(0, 0.7),
    st.randoms(use_true_random=False),
)
def test_losses(message: bytes, largest: int, loss: float, chance: random.Random) -> None:
    """A camera that misses frames of a running screen must get the message from later ones, without a second round."""
    encoder = FountainEncoder(message, max_fragment=largest)
    decoder = FountainDecoder(encoder.part(1))
    number = 0
    while decoder.missing():
        number += 1
        assert number < 60 + 40 * encoder.fragment_count
        if chance.random() >= loss:
            decoder.add(encoder.part(number))
    assert decoder.result() == message


@settings(max_examples=40)
@given(st.integers(2, 24), st.randoms(use_true_random=False))
def test_decodes_as_soon_as_the_equations_suffice(count: int, chance: random.Random) -> None:
    """A decoder that only reduces pairs stops short of what was received; an independent rank count is the judge."""
    message = chance.randbytes(count * 10)
    encoder = FountainEncoder(message, max_fragment=10)
    parts = [encoder.part(number) for number in chance.sample(range(1, count * 6), k=count * 2)]
    decoder = FountainDecoder(parts[0])
    for part in parts:
        decoder.add(part)
    # The rank over GF(2) by the textbook: a basis of masks with distinct highest bits.
    basis: list[int] = []
    for mask in (_mask(part) for part in parts):
        left = mask
        for row in basis:
            left = min(left, left ^ row)
        if left:
            basis.append(left)
            basis.sort(reverse=True)
    assert (not decoder.missing()) == (len(basis) == count)


def _mask(part: Part) -> int:
    return sum(1 << index for index in choose_fragments(part.sequence, part.fragment_count, part.checksum))


def test_missing_parts_are_named() -> None:
    """Who photographs twelve sheets must learn which one is missing."""
    encoder = FountainEncoder(bytes(range(50)), max_fragment=10)
    decoder = FountainDecoder(encoder.part(1))
    assert decoder.missing() == (1, 2, 3, 4, 5)
    for number in (1, 3, 5):
        decoder.add(encoder.part(number))
    assert decoder.missing() == (2, 4)
    with pytest.raises(RequestRejected, match=r"^frames 2 and 4 of 5 are missing$") as caught:
        decoder.result()
    assert caught.value.code == "frame.missing"
    decoder.add(encoder.part(4))
    with pytest.raises(RequestRejected, match=r"^frame 2 of 5 is missing$"):
        decoder.result()


@pytest.mark.parametrize(
    "other",
    [
        FountainEncoder(b"another message, of the same length", max_fragment=12),
        FountainEncoder(b"a message of another length", max_fragment=12),
        FountainEncoder(b"a message, cut into three fragments", max_fragment=10),
    ],
    ids=["checksum", "length", "count"],
)
def test_part_of_another_message_is_refused(other: FountainEncoder) -> None:
    """Two sets of sheets on one desk must not be mixed into a third message, nor spoil the one begun."""
    message = b"a message, cut into three fragments"
    encoder = FountainEncoder(message, max_fragment=12)
    decoder = FountainDecoder(encoder.part(1))
    decoder.add(encoder.part(1))
    with pytest.raises(RequestRejected, match="frame 2 belongs to another message") as caught:
        decoder.add(other.part(2))
    assert caught.value.code == "frame.foreign"
    decoder.add(encoder.part(2))
    decoder.add(encoder.part(3))
    assert decoder.result() == message


def test_part_of_another_fragment_length_is_refused() -> None:
    """Equal numbers leave room for another fragment length; XOR of unequal lengths would shift the content."""
    encoder = FountainEncoder(bytes(25), max_fragment=13)
    part = encoder.part(2)
    decoder = FountainDecoder(part)
    longer = dataclasses.replace(part, content=part.content + b"\0")
    with pytest.raises(RequestRejected, match="another message"):
        decoder.add(longer)


def test_contradicting_parts_are_refused() -> None:
    """A tampered copy of a frame, its own checksum repaired, must not be dropped or win in silence."""
    encoder = FountainEncoder(bytes(range(40)), max_fragment=10)
    decoder = FountainDecoder(encoder.part(1))
    decoder.add(encoder.part(1))
    with pytest.raises(RequestRejected, match="frame 1 contradicts") as caught:
        decoder.add(dataclasses.replace(encoder.part(1), content=bytes(10)))
    assert caught.value.code == "frame.contradicts"


def test_tampered_part_fails_the_whole() -> None:
    """If the tampered copy is the only one, the checksum of the whole message has to catch it."""
    encoder = FountainEncoder(bytes(range(20)), max_fragment=10)
    decoder = FountainDecoder(encoder.part(1))
    decoder.add(dataclasses.replace(encoder.part(1), content=bytes(10)))
    decoder.add(encoder.part(2))
    with pytest.raises(RequestRejected, match="checksum of the whole") as caught:
        decoder.result()
    assert caught.value.code == "frame.damaged"


def test_decoder_holds_no_more_than_the_message() -> None:
    """Somebody who feeds frames without end must not fill the memory."""
    encoder = FountainEncoder(bytes(100), max_fragment=10)
    decoder = FountainDecoder(encoder.part(11))
    for number in range(11, 400):
        decoder.add(encoder.part(number))
    assert len(decoder._rows) <= 10


def _encoded(*numbers: int, content: bytes) -> bytes:
    return cbor.array_head(5) + b"".join(map(cbor.unsigned, numbers)) + cbor.byte_string(content)


@pytest.mark.parametrize(
    ("numbers", "content", "code"),
    [
        ((1, MOST_FRAGMENTS + 1, MOST_FRAGMENTS + 1, 0), b"x", "frame.too-large"),
        ((1, 1, LARGEST_MESSAGE_BYTES + 1, 0), b"x", "frame.too-large"),
        ((1, (1 << 64) - 1, (1 << 64) - 1, 0), b"x", "frame.too-large"),
        ((0, 2, 20, 0), bytes(10), "frame.malformed"),
        ((1 << 32, 2, 20, 0), bytes(10), "frame.malformed"),
        ((1, 0, 20, 0), bytes(10), "frame.malformed"),
        ((1, 2, 0, 0), bytes(10), "frame.malformed"),
        ((1, 2, 20, 1 << 32), bytes(10), "frame.malformed"),
        ((1, 2, 21, 0), bytes(10), "frame.malformed"),  # the fragments are too short for the message
        ((1, 3, 20, 0), bytes(10), "frame.malformed"),  # a whole fragment too many
        ((1, 2, 20, 0), b"", "frame.malformed"),
    ],
)
def test_hostile_numbers_are_refused(numbers: tuple[int, ...], content: bytes, code: str) -> None:
    """A frame that announces four billion fragments must not be believed before memory is spent on it."""
    with pytest.raises(RequestRejected) as caught:
        decode_part(_encoded(*numbers, content=content))
    assert caught.value.code == code


@given(st.binary(max_size=60))
def test_junk_ends_in_our_error(data: bytes) -> None:
    """Any bytes can come out of a QR code."""
    try:
        part = decode_part(data)
    except RequestRejected:
        return
    assert part.encode() == data


def test_message_too_large_to_send_is_refused() -> None:
    """A sender that makes frames no receiver of ours accepts would be found out only across the gap."""
    with pytest.raises(RequestRejected, match="do not cross as frames"):
        FountainEncoder(bytes(LARGEST_MESSAGE_BYTES + 1), max_fragment=2000)
    with pytest.raises(RequestRejected, match="do not cross as frames"):
        FountainEncoder(bytes(10 * MOST_FRAGMENTS + 1), max_fragment=10)


def test_programming_errors_are_not_user_errors() -> None:
    """An empty message or a one-byte fragment is a caller's slip, not something to tell a user about."""
    with pytest.raises(ValueError, match="not empty"):
        FountainEncoder(b"", max_fragment=30)
    with pytest.raises(ValueError, match="at least"):
        FountainEncoder(b"x", max_fragment=9)
