"""UR frames as text: the published vectors, round trips, and frames that are not ours or not whole."""

from __future__ import annotations

import random

import pytest
from fakes.ur_vectors import VECTORS, published_message
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.crossing import bytewords
from shared.crossing.ur import LONGEST_FRAME, Decoder, UrEncoder, encode_parts
from shared.errors import RequestRejected


def refusal(decoder: Decoder, frame: str) -> str:
    """Return the code with which a frame is refused."""
    with pytest.raises(RequestRejected) as caught:
        decoder.add(frame)
    return caught.value.code


def test_published_single_part() -> None:
    """A wallet, a phone app or any other UR reader has to understand our frames, and we theirs."""
    expected: str = VECTORS["single_ur_of_50_bytes"]
    assert encode_parts(published_message(50), max_fragment=1000) == (expected.upper(),)
    decoder = Decoder()
    decoder.add(expected)
    assert decoder.result() == published_message(50)


def test_published_series() -> None:
    """The nine pure frames, and eleven mixed ones after them."""
    encoder = UrEncoder(published_message(256), max_fragment=30)
    frames = [encoder.frame(number) for number in range(1, 21)]
    assert [frame.lower() for frame in frames] == VECTORS["urs_of_256_bytes"]
    assert encode_parts(published_message(256), max_fragment=30) == tuple(frames[:9])


def test_published_series_decodes_from_its_end() -> None:
    """Frames 3 to 20 without the first two: the mixed ones stand in."""
    decoder = Decoder()
    for frame in VECTORS["urs_of_256_bytes"][2:]:
        decoder.add(frame)
    assert decoder.result() == published_message(256)


@settings(max_examples=60)
@given(st.binary(max_size=2500), st.integers(10, 700), st.randoms(use_true_random=False))
def test_round_trip(payload: bytes, largest: int, chance: random.Random) -> None:
    """Whatever crosses must arrive, in any order and letter case."""
    frames = list(encode_parts(payload, max_fragment=max(largest, len(payload) // 200)))
    chance.shuffle(frames)
    decoder = Decoder()
    for frame in frames:
        assert frame == frame.upper()
        decoder.add(chance.choice([frame, frame.lower()]))
    assert decoder.missing() == ()
    assert decoder.result() == payload


def test_missing_frames_are_named() -> None:
    """A result without frame 2 must not exist, and the message must say 2."""
    frames = encode_parts(bytes(range(45)), max_fragment=10)
    decoder = Decoder()
    for frame in (frames[0], *frames[2:]):
        decoder.add(frame)
    assert decoder.missing() == (2,)
    with pytest.raises(RequestRejected, match=r"^frame 2 of 5 is missing$"):
        decoder.result()


def test_nothing_read_is_said_so() -> None:
    """An empty bundle would be the worst answer to an empty list of images."""
    decoder = Decoder()
    assert decoder.missing() == (1,)
    with pytest.raises(RequestRejected, match="no frame was read"):
        decoder.result()


def test_frames_of_two_messages_are_not_mixed() -> None:
    """Each combination of single and numbered frames of different messages is refused, and the first one survives."""
    single, other_single = (encode_parts(text, max_fragment=500)[0] for text in (b"one", b"two"))
    series, other_series = (encode_parts(text * 10, max_fragment=20) for text in (b"one", b"two"))
    decoder = Decoder()
    decoder.add(single)
    decoder.add(single)
    assert refusal(decoder, other_single) == "frame.foreign"
    assert refusal(decoder, series[0]) == "frame.foreign"
    assert decoder.result() == b"one"
    decoder = Decoder()
    for frame in series:
        decoder.add(frame)
    assert refusal(decoder, other_series[1]) == "frame.foreign"
    assert refusal(decoder, single) == "frame.foreign"
    assert decoder.result() == b"one" * 10


def test_a_frame_refused_first_leaves_no_trace() -> None:
    """A decoder that remembered a broken first frame would refuse the good ones as foreign."""
    frames = encode_parts(bytes(30), max_fragment=20)
    decoder = Decoder()
    assert refusal(decoder, frames[0].replace("1-2", "2-2")) == "frame.malformed"
    for frame in frames:
        decoder.add(frame)
    assert decoder.result() == bytes(30)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("", "frame.malformed"),
        ("hello", "frame.malformed"),
        ("https://example.test/", "frame.malformed"),
        ("ur:bytes/", "frame.malformed"),
        ("ur:bytes/0-3/aeae", "frame.malformed"),
        ("ur:bytes/1-0/aeae", "frame.malformed"),
        ("ur:bytes/01-3/aeae", "frame.malformed"),
        ("ur:bytes/1-3-4/aeae", "frame.malformed"),
        ("ur:bytes/99999999999-3/aeae", "frame.malformed"),
        ("ur:bytes/aeadaolazmjendeoti\n", "frame.malformed"),
        (" ur:bytes/aeadaolazmjendeoti", "frame.malformed"),
        ("ur:bytes/\u212a\u017f", "frame.malformed"),  # letters that become ASCII in lower case
        ("ur:bytes/" + "ae" * LONGEST_FRAME, "frame.malformed"),
        ("ur:seed/oyadgdstaslplabghydrpfmkbggufgludprfgmamdpwmox", "frame.foreign"),
        ("ur:bytes/aeadaolazmjendeowf", "frame.damaged"),
    ],
)
def test_other_texts_are_refused(frame: str, code: str) -> None:
    """A poster's QR code in the picture, a share sheet, or a crafted text must end in one clear error."""
    assert refusal(Decoder(), frame) == code


@pytest.mark.parametrize("content", [b"\x00", b"\x41", b"\x41xy", b"\x61x", b"\x58\x01x"])
def test_content_that_is_not_one_byte_string_is_refused(content: bytes) -> None:
    """The type says bytes: a number, a text, a cut string or trailing bytes are not that."""
    decoder = Decoder()
    decoder.add("ur:bytes/" + bytewords.encode(content))
    with pytest.raises(RequestRejected, match="not built as a UR frame"):
        decoder.result()


@given(st.text(max_size=60))
def test_junk_ends_in_our_error(text: str) -> None:
    """Any text can stand in a QR code; none may end in another exception than ours."""
    for frame in (text, f"ur:bytes/{text}", f"ur:bytes/1-2/{text}"):
        with pytest.raises(RequestRejected):
            Decoder().add(frame)
