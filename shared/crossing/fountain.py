"""A message as parts: the pure fragments first, then as many mixed ones as anybody wants (BCR-2024-001).

Encoding cuts the message into equal fragments; part ``n`` is the XOR of the fragments that ``mixing`` names.
Decoding is linear algebra over GF(2): each part is one equation over the unknown fragments.

Invariants: a ``Part`` is within the limits below and its numbers agree with each other; a decoder holds at most
one equation a fragment, whatever it is fed; parts that do not belong together are refused, not mixed; a
finished message has the CRC-32 that every one of its parts announced.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

from shared.crossing import cbor
from shared.crossing.mixing import choose_fragments
from shared.errors import RequestRejected

LARGEST_MESSAGE_BYTES = 64 << 10
MOST_FRAGMENTS = 256
LARGEST_SEQUENCE = (1 << 32) - 1
LEAST_FRAGMENT_BYTES = 10  # BCR-2020-005's own lower bound
_FIELDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part: an equation over the fragments of one message.

    Attributes:
        sequence: its number, from 1.
        fragment_count: fragments of the message.
        message_bytes: length of the message.
        checksum: CRC-32 of the message.
        content: the XOR of the fragments mixed; all parts of a message have the same length.
    """

    sequence: int
    fragment_count: int
    message_bytes: int
    checksum: int
    content: bytes

    def __post_init__(self) -> None:
        if self.message_bytes > LARGEST_MESSAGE_BYTES or self.fragment_count > MOST_FRAGMENTS:
            raise RequestRejected(
                "frame.too-large",
                f"the frame announces a message of more than {LARGEST_MESSAGE_BYTES} bytes or {MOST_FRAGMENTS} frames",
            )
        # The fragments together hold the message, and not a whole fragment more.
        padding = self.fragment_count * len(self.content) - self.message_bytes
        sound = (
            1 <= self.sequence <= LARGEST_SEQUENCE
            and self.fragment_count >= 1
            and self.message_bytes >= 1
            and 0 <= self.checksum < 1 << 32
            and 0 <= padding < len(self.content)
        )
        if not sound:
            raise RequestRejected("frame.malformed", "the frame's numbers contradict each other")

    @property
    def message(self) -> tuple[int, int, int]:
        """What all parts of one message have in common: fragment count, length, checksum."""
        return self.fragment_count, self.message_bytes, self.checksum

    def encode(self) -> bytes:
        """Write the part as CBOR."""
        numbers = (self.sequence, self.fragment_count, self.message_bytes, self.checksum)
        return cbor.array_head(_FIELDS) + b"".join(map(cbor.unsigned, numbers)) + cbor.byte_string(self.content)


def decode_part(data: bytes) -> Part:
    """Read a part from CBOR.

    Raises:
        RequestRejected: ``frame.malformed`` or ``frame.too-large``.
    """
    reader = cbor.Reader(data)
    reader.array_of(_FIELDS)
    sequence, fragment_count, message_bytes, checksum = (reader.unsigned() for _ in range(4))
    content = reader.byte_string()
    reader.end()
    return Part(
        sequence=sequence,
        fragment_count=fragment_count,
        message_bytes=message_bytes,
        checksum=checksum,
        content=content,
    )


def fragment_length(message_bytes: int, max_fragment: int) -> int:
    """Choose the fragment length that makes the fewest fragments of at most ``max_fragment`` bytes, all about full."""
    return math.ceil(message_bytes / math.ceil(message_bytes / max_fragment))


class FountainEncoder:
    """Makes the parts of one message."""

    def __init__(self, message: bytes, *, max_fragment: int) -> None:
        """Cut a message into fragments.

        Args:
            message: at least one byte, at most ``LARGEST_MESSAGE_BYTES``.
            max_fragment: bytes of a fragment, at least ``LEAST_FRAGMENT_BYTES``.

        Raises:
            RequestRejected: ``frame.too-large`` when the message makes more than ``MOST_FRAGMENTS``.
        """
        if not message or max_fragment < LEAST_FRAGMENT_BYTES:
            raise ValueError(f"a message is not empty, a fragment has at least {LEAST_FRAGMENT_BYTES} bytes")
        self.fragment_bytes = fragment_length(len(message), max_fragment)
        self.fragment_count = math.ceil(len(message) / self.fragment_bytes)
        self._message_bytes = len(message)
        self._checksum = zlib.crc32(message)
        if len(message) > LARGEST_MESSAGE_BYTES or self.fragment_count > MOST_FRAGMENTS:
            raise RequestRejected(
                "frame.too-large",
                f"{len(message)} bytes do not cross as frames: the most is {LARGEST_MESSAGE_BYTES} bytes "
                f"and {MOST_FRAGMENTS} frames",
            )
        padded = message.ljust(self.fragment_count * self.fragment_bytes, b"\0")
        # As integers the fragments can be mixed with one operation.
        self._fragments = [
            int.from_bytes(padded[start : start + self.fragment_bytes], "big")
            for start in range(0, len(padded), self.fragment_bytes)
        ]

    def part(self, sequence: int) -> Part:
        """Make one part.

        Args:
            sequence: its number, from 1; up to ``fragment_count`` the part is one pure fragment.
        """
        mixed = 0
        for index in choose_fragments(sequence, self.fragment_count, self._checksum):
            mixed ^= self._fragments[index]
        return Part(
            sequence=sequence,
            fragment_count=self.fragment_count,
            message_bytes=self._message_bytes,
            checksum=self._checksum,
            content=mixed.to_bytes(self.fragment_bytes, "big"),
        )


class FountainDecoder:
    """Collects parts of one message, in any order and with any losses, until the message is whole.

    The equations stand in reduced row echelon form over GF(2): a row is a set of fragments (a bit mask) with
    their XOR, each row owns one fragment, its pivot, that stands in no other row. A row of one fragment is that
    fragment, found.
    """

    def __init__(self, first: Part) -> None:
        """Start with the message that ``first`` belongs to; the part itself is still to be added."""
        self.message = first.message
        self.fragment_count = first.fragment_count
        self._rows: dict[int, tuple[int, int]] = {}
        self._fragment_bytes = len(first.content)

    def add(self, part: Part) -> None:
        """Add one part; a part that says nothing new changes nothing.

        Raises:
            RequestRejected: ``frame.foreign`` for a part of another message, ``frame.contradicts`` for one whose
                content cannot be true together with the parts before.
        """
        # Equal fragment count and message length leave a choice of fragment lengths, so that is compared too.
        if part.message != self.message or len(part.content) != self._fragment_bytes:
            raise RequestRejected("frame.foreign", f"frame {part.sequence} belongs to another message")
        mask = sum(1 << index for index in choose_fragments(part.sequence, self.fragment_count, part.checksum))
        value = int.from_bytes(part.content, "big")
        # 1. Take the known pivots out of the new equation. No row holds another row's pivot: one pass is enough.
        for pivot, (row_mask, row_value) in self._rows.items():
            if mask >> pivot & 1:
                mask ^= row_mask
                value ^= row_value
        # 2. Nothing left: the part must say what was known already.
        if mask == 0:
            if value:
                raise RequestRejected(
                    "frame.contradicts", f"frame {part.sequence} contradicts the frames read before it"
                )
            return
        # 3. Give the equation a pivot, and take that out of all others.
        pivot = mask.bit_length() - 1
        for other, (row_mask, row_value) in self._rows.items():
            if row_mask >> pivot & 1:
                self._rows[other] = row_mask ^ mask, row_value ^ value
        self._rows[pivot] = mask, value

    def missing(self) -> tuple[int, ...]:
        """Name the fragments that are not known yet, as the numbers of their pure parts, from 1."""
        found = {pivot for pivot, (mask, _) in self._rows.items() if mask == 1 << pivot}
        return tuple(index + 1 for index in range(self.fragment_count) if index not in found)

    def result(self) -> bytes:
        """Return the message.

        Raises:
            RequestRejected: ``frame.missing``, or ``frame.damaged`` when the whole does not have its checksum.
        """
        missing = self.missing()
        if missing:
            raise RequestRejected("frame.missing", _name_missing(missing, self.fragment_count))
        _, message_bytes, checksum = self.message
        fragments = (self._rows[index][1].to_bytes(self._fragment_bytes, "big") for index in range(self.fragment_count))
        message = b"".join(fragments)[:message_bytes]
        if zlib.crc32(message) != checksum:
            raise RequestRejected(
                "frame.damaged", "the frames fit together, but not to the checksum of the whole message"
            )
        return message


def _name_missing(missing: tuple[int, ...], total: int) -> str:
    if len(missing) == 1:
        return f"frame {missing[0]} of {total} is missing"
    *others, last = map(str, missing)
    return f"frames {', '.join(others)} and {last} of {total} are missing"
