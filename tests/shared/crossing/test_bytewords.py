"""Bytewords: the published vectors, and what damaged letters lead to."""

from __future__ import annotations

import pytest
from fakes.ur_vectors import VECTORS
from hypothesis import given
from hypothesis import strategies as st

from shared.crossing import bytewords
from shared.errors import RequestRejected


@pytest.mark.parametrize("vector", VECTORS["bytewords"], ids=lambda vector: vector["minimal"][:8])
def test_published_vectors(vector: dict[str, str]) -> None:
    """Another alphabet or checksum than the published one would shut out every other reader of URs."""
    data = bytes.fromhex(vector["hex"])
    assert bytewords.encode(data) == vector["minimal"]
    assert bytewords.decode(vector["minimal"]) == data


def test_word_list_is_the_published_one() -> None:
    """The list of mid-2020 was reordered that October: eight entries differ, most messages would still decode."""
    assert tuple(" ".join(VECTORS["words_by_row"]).split()) == bytewords._WORDS


def test_word_list_properties() -> None:
    """The paper promises distinct first-and-last letter pairs; two alike would decode to the wrong byte."""
    assert len(bytewords._WORDS) == 256
    assert len(set(bytewords._PAIRS)) == 256
    assert list(bytewords._WORDS) == sorted(bytewords._WORDS)
    assert {len(word) for word in bytewords._WORDS} == {4}


@given(st.binary(min_size=1, max_size=300))
def test_round_trip(data: bytes) -> None:
    """What is encoded must come back."""
    assert bytewords.decode(bytewords.encode(data)) == data


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("aeadaolazmjendeot", "frame.malformed"),  # odd
        ("qqadaolazmjendeoti", "frame.malformed"),  # no such pair
        ("aeadaolazmjendeowf", "frame.damaged"),  # wrong checksum
        ("aeadaolazo", "frame.damaged"),
        ("aeaeaeae", "frame.damaged"),  # nothing but a checksum
        ("", "frame.damaged"),
    ],
)
def test_damaged_text_is_refused(text: str, code: str) -> None:
    """A frame that was read wrongly must be refused here, where it can still be named."""
    with pytest.raises(RequestRejected) as caught:
        bytewords.decode(text)
    assert caught.value.code == code


@given(st.binary(min_size=1, max_size=60), st.data())
def test_each_changed_letter_is_noticed(data: bytes, draw: st.DataObject) -> None:
    """CRC-32 finds every change of one byte; a codec that skipped the check would hand on damaged bytes."""
    text = bytewords.encode(data)
    place = draw.draw(st.integers(0, len(text) - 1))
    letter = draw.draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz").filter(lambda other: other != text[place]))
    with pytest.raises(RequestRejected):
        bytewords.decode(text[:place] + letter + text[place + 1 :])
