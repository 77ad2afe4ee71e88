"""Base64url: one text for one value, or tokens could be re-spelt around a single-use record."""

from __future__ import annotations

import base64
import itertools
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online.jose import b64
from shared.errors import RequestRejected

ALPHABET = string.ascii_letters + string.digits + "-_"


@given(st.binary(max_size=200))
def test_round_trip(data: bytes) -> None:
    """Whatever we write we must read, and it must be what others write."""
    text = b64.encode(data)
    assert text == base64.urlsafe_b64encode(data).decode().rstrip("=")
    assert b64.decode(text, what="text") == data


@given(st.text(max_size=12))
def test_only_one_spelling_of_each_value(text: str) -> None:
    """A second spelling of a value is a second token to whoever compares texts."""
    try:
        data = b64.decode(text, what="text")
    except RequestRejected:
        return
    assert b64.encode(data) == text


def test_every_end_is_read_or_refused() -> None:
    """The end is where one value has many spellings for lenient decoders: of each, one is good."""
    for whole in ("", "QUJD"):
        for end in map("".join, [*itertools.product(ALPHABET, repeat=2), *itertools.product("Qw", "-A_", ALPHABET)]):
            try:
                data = b64.decode(whole + end, what="text")
            except RequestRejected:
                data = b""
            lenient = base64.urlsafe_b64decode(whole + end + "=" * (-len(whole + end) % 4))
            assert (data == lenient) == (b64.encode(lenient) == whole + end)


@pytest.mark.parametrize("text", ["QQ==", "QQ=", "QR", "Q", "QQ ", " QQ", "Q\nQ", "+/+/", "QQ.", "ＱＱ", "QUJ\x00"])
def test_other_spellings_are_refused(text: str) -> None:
    """Padding, spaces, the other alphabet and stray bits are what lenient decoders take; none may pass."""
    with pytest.raises(RequestRejected) as caught:
        b64.decode(text, what="text")
    assert caught.value.code == "jose.base64url"
