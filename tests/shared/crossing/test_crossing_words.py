"""The PGP word list: published examples, the lists' known properties, and what a listener's mistakes lead to."""

from __future__ import annotations

import hashlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.crossing import words
from shared.crossing.words import digest_words, parse_words
from shared.errors import RequestRejected

# A PGP fingerprint and its words, the example that descriptions of the list have used since PGP 5.
FINGERPRINT = "E58294F2E9A227486E8B061B31CC528FD7FA3F19"
SPOKEN = """
    topmost Istanbul Pluto vagabond treadmill Pacific brackish dictator goldfish Medusa
    afflict bravado chatter revolver Dupont midsummer stopwatch whimsical cowbell bottomless
"""

EVEN_SHA256 = "541ddf6f9cb42d5f68c504d3e73c9604e07cc9bc0c9f970ede363979f631aff8"
ODD_SHA256 = "da2f42899401481ae69b71da92f1f26abd36d0c1e457fd372a0f1e48d1f3f152"


def test_published_example() -> None:
    """A word list of our own making could not be compared with anybody else's tool."""
    assert digest_words(bytes.fromhex(FINGERPRINT)) == tuple(SPOKEN.split())
    assert parse_words(SPOKEN.split()) == bytes.fromhex(FINGERPRINT)


def test_second_published_example() -> None:
    """One example exercises few entries; this one comes from another implementation's tests."""
    spoken = (
        "atlas politeness ruffled almighty indoors adroitness ahead hemisphere "
        "reindeer recipe vapor revival virus caretaker ribcage glossary"
    )
    assert digest_words(bytes.fromhex("12b4b0057400076fa5c0f5cbf726ac65")) == tuple(spoken.split())


def test_lists_are_the_published_ones() -> None:
    """A slip of the pen in one of 512 words would show up in one ceremony out of a few, at the worst moment.

    The digests are of the lists as another project publishes them (magic-wormhole 0.24.0, ``_wordlist.py``), joined
    by spaces; the lists of IANA's ``sha2wordlist.h`` are the same.
    """
    assert hashlib.sha256(" ".join(words._EVEN).encode()).hexdigest() == EVEN_SHA256
    assert hashlib.sha256(" ".join(words._ODD).encode()).hexdigest() == ODD_SHA256


def test_known_properties() -> None:
    """The designers' promises: 256 words a list, all distinct, at most 9 and 11 letters, in alphabetical order."""
    even = [word.lower() for word in words._EVEN]
    odd = [word.lower() for word in words._ODD]
    assert len(even) == len(odd) == 256
    assert len({*even, *odd}) == 512
    assert max(map(len, even)) == 9
    assert max(map(len, odd)) == 11
    assert even == sorted(even)
    # The published odd list has one exception: "applicant" stands before "Apollo".
    assert [pair for pair in itertools.pairwise(odd) if pair[0] > pair[1]] == [("applicant", "apollo")]


def test_syllables() -> None:
    """A word in the wrong list would break the rhythm by which people notice a lost word.

    Groups of vowels are a rough count of syllables, wrong for some words; over a whole list it tells two from three.
    """

    def average(given_words: tuple[str, ...]) -> float:
        groups = [
            "".join("v" if letter in "aeiouy" else " " for letter in word.lower()).split() for word in given_words
        ]
        return sum(map(len, groups)) / len(groups)

    assert 1.9 < average(words._EVEN) < 2.4
    assert 2.9 < average(words._ODD) < 3.4


@given(st.binary(max_size=words.MOST_WORDS), st.booleans())
def test_round_trip(digest: bytes, shout: bool) -> None:
    """Words that do not lead back to their digest would make two equal digests look different."""
    spoken = [word.upper() if shout else word.lower() for word in digest_words(digest)]
    assert parse_words(spoken) == digest


def test_misspelt_word_is_named_by_its_number() -> None:
    """Somebody who typed twenty words must learn which one to look at, and nothing typed may be echoed."""
    spoken = SPOKEN.split()
    spoken[6] = "brakkish\x1b[2J"
    with pytest.raises(RequestRejected, match=r"^word 7 is in neither word list$") as caught:
        parse_words(spoken)
    assert caught.value.code == "words.unknown"


@pytest.mark.parametrize(
    ("edit", "number"),
    [
        (lambda spoken: [*spoken[:4], *spoken[5:]], 5),
        (lambda spoken: [*spoken[:4], spoken[3], *spoken[4:]], 5),
        (lambda spoken: [*spoken[:4], spoken[5], spoken[4], *spoken[6:]], 5),
    ],
    ids=["dropped", "doubled", "swapped"],
)
def test_dropped_doubled_and_swapped_words_are_noticed(edit: object, number: int) -> None:
    """These three mistakes are why there are two lists; a silent one would compare another digest."""
    assert callable(edit)
    with pytest.raises(RequestRejected, match=f"^word {number} is a word of the other list$") as caught:
        parse_words(edit(SPOKEN.split()))
    assert caught.value.code == "words.out-of-place"


def test_length_is_limited_both_ways() -> None:
    """Nobody reads a whole file out; a caller that passes one instead of its digest should hear of it."""
    for call in (lambda: digest_words(bytes(65)), lambda: parse_words(["aardvark"] * 65)):
        with pytest.raises(RequestRejected, match="65 words"):
            call()
