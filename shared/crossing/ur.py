"""Uniform Resources: bytes as text frames for QR codes (BCR-2020-005), here of the type ``bytes``.

One frame (``UR:BYTES/…``) when the message fits into it, else a numbered series (``UR:BYTES/2-5/…``). A frame
is upper case throughout, so that a QR code holds it in its alphanumeric mode; reading ignores the case.

Invariants: a frame longer than any QR code is refused before it is parsed; a decoder takes frames of one message
only; CRC-32 finds accidents, not attacks: who needs to be sure compares the digest of what arrived.
"""

from __future__ import annotations

import re

from shared.crossing import bytewords, cbor
from shared.crossing.fountain import LARGEST_MESSAGE_BYTES, FountainDecoder, FountainEncoder, Part, decode_part
from shared.errors import RequestRejected

# Version 40, level L, alphanumeric (ISO/IEC 18004 table 7).
LONGEST_FRAME = 4296
_FRAME = re.compile(r"ur:([a-z0-9-]{1,40})/(?:([1-9][0-9]{0,9})-([1-9][0-9]{0,9})/)?([a-z]+)")
_TYPE = "bytes"
_NOT_A_FRAME = "the text is not a UR frame"


def encode_parts(payload: bytes, *, max_fragment: int) -> tuple[str, ...]:
    """Write a payload as the fewest frames that hold all of it.

    Args:
        payload: what crosses; not empty.
        max_fragment: bytes of payload (with its CBOR head) in a frame.

    Raises:
        RequestRejected: ``frame.too-large``.
    """
    encoder = UrEncoder(payload, max_fragment=max_fragment)
    return tuple(encoder.frame(sequence) for sequence in range(1, encoder.frame_count + 1))


class UrEncoder:
    """Makes the frames of one payload: the pure ones, and beyond them as many more as a screen shows."""

    def __init__(self, payload: bytes, *, max_fragment: int) -> None:
        """Take a payload; arguments and errors are those of ``encode_parts``."""
        self._message = cbor.byte_string(payload)
        self._fountain = FountainEncoder(self._message, max_fragment=max_fragment)
        self.frame_count = self._fountain.fragment_count

    def frame(self, sequence: int) -> str:
        """Write one frame.

        Args:
            sequence: its number, from 1; after ``frame_count`` the frames are mixed ones, and any of them can
                stand in for any that was lost. A payload of one frame has the same frame under every number.
        """
        if self.frame_count == 1:
            return f"ur:{_TYPE}/{bytewords.encode(self._message)}".upper()
        part = self._fountain.part(sequence)
        return f"ur:{_TYPE}/{sequence}-{self.frame_count}/{bytewords.encode(part.encode())}".upper()


class Decoder:
    """Collects the frames of one payload, in any order, with repetitions and losses."""

    def __init__(self) -> None:
        self._whole: bytes | None = None
        self._fountain: FountainDecoder | None = None

    def add(self, frame: str) -> None:
        """Add one frame. After an error the decoder is as it was before.

        Raises:
            RequestRejected: ``frame.malformed``, ``frame.damaged``, ``frame.too-large``, ``frame.foreign`` (part of
                another message) or ``frame.contradicts``.
        """
        sequence, content = _read_frame(frame)
        if sequence is None:
            self._add_whole(content)
        else:
            part = decode_part(content)
            if (part.sequence, part.fragment_count) != sequence:
                raise RequestRejected("frame.malformed", "the frame's number differs from the one inside it")
            self._add_part(part)

    def missing(self) -> tuple[int, ...]:
        """Name the frames that are still missing by their numbers, from 1; frame 1 while nothing was added."""
        if self._whole is not None:
            return ()
        return self._fountain.missing() if self._fountain else (1,)

    def result(self) -> bytes:
        """Return the payload.

        Raises:
            RequestRejected: ``frame.missing`` with the numbers, ``frame.damaged`` or ``frame.malformed``.
        """
        if self._whole is None and self._fountain is None:
            raise RequestRejected("frame.missing", "no frame was read")
        message = self._fountain.result() if self._fountain else self._whole
        reader = cbor.Reader(message or b"")
        payload = reader.byte_string()
        reader.end()
        return payload

    def _add_whole(self, content: bytes) -> None:
        if self._fountain or self._whole not in {None, content}:
            raise RequestRejected("frame.foreign", "the frame is a message of its own, not a part of the others")
        self._whole = content

    def _add_part(self, part: Part) -> None:
        if self._whole is not None:
            raise RequestRejected("frame.foreign", f"frame {part.sequence} belongs to another message")
        fountain = self._fountain or FountainDecoder(part)
        fountain.add(part)
        self._fountain = fountain


def _read_frame(frame: str) -> tuple[tuple[int, int] | None, bytes]:
    if len(frame) > LONGEST_FRAME or not frame.isascii():
        raise RequestRejected("frame.malformed", _NOT_A_FRAME)
    match = _FRAME.fullmatch(frame.lower())
    if match is None:
        raise RequestRejected("frame.malformed", _NOT_A_FRAME)
    kind, number, total, letters = match.groups()
    if kind != _TYPE:
        raise RequestRejected("frame.foreign", f"the frame is a UR of another type than {_TYPE}")
    content = bytewords.decode(letters)
    if len(content) > LARGEST_MESSAGE_BYTES:
        raise RequestRejected("frame.too-large", f"the frame holds more than {LARGEST_MESSAGE_BYTES} bytes")
    return (None if number is None else (int(number), int(total))), content
