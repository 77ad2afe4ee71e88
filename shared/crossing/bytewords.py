"""Bytewords: binary as letters, two a byte, with a checksum (BCR-2020-012, minimal style).

Each byte value has a four-letter English word; the minimal style keeps its first and last letter. CRC-32
follows the data as four more bytes. Letters alone survive the alphanumeric mode of a QR code.

Invariants: the 256 pairs of letters are distinct; what decodes, encodes to the same letters (in lower case);
the checksum finds accidents, not attacks.
"""

from __future__ import annotations

import zlib

from shared.errors import RequestRejected

CHECKSUM_BYTES = 4

_WORDS: tuple[str, ...] = tuple(
    """
    able acid also apex aqua arch atom aunt away axis back bald barn belt beta bias blue body brag brew bulb
    buzz calm cash cats chef city claw code cola cook cost crux curl cusp cyan dark data days deli dice diet
    door down draw drop drum dull duty each easy echo edge epic even exam exit eyes fact fair fern figs film
    fish fizz flap flew flux foxy free frog fuel fund gala game gear gems gift girl glow good gray grim guru
    gush gyro half hang hard hawk heat help high hill holy hope horn huts iced idea idle inch inky into iris
    iron item jade jazz join jolt jowl judo jugs jump junk jury keep keno kept keys kick kiln king kite kiwi
    knob lamb lava lazy leaf legs liar limp lion list logo loud love luau luck lung main many math maze memo
    menu meow mild mint miss monk nail navy need news next noon note numb obey oboe omit onyx open oval owls
    paid part peck play plus poem pool pose puff puma purr quad quiz race ramp real redo rich road rock roof
    ruby ruin runs rust safe saga scar sets silk skew slot soap solo song stub surf swan taco task taxi tent
    tied time tiny toil tomb toys trip tuna twin ugly undo unit urge user vast very veto vial vibe view visa
    void vows wall wand warm wasp wave waxy webs what when whiz wolf work yank yawn yell yoga yurt zaps zero
    zest zinc zone zoom
    """.split()  # noqa: SIM905 - a list literal would take a line a word
)
_PAIRS: tuple[str, ...] = tuple(word[0] + word[-1] for word in _WORDS)
_VALUES: dict[str, int] = {pair: value for value, pair in enumerate(_PAIRS)}


def encode(data: bytes) -> str:
    """Write bytes and their CRC-32 as lower-case letters, two a byte."""
    return "".join(_PAIRS[value] for value in data + _checksum(data))


def decode(text: str) -> bytes:
    """Read letters back into bytes.

    Args:
        text: lower-case letters, an even number of them.

    Raises:
        RequestRejected: ``frame.malformed`` for letters that are no byteword, ``frame.damaged`` for a wrong CRC-32.
    """
    if len(text) % 2:
        raise RequestRejected("frame.malformed", "the frame's text ends in the middle of a byte")
    try:
        data = bytes(_VALUES[text[start : start + 2]] for start in range(0, len(text), 2))
    except KeyError:
        raise RequestRejected("frame.malformed", "the frame's text holds letters that stand for no byte") from None
    content, checksum = data[:-CHECKSUM_BYTES], data[-CHECKSUM_BYTES:]
    if not content or _checksum(content) != checksum:
        raise RequestRejected("frame.damaged", "the frame's checksum does not fit its content")
    return content


def _checksum(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(CHECKSUM_BYTES, "big")
