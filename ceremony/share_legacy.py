"""Reading shares of the Python package ``secretsharing`` 0.2.x: strings such as ``1-58cbd305…``.

For whoever kept a PIN in such shares and wants to move to a ceremony secret. Nothing here makes such shares, and
nothing stores what they hold.

What that format cannot say, nobody can tell from it: which set a share is of, how many are needed, whether a digit
was copied wrongly, and which prime the numbers were taken modulo. Any shares give *some* secret. Two things can be
done about it and are: shares beyond the needed ones must agree; and where another prime is not much less likely than
the package's own guess, its secret is named too.

The secret's first symbols are lost when they are the first of its alphabet (``0``): it was made a number.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from shared.errors import RequestRejected

MOST_SHARES = 64
_LONGEST_DIGITS = 320
_LEAST_SHARES = 2
_SHARE = re.compile(rf"([0-9a-f]{{1,8}})-([0-9a-f]{{1,{_LONGEST_DIGITS}}})", re.ASCII)
# The package's own list: Mersenne primes, and the smallest primes of 257, 321 and 385 bits.
_MERSENNE = (2, 3, 5, 7, 13, 17, 19, 31, 61, 89, 107, 127, 521, 607, 1279)
_PRIMES = sorted(
    [(1 << exponent) - 1 for exponent in _MERSENNE] + [(1 << 256) + 297, (1 << 320) + 27, (1 << 384) + 231]
)
# A prime is worth naming when all numbers were below a smaller one by chance in one of a million cases or more.
_PLAUSIBLE = 1e-6


class Alphabet(StrEnum):
    """What the shared secret was made of."""

    HEX = "hex"
    """``SecretSharer``: hexadecimal digits."""
    TEXT = "text"
    """``PlaintextToHexSecretSharer``: the hundred printable characters of ASCII."""

    @property
    def symbols(self) -> str:
        """The symbols in the order of their values."""
        return string.hexdigits[:16] if self is Alphabet.HEX else string.printable


@dataclass(frozen=True, slots=True, kw_only=True)
class LegacySecret:
    """What the shares give. Whether it is the secret is for its owner to know."""

    text: str = field(repr=False)
    agree: bool
    """Whether there was a share more than needed, and all agree."""
    others: tuple[str, ...] = field(repr=False, default=())
    """What they give under other primes that are not out of the question."""


def recover_legacy(shares: Sequence[str], alphabet: Alphabet, *, length: int | None = None) -> LegacySecret:
    """Recover a secret from shares of the package ``secretsharing``.

    1. Read the points; none may be there twice.
    2. Take the smallest prime of the package's list that is larger than all of them, as the package does.
    3. Interpolate at zero; compare with what the shares give when any one is left out.
    4. Do the same for the next primes, as long as they are not much less likely.

    Args:
        shares: ``x-hex`` each.
        alphabet: what the secret was made of.
        length: of the secret, when it is known: puts lost first symbols back.

    Raises:
        RequestRejected: ``legacy-share.malformed`` or ``legacy-share.duplicate`` with the share's number,
            ``legacy-share.count``, or ``legacy-share.length``.
    """
    # 1.
    if not _LEAST_SHARES <= len(shares) <= MOST_SHARES:
        raise RequestRejected("legacy-share.count", f"{_LEAST_SHARES} to {MOST_SHARES} shares are wanted")
    points: dict[int, int] = {}
    for number, share in enumerate(shares, start=1):
        found = _SHARE.fullmatch(share.strip().lower())
        if found is None or int(found[1], 16) == 0:
            raise RequestRejected("legacy-share.malformed", f"share {number} is not of the form x-hex")
        if int(found[1], 16) in points:
            raise RequestRejected("legacy-share.duplicate", f"share {number} has the number of one before it")
        points[int(found[1], 16)] = int(found[2], 16)
    # 2.
    largest = max(*points, *points.values())
    candidates = [prime for prime in _PRIMES if prime >= largest]
    if not candidates:
        raise RequestRejected("legacy-share.malformed", "a share holds a larger number than the package can make")
    # 3.
    prime = candidates[0]
    number = _at_zero(points, prime)
    agree = len(points) > _LEAST_SHARES and all(
        _at_zero({x: y for x, y in points.items() if x != left_out}, prime) == number for left_out in points
    )
    # 4.
    others = [_at_zero(points, each) for each in candidates[1:] if (prime / each) ** len(points) > _PLAUSIBLE]
    return LegacySecret(
        text=_text(number, alphabet, length),
        agree=agree,
        others=() if agree else tuple(_text(each, alphabet, None) for each in others),
    )


def _at_zero(points: dict[int, int], prime: int) -> int:
    total = 0
    for x, y in points.items():
        above = below = 1
        for other in points:
            if other != x:
                above = above * -other % prime
                below = below * (x - other) % prime
        total += y * above * pow(below, -1, prime)
    return total % prime


def _text(number: int, alphabet: Alphabet, length: int | None) -> str:
    symbols = alphabet.symbols
    found = ""
    while number:
        number, digit = divmod(number, len(symbols))
        found = symbols[digit] + found
    if length is not None and len(found) > length:
        raise RequestRejected(
            "legacy-share.length",
            f"the shares give {len(found)} symbols, not {length}",
            hint="a share is wrong, missing, or of another set; or the secret has another length",
        )
    return found.rjust(length or 0, symbols[0])
