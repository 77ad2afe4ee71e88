"""Where a mistyped share is probably wrong: SLIP-39's checksum RS1024 knows, when one word alone is.

The checksum is a Reed-Solomon code over words of ten bits, three of which are for the check: two different shares
differ in at least four words. So there is at most one word whose change makes a share valid; where there is one, the
mistake is almost surely there. Of shares in which two words changed places, the same can be told.

Only the *numbers* of words are told, never what should stand there: whoever typed the other words could work that out,
but this program does not do it for whoever finds half a sheet. A number is worked out from the typed words alone; it
tells nothing that they do not, and nothing of any other share.

Invariant: nothing here knows a commitment, a set or another share.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence

from shamir_mnemonic import MnemonicError
from shamir_mnemonic.share import Share
from shamir_mnemonic.wordlist import WORDLIST

# SLIP-0039, "Checksum": the generator of the code, and what the words are preceded by.
_GENERATOR = (
    0xE0E040, 0x1C1C080, 0x3838100, 0x7070200, 0xE0E0009, 0x1C0C2412, 0x38086C24, 0x3090FC48, 0x21B1F890, 0x3F3F120,
)  # fmt: skip
_PURPOSE = tuple(b"shamir_extendable")
_BITS = 10
_WORDS = len(WORDLIST)
_INDEX = {word: number for number, word in enumerate(WORDLIST)}


def suspects(words: Sequence[str]) -> tuple[int, ...]:
    """Return the numbers, from 1, of the words of a share that are probably wrong.

    Args:
        words: whole words of the list, which together are no valid share.

    Returns:
        One number when exactly one change of one word makes a share of the words; two when no such change, but exactly
        one exchange of two words does; otherwise nothing.
    """
    if not all(word in _INDEX for word in words):
        return ()
    values = [_INDEX[word] for word in words]
    changes = ((place, [*values[:place], value, *values[place + 1 :]]) for place, value in _single_changes(values))
    wrong: list[tuple[int, ...]] = [(place,) for place, changed in changes if _is_share(changed)]
    if not wrong:
        wrong = [pair for pair in _exchanges(values) if _is_share(_exchanged(values, *pair))]
    return tuple(place + 1 for place in wrong[0]) if len(wrong) == 1 else ()


def _single_changes(values: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield each place with the value there that would satisfy the checksum."""
    wanted = _polymod(values) ^ 1
    for place, value in enumerate(values):
        if (change := _changes(len(values), place).get(wanted)) is not None:
            yield place, value ^ change


@functools.cache
def _changes(length: int, place: int) -> dict[int, int]:
    """Return all changes of the word at a place, by what they do to the checksum."""
    effects, total, change, found = _effects(length, place), 0, 0, {}
    # In Gray's order each change differs from the one before in one bit.
    for number in range(1, _WORDS):
        bit = (number & -number).bit_length() - 1
        total, change = total ^ effects[bit], change ^ 1 << bit
        found[total] = change
    return found


def _exchanges(values: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield each two places whose exchange would satisfy the checksum."""
    wanted = _polymod(values) ^ 1
    for first, second in itertools.combinations(range(len(values)), 2):
        change, total = values[first] ^ values[second], 0
        for bit in range(_BITS):
            if change >> bit & 1:
                total ^= _effects(len(values), first)[bit] ^ _effects(len(values), second)[bit]
        if change and total == wanted:
            yield first, second


@functools.cache
def _effects(length: int, place: int) -> tuple[int, ...]:
    """Return what each bit of a word does to the checksum: the code is linear, so it is always the same."""
    nothing = _polymod([0] * length)
    return tuple(_polymod([0] * place + [1 << bit] + [0] * (length - place - 1)) ^ nothing for bit in range(_BITS))


def _polymod(values: Sequence[int]) -> int:
    check = 1
    for value in (*_PURPOSE, *values):
        top = check >> 20
        check = (check & 0xFFFFF) << 10 ^ value
        for bit, generator in enumerate(_GENERATOR):
            if top >> bit & 1:
                check ^= generator
    return check


def _exchanged(values: Sequence[int], first: int, second: int) -> list[int]:
    changed = list(values)
    changed[first], changed[second] = changed[second], changed[first]
    return changed


def _is_share(values: Sequence[int]) -> bool:
    if _polymod(values) != 1:
        return False
    try:
        Share.from_mnemonic(" ".join(WORDLIST[value] for value in values))
    except MnemonicError:
        return False
    return True
