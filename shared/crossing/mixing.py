"""Which fragments a frame mixes: arithmetic that sender and receiver share bit for bit (BCR-2024-001 section 4).

Every frame after the pure ones is the XOR of a few fragments. Nobody transmits *which*: both sides draw it from
a generator seeded with the frame's number and the message's CRC-32. So all here is fixed by the specification,
floating point (IEEE 754 doubles) and order of draws included; nothing here is a source of secrets.

Invariant: pure functions of their arguments, apart from the generator's own state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

_WORD = (1 << 64) - 1


class Xoshiro256:
    """The generator xoshiro256** of Blackman and Vigna, seeded with the SHA-256 of a seed."""

    def __init__(self, seed: bytes) -> None:
        state = hashlib.sha256(seed).digest()
        self._state = [int.from_bytes(state[start : start + 8], "big") for start in range(0, 32, 8)]

    def next(self) -> int:
        """Draw an integer of 64 bits."""
        state = self._state
        drawn = _rotate(state[1] * 5 & _WORD, 7) * 9 & _WORD
        shifted = state[1] << 17 & _WORD
        state[2] ^= state[0]
        state[3] ^= state[1]
        state[1] ^= state[2]
        state[0] ^= state[3]
        state[2] ^= shifted
        state[3] = _rotate(state[3], 45)
        return drawn

    def next_double(self) -> float:
        """Draw a number from 0 up to 1 (which rounding can reach for the 1024 largest draws in 2**64)."""
        return self.next() / 2.0**64

    def next_below(self, limit: int) -> int:
        """Draw an integer from 0 to ``limit`` - 1."""
        # The specification multiplies and truncates; the bound keeps the rounding of next_double() inside.
        return min(int(self.next_double() * limit), limit - 1)


class Sampler:
    """Draws an index with the given weight, by the alias method of Walker and Vose."""

    def __init__(self, weights: Sequence[float]) -> None:
        count = len(weights)
        total = sum(weights)
        scaled = [weight * count / total for weight in weights]
        # Each column of the table is filled by one small weight and topped up by one large one, its alias. The
        # specification fixes the order in which they are paired: from the end of each list, lists filled backwards.
        small = [index for index in reversed(range(count)) if scaled[index] < 1]
        large = [index for index in reversed(range(count)) if scaled[index] >= 1]
        self._shares = [1.0] * count
        self._aliases = [0] * count
        while small and large:
            low, high = small.pop(), large.pop()
            self._shares[low] = scaled[low]
            self._aliases[low] = high
            scaled[high] += scaled[low] - 1
            (small if scaled[high] < 1 else large).append(high)

    def draw(self, generator: Xoshiro256) -> int:
        """Draw one index; takes two numbers from the generator."""
        column, height = generator.next_below(len(self._shares)), generator.next_double()
        return column if height < self._shares[column] else self._aliases[column]


def choose_degree(fragment_count: int, generator: Xoshiro256) -> int:
    """Draw how many fragments a frame mixes: from 1 to all, n with a weight of 1/n."""
    return _degree_sampler(fragment_count).draw(generator) + 1


def shuffled_prefix(count: int, length: int, generator: Xoshiro256) -> list[int]:
    """Shuffle the numbers 0 to ``count`` - 1 and return the first ``length`` of them."""
    remaining = list(range(count))
    return [remaining.pop(generator.next_below(len(remaining))) for _ in range(length)]


def choose_fragments(sequence: int, fragment_count: int, checksum: int) -> frozenset[int]:
    """Say which fragments a frame mixes.

    Args:
        sequence: the frame's number, from 1, below 2**32; the first ``fragment_count`` frames are pure.
        fragment_count: fragments of the message.
        checksum: CRC-32 of the message.
    """
    if sequence <= fragment_count:
        return frozenset({sequence - 1})
    generator = Xoshiro256(sequence.to_bytes(4, "big") + checksum.to_bytes(4, "big"))
    degree = choose_degree(fragment_count, generator)
    return frozenset(shuffled_prefix(fragment_count, degree, generator))


@lru_cache(maxsize=64)
def _degree_sampler(fragment_count: int) -> Sampler:
    return Sampler([1 / degree for degree in range(1, fragment_count + 1)])


def _rotate(word: int, bits: int) -> int:
    return (word << bits | word >> 64 - bits) & _WORD
