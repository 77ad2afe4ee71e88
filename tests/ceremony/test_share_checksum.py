"""Where a mistyped share is probably wrong: a number, found by the checksum, and nothing that the words do not say."""

from __future__ import annotations

import inspect
import random

import pytest
from fakes.randomness import seeded
from shamir_mnemonic.wordlist import WORDLIST

from ceremony import share_checksum
from ceremony.secret import CeremonySecret
from ceremony.share_checksum import suspects
from ceremony.shares import one_group, split

SHARES = split(CeremonySecret(value=seeded(7)(32)), shape=one_group(threshold=2, count=3), rng=seeded(8)).shares
WORDS = list(SHARES[1].words)


@pytest.mark.parametrize("place", range(33))
def test_the_wrong_word_is_named(place: int) -> None:
    """A custodian who must compare 33 words again makes the next mistake; a wrong number would be worse still."""
    drawn = random.Random(place)  # noqa: S311 (a test's choice)
    for word in drawn.sample(WORDLIST, 12):
        if word != WORDS[place]:
            assert suspects([*WORDS[:place], word, *WORDS[place + 1 :]]) == (place + 1,)


def test_words_that_changed_places_are_named() -> None:
    """Reading across the columns instead of down is the commonest mistake that is not a typing mistake."""
    for first, second in ((0, 1), (4, 5), (11, 22), (31, 32)):
        words = list(WORDS)
        words[first], words[second] = words[second], words[first]
        assert suspects(words) == (first + 1, second + 1)


def test_with_two_wrong_words_nothing_is_guessed() -> None:
    """A number that is only a guess would send people to change a right word."""
    drawn = random.Random(1)  # noqa: S311 (a test's choice)
    for _ in range(60):
        words = list(WORDS)
        for place in drawn.sample(range(33), drawn.choice((2, 3, 5))):
            words[place] = drawn.choice([word for word in WORDLIST if word != words[place]])
        assert suspects(words) == ()


def test_what_is_no_share_at_all_is_not_guessed_at() -> None:
    """Unknown words, a valid share and too few words have no wrong place to name, and must not fail."""
    assert suspects(["zebra", *WORDS[1:]]) == ()
    assert suspects(WORDS) == ()
    assert suspects(WORDS[:-1]) == ()
    assert suspects([]) == ()


def test_a_number_is_worked_out_from_the_typed_words_alone() -> None:
    """Whoever finds half a sheet must learn nothing here: no commitment, set or other share may be in reach."""
    assert list(inspect.signature(suspects).parameters) == ["words"]
    source = inspect.getsource(share_checksum)
    assert "commitment" not in source.split('"""', 2)[2]
    assert all(isinstance(number, int) for number in suspects([WORDLIST[0], *WORDS[1:]]))
