"""The DER writer, against the library's own encodings and against every odd length."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta, timezone

import pytest
from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.serialization import Encoding
from fakes.certificates import make_root
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import der
from shared.errors import RequestRejected


@given(st.integers(min_value=0, max_value=1 << 200))
@settings(max_examples=200)
def test_integers_are_minimal(number: int) -> None:
    """A leading zero octet too many, or one too few, makes a serial that other parsers refuse or take for negative."""
    assert der.integer(number) == asn1.encode_der(number)


@given(st.integers(min_value=0, max_value=70_000))
@settings(max_examples=60)
def test_lengths_are_minimal_and_found_again(size: int) -> None:
    """A length in the wrong form shifts everything behind it."""
    element = der.tlv(der.OCTET_STRING, bytes(size))
    assert element == asn1.encode_der(bytes(size))
    assert der.outline(der.tlv(der.SEQUENCE, element, element)) == ((der.OCTET_STRING, bytes(size)),) * 2


@given(
    st.integers(min_value=0, max_value=2),
    st.integers(min_value=0, max_value=39),
    st.lists(st.integers(min_value=0, max_value=1 << 40), max_size=8),
)
@settings(max_examples=100)
def test_object_identifiers(first: int, second: int, others: list[int]) -> None:
    """An extension under the wrong identifier is another extension."""
    dotted = ".".join(map(str, (first, second, *others)))
    assert der.object_identifier(dotted) == asn1.encode_der(x509.ObjectIdentifier(dotted))


@pytest.mark.parametrize(
    ("moment", "written"),
    [
        (datetime(2026, 11, 24, 6, 0, 0, 999_999, tzinfo=UTC), b"\x17\x0d261124060000Z"),
        (datetime(1950, 1, 1, tzinfo=UTC), b"\x17\x0d500101000000Z"),
        (datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC), b"\x17\x0d491231235959Z"),
        (datetime(2050, 1, 1, tzinfo=UTC), b"\x18\x0f20500101000000Z"),
        (datetime(1949, 12, 31, 23, 59, 59, tzinfo=UTC), b"\x18\x0f19491231235959Z"),
        (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), b"\x18\x0f99991231235959Z"),
        (datetime(2049, 12, 31, 23, tzinfo=timezone(timedelta(hours=-1))), b"\x18\x0f20500101000000Z"),
    ],
)
def test_times_are_in_the_form_of_their_century(moment: datetime, written: bytes) -> None:
    """A two-digit year of 2050 is 1950: such a list would have ended before it began."""
    assert der.time(moment) == written


def test_the_outline_of_a_certificate() -> None:
    """The lint looks at a list through it; it must see what is there."""
    root, _ = make_root()
    parts = der.outline(root.public_bytes(Encoding.DER))
    assert [tag for tag, _ in parts] == [der.SEQUENCE, der.SEQUENCE, der.BIT_STRING]


@given(st.binary(max_size=40))
@settings(max_examples=200)
def test_broken_encodings_are_refused(encoded: bytes) -> None:
    """Whatever is wrong, it is an error of ours and no endless loop."""
    with contextlib.suppress(RequestRejected):
        assert sum(len(value) for _, value in der.outline(encoded)) <= len(encoded)
