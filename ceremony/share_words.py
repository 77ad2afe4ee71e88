"""A share as a person types, scans or stores it: 33 words of SLIP-39, and nothing derived from trust.

Reading is forgiving in form (case, spacing, the first four letters of a word are enough) and strict in
substance: unknown words, a wrong count, a wrong checksum and any kind of share that coldroot never makes are
refused. What is read here is well-formed, not yet known to belong to any set: ``ShareCommitments.recognise``
decides that.

Invariants:

* an error names the *number* of a word, never a word, and suggests none: a hint at the right word would leak
  part of a share to whoever tries (``share_checksum`` says why a number does not);
* an ``EnteredShare`` shows no word in its ``repr``;
* group and member are the numbers people see, from 1: SLIP-39's indexes plus one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from shamir_mnemonic import MnemonicError
from shamir_mnemonic.share import Share as Slip39Share
from shamir_mnemonic.wordlist import WORDLIST

from ceremony.share_checksum import suspects
from shared import durable
from shared.errors import RequestRejected

WORDS_IN_SHARE = 33

# SLIP-39: the first four letters of a word tell it from all others; three-letter words do not exist in the list.
LETTERS_THAT_DECIDE = 4
_BY_PREFIX: dict[str, str] = {word[:LETTERS_THAT_DECIDE]: word for word in WORDLIST}
_BEGINNINGS = frozenset(word[:length] for word in WORDLIST for length in range(1, len(word) + 1))

_LONGEST_TEXT = 4096
_ENVELOPE = "COLDROOT-SHARE"
_ENVELOPE_VERSION = "1"
_PLACE = r"[0-9]{1,2}(?:\.[0-9]{1,2})?"
_ENVELOPE_PATTERN = re.compile(
    rf"(?P<version>[0-9]{{1,3}}):(?P<set_id>[0-9A-F]{{32}}):(?P<place>{_PLACE}):(?P<words>.*)"
)

_WORDS_FILE_HEADER = "# coldroot rehearsal: the words of every share. A real ceremony never writes such a file."
_WORDS_FILE_LIMIT = 128 << 10


class HasWords(Protocol):
    """A share in any of its states: dealt, recognised, or merely entered."""

    @property
    def place(self) -> str:
        """The member's number, ``2``, or group and member, ``1.2``, where there is more than one group."""
        ...

    @property
    def words(self) -> tuple[str, ...]:
        """The 33 words, whole and in lower case."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EnteredShare:
    """A well-formed share that somebody entered; which set it belongs to is not known yet."""

    words: tuple[str, ...] = field(repr=False)
    group: int
    """Which group it is of, from 1."""
    member: int
    """Which of its group's shares it is, from 1."""
    threshold: int
    """How many members count as the group."""
    group_threshold: int
    group_count: int
    identifier: int
    """SLIP-39's 15-bit set number; different sets can, rarely, carry the same one."""
    value: bytes = field(repr=False)
    set_id: str | None = None
    """The 128-bit set id, 32 hex digits, when the share came from a sheet's QR code."""

    @property
    def place(self) -> str:
        """The member's number, or group and member, as its words say."""
        return place_text(self.group, self.member, grouped=self.group_count > 1)

    @property
    def name(self) -> str:
        """What to call it while its group's name is not known: ``share 2``, or ``share 2 of group 1``."""
        return f"share {self.member} of group {self.group}" if self.group_count > 1 else f"share {self.member}"


def place_text(group: int, member: int, *, grouped: bool) -> str:
    """Write a share's place as words files and QR codes have it: ``2``, or ``1.2`` where there are groups."""
    return f"{group}.{member}" if grouped else str(member)


def parse_share(text: str) -> EnteredShare:
    """Read a share from typed words or from the text of a sheet's QR code.

    Args:
        text: 33 words parted by white space, in any case, each at least by its first four letters; or the QR
            code's ``COLDROOT-SHARE:…``.

    Raises:
        RequestRejected: ``share.unknown-word`` (with the word's number), ``share.word-count``,
            ``share.checksum``, ``share.unsupported`` or ``share.bad-envelope``.
    """
    if len(text) > _LONGEST_TEXT:
        raise RequestRejected("share.word-count", f"that is far too long for a share of {WORDS_IN_SHARE} words")
    stripped = text.strip()
    if is_envelope(stripped):
        return _open_envelope(stripped.upper())
    words = tuple(expand_word(typed, number=number) for number, typed in enumerate(stripped.split(), start=1))
    if len(words) != WORDS_IN_SHARE:
        raise RequestRejected(
            "share.word-count",
            f"a share has {WORDS_IN_SHARE} words, not {len(words)}",
            hint="enter all words of one sheet in the order of their numbers",
        )
    return decode_words(words)


def begins_a_word(letters: str) -> bool:
    """Tell whether any word of the list begins with these lower-case letters."""
    return letters in _BEGINNINGS


def whole_word(letters: str) -> str:
    """Return the one word that begins with these lower-case letters: four or more, known to begin one."""
    return _BY_PREFIX[letters[:LETTERS_THAT_DECIDE]]


def is_envelope(text: str) -> bool:
    """Tell whether a text claims to be that of a share sheet's QR code."""
    return text.strip().upper().startswith(_ENVELOPE + ":")


def expand_word(typed: str, *, number: int) -> str:
    """Return the whole word for one typed word or the first four or more letters of it.

    Args:
        typed: what was typed, in any case.
        number: the word's number on the sheet, from 1, for the error.

    Raises:
        RequestRejected: ``share.unknown-word``.
    """
    lowered = typed.lower()
    word = _BY_PREFIX.get(lowered[:LETTERS_THAT_DECIDE])
    if word is None or not word.startswith(lowered):
        raise RequestRejected(
            "share.unknown-word",
            f"word {number} is not in the word list",
            hint="compare its letters with the sheet; the first four are enough",
        )
    return word


def decode_words(words: Sequence[str]) -> EnteredShare:
    """Decode whole words of SLIP-39 and check what they say of themselves.

    Raises:
        RequestRejected: ``share.checksum``, or ``share.unsupported`` for a share that is enough alone, or has
            parameters that coldroot does not make.
    """
    try:
        decoded = Slip39Share.from_mnemonic(" ".join(words))
    except MnemonicError:
        # The library's message quotes the first words: it must not be shown, nor kept as a cause.
        raise RequestRejected(
            "share.checksum",
            f"the words do not fit together: {_what_is_wrong(suspects(words))}",
            hint="compare every word and its number with the sheet",
        ) from None
    if decoded.member_threshold == 1 and decoded.group_threshold == 1:
        raise _unsupported("it is a secret that was never split")
    if decoded.member_threshold == 1 and decoded.index != 0:
        raise _unsupported("it is one of several shares of which each is enough")
    if decoded.group_index >= decoded.group_count:
        raise _unsupported("it is of a group that its set does not have")
    if not decoded.extendable or decoded.iteration_exponent != 1:
        raise _unsupported("it was made with other parameters")
    return EnteredShare(
        words=tuple(words),
        group=decoded.group_index + 1,
        member=decoded.index + 1,
        threshold=decoded.member_threshold,
        group_threshold=decoded.group_threshold,
        group_count=decoded.group_count,
        identifier=decoded.identifier,
        value=decoded.value,
    )


def _what_is_wrong(numbers: Sequence[int]) -> str:
    match numbers:
        case (number,):
            return f"word {number} is probably wrong"
        case (first, second):
            return f"words {first} and {second} have probably changed places"
    return "at least one is wrong, or two have changed places"


def opening_words(identifier: int) -> tuple[str, str]:
    """Return the two words that every share of a set begins with: its public number and our parameters."""
    encoded = identifier << 5 | 1 << 4 | 1
    return WORDLIST[encoded >> 10], WORDLIST[encoded & 1023]


def envelope(share: HasWords, *, set_id: str) -> str:
    """Return the text of a sheet's QR code: the words, the set id and the share's place, upper case.

    Upper case keeps the code in its alphanumeric mode, which makes it a third smaller. The words inside stay
    plain SLIP-39, so any other tool can still recover the secret from the sheets.
    """
    words = " ".join(share.words)
    return f"{_ENVELOPE}:{_ENVELOPE_VERSION}:{set_id}:{share.place}:{words}".upper()


def write_words_file(path: Path, shares: Iterable[HasWords]) -> None:
    """Write the words of shares into one private file, a line a share. For rehearsals only.

    Raises:
        RequestRejected: ``file.exists``.
        StoreFailed: ``file.write-failed``.
    """
    lines = [_WORDS_FILE_HEADER, *(f"{share.place}: {' '.join(share.words)}" for share in shares)]
    durable.write_new(path, ("\n".join(lines) + "\n").encode("ascii"), mode=durable.PRIVATE)


def read_words_file(path: Path) -> tuple[EnteredShare, ...]:
    """Read the shares of a file as ``write_words_file`` writes it; blank lines and ``#`` lines are skipped.

    Raises:
        RequestRejected: as ``durable.read_private``; ``share.words-file`` for a line of another form; or as
            ``parse_share``, with the line's number before the message.
    """
    content = durable.read_private(path, limit=_WORDS_FILE_LIMIT)
    try:
        lines = content.decode("ascii").splitlines()
    except UnicodeDecodeError:
        raise RequestRejected("share.words-file", f"{path} is not plain ASCII text") from None
    shares = [
        _read_line(path, number, line)
        for number, line in enumerate(lines, start=1)
        if line.strip() and not line.startswith("#")
    ]
    if not shares:
        raise RequestRejected("share.words-file", f"{path} holds no share")
    return tuple(shares)


def _read_line(path: Path, number: int, line: str) -> EnteredShare:
    place, colon, words = line.partition(":")
    if not colon or not re.fullmatch(f" *{_PLACE} *", place):
        raise RequestRejected("share.words-file", f"{path} line {number} is not of the form 'number: words'")
    try:
        share = parse_share(words)
    except RequestRejected as error:
        raise RequestRejected(error.code, f"{path} line {number}: {error.message}", hint=error.hint) from None
    if share.place != place.strip():
        raise RequestRejected(
            "share.words-file",
            f"{path} line {number} is numbered {place.strip()}, its words are of share {share.place}",
        )
    return share


def _open_envelope(text: str) -> EnteredShare:
    match = _ENVELOPE_PATTERN.fullmatch(text, len(_ENVELOPE) + 1)
    if match is None:
        raise RequestRejected("share.bad-envelope", "the code is not that of a share sheet, or it was cut off")
    if match["version"] != _ENVELOPE_VERSION:
        raise RequestRejected(
            "share.bad-envelope",
            f"the code is of version {int(match['version'])}, this program reads version {_ENVELOPE_VERSION}",
        )
    share = parse_share(match["words"])
    if share.place != match["place"]:
        raise RequestRejected(
            "share.bad-envelope", f"the code says share {match['place']}, its words say share {share.place}"
        )
    return replace(share, set_id=match["set_id"].lower())


def _unsupported(why: str) -> RequestRejected:
    return RequestRejected(
        "share.unsupported", f"these words are a valid SLIP-39 share, but not one of a coldroot ceremony: {why}"
    )
