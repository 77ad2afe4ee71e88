"""Words of a share as people type them: forgiving in form, strict in substance, and never a hint at a word."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes.randomness import seeded
from hypothesis import given, settings
from hypothesis import strategies as st
from shamir_mnemonic import EncryptedMasterSecret, MnemonicError, combine_mnemonics, split_ems
from shamir_mnemonic.wordlist import WORDLIST

from ceremony.secret import CeremonySecret
from ceremony.share_words import (
    EnteredShare,
    decode_words,
    envelope,
    expand_word,
    parse_share,
    read_words_file,
    write_words_file,
)
from ceremony.shares import ShareSet, one_group, split
from shared.errors import RequestRejected

SECRET = CeremonySecret(value=seeded(7)(32))
VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "slip39.json").read_text(encoding="utf-8"))

MESSAGES = {
    "that is far too long for a share of # words",
    "a share has # words, not #",
    "word # is not in the word list",
    "the words do not fit together: at least one is wrong, or two have changed places",
    "the words do not fit together: word # is probably wrong",
    "the words do not fit together: words # and # have probably changed places",
    "the code is not that of a share sheet, or it was cut off",
    "the code is of version #, this program reads version #",
    "the code says share #, its words say share #",
}


def dealt() -> ShareSet:
    return split(SECRET, shape=one_group(threshold=3, count=5), rng=seeded(8))


WORDS = dealt().shares[1].words


def refused(text: str) -> RequestRejected:
    """Enter a text that must be refused, and check that the error tells nothing about any word."""
    with pytest.raises(RequestRejected) as caught:
        parse_share(text)
    error = caught.value
    # Apart from numbers, a message is one of a few fixed texts: it cannot quote or suggest a word.
    assert re.sub(r"[0-9]+", "#", error.message) in MESSAGES
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None
    return error


def test_words_of_the_list_are_told_apart_by_four_letters() -> None:
    """Prefix entry would pick a wrong word silently if two words shared their first four letters."""
    assert len(WORDLIST) == 1024
    assert len({word[:4] for word in WORDLIST}) == 1024
    assert min(len(word) for word in WORDLIST) == 4


@pytest.mark.parametrize(
    "text",
    [
        " ".join(WORDS),
        " ".join(WORDS).upper(),
        "\n\t ".join(word.title() for word in WORDS) + "\r\n",
        " ".join(word[:4] for word in WORDS),
        " ".join(word[:5].upper() for word in WORDS),
        envelope(dealt().shares[1], set_id=dealt().set_id),
        envelope(dealt().shares[1], set_id=dealt().set_id).lower(),
    ],
    ids=["plain", "upper case", "spaced", "four letters", "five letters", "qr", "qr in lower case"],
)
def test_form_does_not_matter(text: str) -> None:
    """A custodian must not fail over case, spacing or short forms."""
    entered = parse_share(text)
    assert entered.words == WORDS
    assert (entered.group, entered.member, entered.threshold, entered.place) == (1, 2, 3, "2")


def test_set_id_comes_from_the_code_only() -> None:
    """Words alone cannot carry the 128-bit set id; claiming one anyway would hide a mix-up."""
    assert parse_share(" ".join(WORDS)).set_id is None
    assert parse_share(envelope(dealt().shares[1], set_id=dealt().set_id)).set_id == dealt().set_id


def test_entered_share_is_silent() -> None:
    """A share that shows itself ends up in a log or a traceback."""
    shown = repr(parse_share(" ".join(WORDS))) + repr(dealt().shares[1]) + repr(dealt())
    assert not [word for word in WORDS if f"'{word}'" in shown]
    assert "value" not in shown


@settings(max_examples=60)
@given(place=st.integers(0, 32), typed=st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1))
def test_unknown_word_is_named_by_its_number(place: int, typed: str) -> None:
    """Without its number a mistyped word among 33 is hard to find."""
    if any(word.startswith(typed.lower()) for word in WORDLIST if len(typed) >= 4):
        return
    words = list(WORDS)
    words[place] = typed
    assert refused(" ".join(words)).code == "share.unknown-word"
    assert f"word {place + 1} " in refused(" ".join(words)).message


@pytest.mark.parametrize("typed", ["aca", "acadx", "academics", "académic", "academic,", "", "ac ademic"])
def test_nearly_a_word_is_no_word(typed: str) -> None:
    """Guessing what was meant would let a wrong share through, or help somebody who guesses."""
    with pytest.raises(RequestRejected) as caught:
        expand_word(typed, number=3)
    assert caught.value.message == "word 3 is not in the word list"


@pytest.mark.parametrize("count", [0, 1, 20, 32, 34, 66])
def test_wrong_count(count: int) -> None:
    """A dropped or doubled word is reported as such, not as a checksum riddle."""
    error = refused(" ".join((WORDS * 2)[:count]))
    assert error.code == "share.word-count"
    assert error.message == f"a share has 33 words, not {count}"


def test_flood_is_refused() -> None:
    """Somebody's wrong file pasted into the prompt must not be searched word by word."""
    assert refused("academic " * 1000).code == "share.word-count"


@settings(max_examples=60)
@given(place=st.integers(0, 32), other=st.sampled_from(WORDLIST))
def test_any_single_wrong_word_is_refused(place: int, other: str) -> None:
    """One wrong word that is in the list must be caught by the checksum."""
    if WORDS[place] == other:
        return
    words = [*WORDS[:place], other, *WORDS[place + 1 :]]
    error = refused(" ".join(words))
    assert error.code == "share.checksum"
    assert error.message.endswith(f": word {place + 1} is probably wrong")


def test_every_pair_of_swapped_words_is_refused() -> None:
    """Reading across the columns instead of down swaps words; all 528 swaps must be caught."""
    for first in range(33):
        for second in range(first + 1, 33):
            if WORDS[first] == WORDS[second]:
                continue
            words = list(WORDS)
            words[first], words[second] = words[second], words[first]
            error = refused(" ".join(words))
            assert error.code == "share.checksum"
            assert error.message.endswith(f": words {first + 1} and {second + 1} have probably changed places")


def _other_slip39(groups: list[tuple[int, int]], *, extendable: bool = True, exponent: int = 1) -> str:
    encrypted = EncryptedMasterSecret.from_master_secret(SECRET.value, b"", 5, extendable, exponent)
    return str(split_ems(1, groups, encrypted)[0][0].mnemonic())


@pytest.mark.parametrize(
    "text",
    [
        _other_slip39([(1, 1)]),
        _other_slip39([(1, 1), (2, 3)]),
        _other_slip39([(2, 3)], extendable=False),
        _other_slip39([(2, 3)], exponent=2),
    ],
    ids=["never split", "enough alone", "not extendable", "other exponent"],
)
def test_foreign_kinds_of_share_are_refused(text: str) -> None:
    """A wallet's backup sheet typed by mistake is SLIP-39 too, and none of ours."""
    with pytest.raises(RequestRejected) as caught:
        parse_share(text)
    assert caught.value.code == "share.unsupported"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace("SHARE:1:", "SHARE:2:"),
        lambda text: text.replace("SHARE:1:", "SHARE::"),
        lambda text: text[:40],
        lambda text: text.replace(":2:", ":3:", 1),
        lambda text: text.replace(":2:", ":0:", 1),
        lambda text: text.replace(dealt().set_id.upper(), dealt().set_id.upper()[:-1]),
    ],
    ids=["version", "no version", "cut", "other index", "index 0", "short set id"],
)
def test_spoilt_code_is_refused(spoil: Callable[[str], str]) -> None:
    """A code that contradicts its words was made or changed by somebody else."""
    error = refused(spoil(envelope(dealt().shares[1], set_id=dealt().set_id)))
    assert error.code == "share.bad-envelope"


@settings(max_examples=100)
@given(st.text(max_size=300))
def test_any_text_is_a_share_or_refused(text: str) -> None:
    """Whatever comes out of a scanner must never crash the ceremony."""
    refused(text)
    refused("COLDROOT-SHARE:" + text)


@pytest.mark.parametrize("vector", [each for each in VECTORS if each[2]], ids=lambda each: each[0].split(".")[0])
def test_official_vectors_recover(vector: tuple[str, list[str], str, str]) -> None:
    """The scheme underneath must be SLIP-39 as everybody else speaks it, or the sheets are readable by us alone."""
    assert combine_mnemonics(vector[1], b"TREZOR").hex() == vector[2]
    # None of them has the parameters of a ceremony's shares, and each is told apart from a mistyped one.
    with pytest.raises(RequestRejected) as caught:
        _decode(vector[1])
    assert caught.value.code == "share.unsupported"


@pytest.mark.parametrize("vector", [each for each in VECTORS if not each[2]], ids=lambda each: each[0].split(".")[0])
def test_official_vectors_are_refused(vector: tuple[str, list[str], str, str]) -> None:
    """A library that accepts a broken set gives a wrong secret in silence."""
    with pytest.raises(MnemonicError):
        combine_mnemonics(vector[1], b"TREZOR")
    with pytest.raises(RequestRejected) as caught:
        _decode(vector[1])
    assert caught.value.code in {"share.checksum", "share.unsupported"}


def _decode(mnemonics: list[str]) -> list[EnteredShare]:
    return [decode_words(mnemonic.split()) for mnemonic in mnemonics]


def test_words_file_round_trip(tmp_path: Path) -> None:
    """The unattended rehearsal reads the shares back from this file, and nobody else may."""
    path = tmp_path / "words"
    write_words_file(path, dealt().shares)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [share.words for share in read_words_file(path)] == [share.words for share in dealt().shares]
    with pytest.raises(RequestRejected) as caught:
        write_words_file(path, dealt().shares)
    assert caught.value.code == "file.exists"


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        ("", "share.words-file", "holds no share"),
        ("# only a comment\n", "share.words-file", "holds no share"),
        (" ".join(WORDS), "share.words-file", "line 1 is not of the form"),
        (f"one: {' '.join(WORDS)}", "share.words-file", "line 1 is not of the form"),
        (f"\n3: {' '.join(WORDS)}", "share.words-file", "line 2 is numbered 3, its words are of share 2"),
        (f"# c\n2: {' '.join(WORDS[:-1])} zzzz", "share.unknown-word", "line 2: word 33 is not in the word list"),
        (f"2: {' '.join(WORDS)} é", "share.words-file", "not plain ASCII"),
    ],
    ids=["empty", "comment", "no index", "index in words", "wrong index", "wrong word", "not ascii"],
)
def test_bad_words_file(tmp_path: Path, content: str, code: str, message: str) -> None:
    """The error names line and word, so that the file can be mended."""
    path = tmp_path / "words"
    path.write_text(content, encoding="utf-8")
    path.chmod(0o600)
    with pytest.raises(RequestRejected, match=message) as caught:
        read_words_file(path)
    assert caught.value.code == code


def test_words_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """A words file with mode 0644 has already been read by somebody, as far as we know."""
    path = tmp_path / "words"
    write_words_file(path, dealt().shares)
    path.chmod(0o644)
    with pytest.raises(RequestRejected) as caught:
        read_words_file(path)
    assert caught.value.code == "file.exposed"
