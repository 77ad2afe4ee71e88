"""A bundle on a screen: an animated GIF, or codes in a terminal's characters, for a camera on the other side.

A screen can show more than the pure frames: after them come mixed ones, any of which stands in for any that the
camera missed. Invariant: the same payload gives the same bytes and the same lines.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import qrcode
from PIL import Image
from qrcode.constants import ERROR_CORRECT_L
from qrcode.util import MODE_ALPHA_NUM, QRData

from shared.crossing.qr import draw_frame, frame_encoder
from shared.crossing.ur import UrEncoder
from shared.errors import RequestRejected

MILLISECONDS = 300
"""Each picture's time: slow enough for a telephone's camera to catch it whole."""

_SPARE = 2
"""Pictures of an animation for each pure frame: half of all can be lost."""
_QUIET_MODULES = 4
# Payload bytes a frame; the largest that fits the terminal is taken. A screen needs less error correction than paper.
_TERMINAL_FRAGMENTS = (450, 300, 200, 120, 70, 40)
# Dark on white whatever the terminal's colours are: a code in inverse colours is not read by every camera.
_INK, _PLAIN = "\x1b[30;107m", "\x1b[0m"
_BLOCKS = {(False, False): " ", (True, False): "\u2580", (False, True): "\u2584", (True, True): "\u2588"}


def animated_gif(payload: bytes) -> bytes:
    """Draw a payload as one animated picture that repeats for ever.

    Raises:
        RequestRejected: ``frame.too-large``.
    """
    encoder = frame_encoder(payload)
    count = encoder.frame_count * _SPARE if encoder.frame_count > 1 else 1
    pictures = [Image.open(io.BytesIO(draw_frame(encoder.frame(number)))) for number in range(1, count + 1)]
    side = max(picture.width for picture in pictures)
    first, *others = (_centred(picture, side) for picture in pictures)
    file = io.BytesIO()
    # Two equal pictures in a row would else become one, and the colours of all are the same two.
    first.save(
        file,
        format="GIF",
        save_all=True,
        append_images=others,
        duration=MILLISECONDS,
        loop=0,
        optimize=False,
        disposal=1,
    )
    return file.getvalue()


def terminal_codes(payload: bytes, *, columns: int, lines: int, once: bool = False) -> Iterator[tuple[str, str]]:
    """Yield a title and a code in half blocks for each frame; after the pure frames come mixed ones, without end.

    Args:
        payload: what to show.
        columns: of the terminal.
        lines: of the terminal.
        once: end after the pure frames. A payload of one frame ends in any case.

    Raises:
        RequestRejected: ``terminal.too-small`` or ``frame.too-large``.
    """
    encoder = _fitting(payload, columns, lines)
    total = encoder.frame_count
    number = 0
    while number < total or (total > 1 and not once):
        number += 1
        name = f"frame {number} of {total}" if number <= total else f"frame {number}, a mixture of the {total}"
        yield name, half_blocks(encoder.frame(number))


def half_blocks(frame: str) -> str:
    """Draw a frame with two modules in each character, one above the other."""
    matrix = _matrix(frame)
    if len(matrix) % 2:
        matrix = [*matrix, [False] * len(matrix)]
    rows = zip(matrix[::2], matrix[1::2], strict=True)
    drawn = ("".join(_BLOCKS[pair] for pair in zip(upper, lower, strict=True)) for upper, lower in rows)
    return "\n".join(f"{_INK}{row}{_PLAIN}" for row in drawn)


def _fitting(payload: bytes, columns: int, lines: int) -> UrEncoder:
    for size in _TERMINAL_FRAGMENTS:
        encoder = UrEncoder(payload, max_fragment=size)
        # Later frames are a few characters longer than the first: their numbers grow.
        side = len(_matrix(encoder.frame(max(encoder.frame_count, 9999 if encoder.frame_count > 1 else 1))))
        if side <= columns and (side + 1) // 2 + 2 <= lines:
            return encoder
    raise RequestRejected(
        "terminal.too-small",
        f"a terminal of {columns} columns and {lines} lines is too small for a code",
        hint="make it larger or its letters smaller, or use `ceremony bundle gif`",
    )


def _matrix(frame: str) -> list[list[bool]]:
    code = qrcode.QRCode(error_correction=ERROR_CORRECT_L, border=_QUIET_MODULES)
    code.add_data(QRData(frame.encode("ascii"), mode=MODE_ALPHA_NUM))
    code.make(fit=True)
    return [list(row) for row in code.get_matrix()]


def _centred(picture: Image.Image, side: int) -> Image.Image:
    if picture.width == side:
        return picture
    white = Image.new("1", (side, side), 1)
    white.paste(picture, ((side - picture.width) // 2,) * 2)
    return white
