"""The CBOR subset: examples of RFC 8949 appendix A, and refusal of what is not deterministic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.crossing import cbor
from shared.errors import RequestRejected


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, "00"),
        (23, "17"),
        (24, "1818"),
        (100, "1864"),
        (1000, "1903e8"),
        (1000000, "1a000f4240"),
        (1000000000000, "1b000000e8d4a51000"),
        (18446744073709551615, "1bffffffffffffffff"),
    ],
)
def test_unsigned_examples_of_the_rfc(value: int, encoded: str) -> None:
    """Numbers in another form would be refused by strict readers (RFC 8949 appendix A)."""
    assert cbor.unsigned(value).hex() == encoded
    assert cbor.Reader(bytes.fromhex(encoded)).unsigned() == value


def test_byte_string_example_of_the_rfc() -> None:
    """RFC 8949 appendix A: h'01020304'."""
    assert cbor.byte_string(bytes([1, 2, 3, 4])).hex() == "4401020304"


def test_number_beyond_the_format_is_a_programming_error() -> None:
    """Silently cutting a number to 64 bits would corrupt a frame."""
    with pytest.raises(ValueError, match="2"):
        cbor.unsigned(1 << 64)


@given(st.binary(max_size=70000))
def test_byte_string_round_trip(content: bytes) -> None:
    """Every head width must be read as it is written."""
    reader = cbor.Reader(cbor.byte_string(content))
    assert reader.byte_string() == content
    reader.end()


@pytest.mark.parametrize(
    "encoded",
    [
        "",  # nothing
        "1801",  # 1 in two bytes
        "190018",  # 24 in three
        "1c",  # reserved width
        "1f",  # indefinite
        "20",  # a negative number
        "40",  # a byte string
        "19ff",  # cut short
    ],
)
def test_number_not_in_deterministic_form_is_refused(encoded: str) -> None:
    """Two encodings of one value would make two frames of one part (RFC 8949 section 4.2.1)."""
    with pytest.raises(RequestRejected, match="not built as a UR frame"):
        cbor.Reader(bytes.fromhex(encoded)).unsigned()


@pytest.mark.parametrize("encoded", ["5f4101ff", "5bffffffffffffffff00", "4401", "6161"])
def test_byte_string_with_a_lying_head_is_refused(encoded: str) -> None:
    """A length of 2**64 must cost nothing and end in our own error."""
    with pytest.raises(RequestRejected):
        cbor.Reader(bytes.fromhex(encoded)).byte_string()


def test_array_length_and_the_end_are_checked() -> None:
    """Extra items or trailing bytes would be content that nobody looks at."""
    with pytest.raises(RequestRejected):
        cbor.Reader(cbor.array_head(6)).array_of(5)
    with pytest.raises(RequestRejected):
        cbor.Reader(b"\x00").end()
