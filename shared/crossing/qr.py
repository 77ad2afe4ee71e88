"""Frames as QR images, and images back to what they carry.

Written: PNG, one frame each, QR version 25 at most, error correction level M, alphanumeric mode. That is what
paper and ordinary cameras carry with margin (0.7 kB a frame).
Read: PNG and JPEG, from scanners, cameras and screen shots, and animated GIF; several codes in one image, any order,
repetitions. No image from outside is decoded in this process: see ``decoding``.

Invariants: the same payload gives the same bytes of PNG (with the same version of Pillow); an image is refused
by its size in bytes before it is parsed and by its size in pixels before it is decoded; whatever the image
library stumbles over becomes one error that names the file; an image without a frame, or with a code that is
not a frame of this message, is refused and named, never skipped.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import qrcode
from PIL import Image
from qrcode.constants import ERROR_CORRECT_M
from qrcode.util import MODE_ALPHA_NUM, QRData

from shared import durable
from shared.crossing.decoding import MOST_PIXELS, Outcome, decode_image
from shared.crossing.ur import Decoder, UrEncoder
from shared.errors import RequestRejected

LARGEST_VERSION = 25
MOST_IMAGES = 512
LARGEST_IMAGE_BYTES = 32 << 20

# Version 25 at level M holds 1451 alphanumeric characters (ISO/IEC 18004 table 7). Of these, a single frame
# spends 9 on "UR:BYTES/" and 8 on the checksum: 717 bytes at two characters each are left. A numbered frame spends
# up to 19 on "UR:BYTES/65535-256/" and, for CBOR head and checksum, 48 more: 692 bytes.
_SINGLE_BYTES = 717
_FRAGMENT_BYTES = 690
_CBOR_HEAD_BYTES = 3

_PIXELS_A_MODULE = 8
_QUIET_MODULES = 4  # ISO/IEC 18004 section 5.3.8
_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a")
_WHITE = 255
_HINT_AGAIN = "take the picture again: the whole code with its white margin, flat, sharp and well lit"


def frame_encoder(payload: bytes) -> UrEncoder:
    """Prepare the frames of a payload for codes of this module's size; a screen can ask it for more than the pure ones.

    Raises:
        RequestRejected: ``frame.too-large``.
    """
    fits = len(payload) + _CBOR_HEAD_BYTES <= _SINGLE_BYTES
    return UrEncoder(payload, max_fragment=_SINGLE_BYTES if fits else _FRAGMENT_BYTES)


def encode_pngs(payload: bytes) -> tuple[bytes, ...]:
    """Draw a payload as the fewest QR images that hold all of it, in the order of their frame numbers.

    Raises:
        RequestRejected: ``frame.too-large``.
    """
    encoder = frame_encoder(payload)
    return tuple(draw_frame(encoder.frame(sequence)) for sequence in range(1, encoder.frame_count + 1))


def draw_frame(frame: str) -> bytes:
    """Draw one frame as a PNG.

    Args:
        frame: upper-case text of the alphanumeric mode, as ``UrEncoder.frame`` makes it.
    """
    code = qrcode.QRCode(error_correction=ERROR_CORRECT_M, border=_QUIET_MODULES)
    code.add_data(QRData(frame.encode("ascii"), mode=MODE_ALPHA_NUM))
    code.make(fit=True)
    if code.version > LARGEST_VERSION:
        raise ValueError(f"the frame needs a QR code of version {code.version}")
    matrix = code.get_matrix()
    side = len(matrix)
    pixels = bytes(0 if dark else _WHITE for row in matrix for dark in row)
    image = Image.frombytes("L", (side, side), pixels).convert("1")
    file = io.BytesIO()
    scaled = (side * _PIXELS_A_MODULE, side * _PIXELS_A_MODULE)
    image.resize(scaled, Image.Resampling.NEAREST).save(file, format="PNG")
    return file.getvalue()


def is_image(content: bytes) -> bool:
    """Tell by its first bytes whether a file is an image of a kind that is read here."""
    return content.startswith(_MAGIC)


def read_images(paths: Sequence[Path]) -> bytes:
    """Read the payload that images carry together.

    Args:
        paths: PNG, JPEG or GIF files in any order, at most ``MOST_IMAGES``.

    Raises:
        RequestRejected: ``image.too-many``; ``file.*`` for a file that cannot be read; ``image.*`` or ``frame.*`` with
            the file's path; ``frame.missing`` with the numbers of the missing frames.
    """
    if len(paths) > MOST_IMAGES:
        raise RequestRejected("image.too-many", f"{len(paths)} images were given, the most is {MOST_IMAGES}")
    reader = ImageReader()
    for path in paths:
        reader.add(path, durable.read_file(path, limit=LARGEST_IMAGE_BYTES))
    return reader.payload()


def read_codes(path: Path) -> list[str]:
    """Read the texts of all QR codes in one image, whatever they say.

    Raises:
        RequestRejected: ``file.*``, ``image.*`` or ``frame.malformed`` with the file's path.
    """
    return _codes(path, durable.read_file(path, limit=LARGEST_IMAGE_BYTES))


class ImageReader:
    """Collects the frames of one payload from images, one image after the other."""

    def __init__(self) -> None:
        self._decoder = Decoder()

    def add(self, path: Path, content: bytes, *, required: bool = True) -> None:
        """Read all frames of one image.

        Args:
            path: how to name the image in an error; it is not opened.
            content: the file, at most ``LARGEST_IMAGE_BYTES``.
            required: whether an image without a readable code is a mistake.

        Raises:
            RequestRejected: ``image.malformed``, ``image.too-large``, ``image.no-code``, or an error of
                ``ur.Decoder.add``; each names the path.
        """
        try:
            texts = _codes(path, content)
        except RequestRejected as error:
            if not required and error.code in {"image.no-code", "image.malformed"}:
                return
            raise
        for text in texts:
            try:
                self._decoder.add(text)
            except RequestRejected as error:
                hint = "leave this image out, and give only the images of one bundle"
                raise RequestRejected(error.code, f"{shown(path)}: {error.message}", hint=hint) from None

    def payload(self) -> bytes:
        """Return what the images carry.

        Raises:
            RequestRejected: ``frame.missing``, ``frame.damaged`` or ``frame.malformed``.
        """
        try:
            return self._decoder.result()
        except RequestRejected as error:
            hint = "add its image, or take it again" if error.code == "frame.missing" else "read all images again"
            raise RequestRejected(error.code, error.message, hint=hint) from None


def shown(path: Path) -> str:
    """Write a path so that it stays on one line: a file name on a stranger's stick can hold control characters."""
    return str(path) if str(path).isprintable() else ascii(str(path))


def _codes(path: Path, content: bytes) -> list[str]:
    if not is_image(content):
        raise RequestRejected("image.malformed", f"{shown(path)} is not a PNG, JPEG or GIF image")
    seen = decode_image(content)
    if seen.outcome is Outcome.TOO_LARGE:
        raise RequestRejected("image.too-large", f"{shown(path)} has more than {MOST_PIXELS} pixels")
    if seen.outcome is Outcome.DAMAGED:
        raise RequestRejected("image.malformed", f"{shown(path)} is a damaged image", hint=_HINT_AGAIN)
    try:
        texts = [code.decode("ascii") for code in seen.codes]
    except UnicodeDecodeError:
        raise RequestRejected("frame.malformed", f"{shown(path)}: the code is not a UR frame") from None
    if not texts:
        raise RequestRejected("image.no-code", f"{shown(path)} shows no readable QR code", hint=_HINT_AGAIN)
    return texts
