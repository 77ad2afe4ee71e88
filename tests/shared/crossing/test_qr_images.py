"""QR images: deterministic, small enough for paper, readable after a camera had its way, and safe to be given."""

from __future__ import annotations

import io
import os
import random
import struct
import zlib
from pathlib import Path

import pytest
import zxingcpp
from fakes.ur_vectors import published_message
from PIL import Image, ImageFilter

from shared.crossing import qr
from shared.crossing.ur import LONGEST_FRAME
from shared.errors import RequestRejected

PAYLOAD = published_message(1500)


@pytest.fixture(scope="module")
def frames() -> tuple[bytes, ...]:
    """Draw the frames of ``PAYLOAD`` once."""
    return qr.encode_pngs(PAYLOAD)


def put(directory: Path, images: dict[str, bytes]) -> list[Path]:
    """Write images, return their paths."""
    for name, content in images.items():
        (directory / name).write_bytes(content)
    return [directory / name for name in images]


def png(image: Image.Image, kind: str = "PNG") -> bytes:
    """Write an image to bytes."""
    file = io.BytesIO()
    image.save(file, format=kind)
    return file.getvalue()


def opened(content: bytes) -> Image.Image:
    """Open an image in grey."""
    return Image.open(io.BytesIO(content)).convert("L")


def refused(paths: list[Path]) -> RequestRejected:
    """Return the error with which images are refused."""
    with pytest.raises(RequestRejected) as caught:
        qr.read_images(paths)
    return caught.value


def test_any_order_and_repetitions(tmp_path: Path, frames: tuple[bytes, ...]) -> None:
    """Files come as the shell sorts them: 1, 10, 2."""
    assert len(frames) == 3
    paths = put(tmp_path, {f"{number}.png": frame for number, frame in enumerate(frames)})
    assert qr.read_images([paths[2], paths[0], paths[1], paths[0]]) == PAYLOAD


def test_same_payload_same_bytes(frames: tuple[bytes, ...]) -> None:
    """Images that differ from run to run could not be compared with those of a rehearsal."""
    assert qr.encode_pngs(PAYLOAD) == frames


@pytest.mark.parametrize(("size", "count"), [(1, 1), (714, 1), (715, 2), (1377, 2), (1378, 3)])
def test_frames_are_few_and_of_version_25_at_most(size: int, count: int) -> None:
    """One code where one suffices; never a code denser than paper and a phone carry.

    The matrix of version v has 17 + 4v modules, and 8 of margin.
    """
    frames = qr.encode_pngs(published_message(size))
    assert len(frames) == count
    for frame in frames:
        side = opened(frame).width // 8
        assert side <= 17 + 4 * 25 + 8


def test_codes_are_alphanumeric_with_level_m(frames: tuple[bytes, ...]) -> None:
    """Byte mode would need a third more modules; level L fails on blurred prints. The decoder is the judge."""
    (code,) = zxingcpp.read_barcodes(opened(frames[0]))
    assert code.ec_level == "M"
    assert code.text.startswith("UR:BYTES/1-3/")
    assert code.text == code.text.upper()


def test_later_frames_of_a_screen_fit_too() -> None:
    """A running screen shows frames with longer numbers: their codes must not grow past the limit."""
    encoder = qr.frame_encoder(bytes(48 << 10))
    assert opened(qr.draw_frame(encoder.frame(65535))).width // 8 <= 125


def test_frame_that_needs_a_larger_code_is_a_programming_error() -> None:
    """Drawing it anyway would make a code that the other side may not be able to photograph."""
    with pytest.raises(ValueError, match="version"):
        qr.draw_frame("A" * 1452)


@pytest.mark.parametrize(
    "damage",
    [
        lambda image: image.rotate(13, expand=True, fillcolor=255),
        lambda image: image.rotate(171, expand=True, fillcolor=255, resample=Image.Resampling.BICUBIC),
        lambda image: image.transpose(Image.Transpose.ROTATE_90),
        lambda image: image.filter(ImageFilter.GaussianBlur(2)),
        lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.BILINEAR),
        lambda image: Image.blend(image, Image.effect_noise(image.size, 60), 0.3),
        lambda image: image.point([value // 2 + 60 for value in range(256)]),
        lambda image: image.point([255 - value for value in range(256)]),
    ],
    ids=["tilted", "upside-down", "sideways", "blurred", "small", "noisy", "faint", "inverted"],
)
def test_camera_damage(tmp_path: Path, frames: tuple[bytes, ...], damage: object) -> None:
    """Photographs are never what was drawn."""
    assert callable(damage)
    images = {f"{number}.jpg": png(damage(opened(frame)), "JPEG") for number, frame in enumerate(frames)}
    assert qr.read_images(put(tmp_path, images)) == PAYLOAD


def test_all_codes_on_one_sheet(tmp_path: Path, frames: tuple[bytes, ...]) -> None:
    """Somebody lays three sheets side by side and takes one picture."""
    parts = [opened(frame) for frame in frames]
    sheet = Image.new("L", (sum(part.width for part in parts) + 100, 1100), 230)
    left = 0
    for part in parts:
        sheet.paste(part, (left, 50))
        left += part.width + 30
    assert qr.read_images(put(tmp_path, {"sheet.jpg": png(sheet, "JPEG")})) == PAYLOAD


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "CMYK"])
def test_colour_modes(tmp_path: Path, mode: str) -> None:
    """Screen shots come with alpha channels and palettes, some scanners write CMYK."""
    image = opened(qr.encode_pngs(b"colour")[0]).convert(mode)
    kind = "JPEG" if mode == "CMYK" else "PNG"
    assert qr.read_images(put(tmp_path, {"image": png(image, kind)})) == b"colour"


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_background(tmp_path: Path, mode: str) -> None:
    """A transparent white that turns black would make a black square of the code."""
    grey = opened(qr.encode_pngs(b"transparent")[0])
    black = Image.new("L", grey.size, 0)
    layered = Image.merge("LA", (black, grey.point([255 - value for value in range(256)])))
    if mode == "P":
        image = grey.convert("P")
        file = io.BytesIO()
        image.putpalette([0, 0, 0] * 256)
        image.save(file, format="PNG", transparency=255)
        content = file.getvalue()
    else:
        content = png(layered.convert(mode))
    assert qr.read_images(put(tmp_path, {"image.png": content})) == b"transparent"


def test_missing_frame_is_named(tmp_path: Path, frames: tuple[bytes, ...]) -> None:
    """The person at the camera needs the number of the sheet to go back to."""
    paths = put(tmp_path, {"a.png": frames[0], "c.png": frames[2]})
    error = refused(paths)
    assert (error.code, error.message) == ("frame.missing", "frame 2 of 3 is missing")
    assert error.hint == "add its image, or take it again"


def test_frame_of_another_message_is_named_by_its_file(tmp_path: Path, frames: tuple[bytes, ...]) -> None:
    """Yesterday's image in the same folder must not pass, nor be skipped in silence."""
    foreign = qr.encode_pngs(b"another message")[0]
    paths = put(tmp_path, {**{f"{number}.png": frame for number, frame in enumerate(frames)}, "old.png": foreign})
    error = refused(paths)
    assert error.code == "frame.foreign"
    assert error.message.startswith(f"{tmp_path}/old.png: ")


def test_other_qr_code_is_named_by_its_file(tmp_path: Path) -> None:
    """A share sheet held before the camera holds words: they must not show up in the message."""
    sheet = qr.draw_frame("ACADEMIC ACID ACROBAT ROMP")
    error = refused(put(tmp_path, {"share.png": sheet}))
    assert (error.code, error.message) == ("frame.malformed", f"{tmp_path}/share.png: the text is not a UR frame")


def test_qr_code_of_other_bytes_is_refused(tmp_path: Path) -> None:
    """A code in byte mode may hold any bytes, not text alone."""
    barcode = zxingcpp.create_barcode(b"\xff\xfe\x00", zxingcpp.BarcodeFormat.QRCode)
    image = Image.fromarray(barcode.to_image(scale=8))
    error = refused(put(tmp_path, {"bytes.png": png(image)}))
    assert (error.code, error.message) == ("frame.malformed", f"{tmp_path}/bytes.png: the code is not a UR frame")


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_image_without_a_code_is_named(tmp_path: Path, kind: str) -> None:
    """A thumb before the lens: the image, not the frame number, is what the person can act on."""
    blank = png(Image.new("L", (300, 300), 200), kind)
    error = refused(put(tmp_path, {"thumb": blank}))
    assert (error.code, error.message) == ("image.no-code", f"{tmp_path}/thumb shows no readable QR code")


def test_damaged_images_are_named(tmp_path: Path, frames: tuple[bytes, ...]) -> None:
    """A copy broken off, and random damage, end in our error whatever the image library thinks of them."""
    chance = random.Random(2)  # noqa: S311 - the same damage on every run
    (path,) = put(tmp_path, {"cut.png": frames[0][: len(frames[0]) // 2]})
    assert refused([path]).code == "image.malformed"
    assert str(path) in refused([path]).message
    jpeg = png(opened(frames[0]), "JPEG")
    for whole in (frames[0], jpeg):
        for _ in range(60):
            damaged = bytearray(whole)
            for _ in range(chance.randrange(1, 6)):
                damaged[chance.randrange(3, len(damaged))] = chance.randrange(256)
            path.write_bytes(damaged)
            assert refused([path]).code.startswith(("image.", "frame.missing"))


def test_other_kinds_of_image_are_not_opened(tmp_path: Path) -> None:
    """Each further format is a further parser for a stranger to aim at."""
    for kind in ("WEBP", "BMP", "TIFF"):
        (path,) = put(tmp_path, {"image.png": png(Image.new("L", (50, 50)), kind)})
        assert refused([path]).message == f"{path} is not a PNG, JPEG or GIF image"


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@pytest.mark.parametrize("side", [7_100, 12_000, 20_000, 2_000_000_000])
def test_image_bomb_is_refused_by_its_header(tmp_path: Path, side: int) -> None:
    """A few bytes that unpack to gigabytes: over our limit, over Pillow's warning, over Pillow's own limit."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(bytes(1000)))
    error = refused(put(tmp_path, {"bomb.png": bomb + _chunk(b"IEND", b"")}))
    assert (error.code, error.message) == ("image.too-large", f"{tmp_path}/bomb.png has more than 50000000 pixels")


def test_text_chunk_bomb_is_refused(tmp_path: Path, frames: tuple[bytes, ...]) -> None:
    """Compressed comments in a PNG can unpack to gigabytes as well."""
    bomb = _chunk(b"zTXt", b"comment\0\0" + zlib.compress(bytes(80 << 20), 9))
    image = frames[0][:33] + bomb + frames[0][33:]
    assert refused(put(tmp_path, {"comment.png": image})).code == "image.malformed"


def test_file_size_and_count_are_limited(tmp_path: Path) -> None:
    """A stick with a hundred thousand files, or one sparse file of a terabyte."""
    huge = tmp_path / "huge.png"
    huge.touch()
    os.truncate(huge, qr.LARGEST_IMAGE_BYTES + 1)
    assert refused([huge]).code == "file.too-large"
    assert refused([tmp_path / "missing.png"] * (qr.MOST_IMAGES + 1)).code == "image.too-many"


def test_fifo_device_and_directory_are_refused(tmp_path: Path) -> None:
    """A FIFO named like an image would hang the ceremony for ever."""
    fifo = tmp_path / "frame.png"
    os.mkfifo(fifo)
    for path in (fifo, Path("/dev/zero"), tmp_path):
        assert refused([path]).code == "file.not-regular"


def test_file_names_cannot_write_on_the_terminal(tmp_path: Path) -> None:
    """A name with a line break or an escape sequence could forge a line of the ceremony's output."""
    name = "frame\x1b[2J\nOK all frames read.png"
    error = refused(put(tmp_path, {name: b"not an image"}))
    assert "\n" not in error.message
    assert "\x1b" not in error.message


def test_longest_frame_is_that_of_the_largest_code() -> None:
    """A text longer than any code can hold is refused before parsing; the limit must not refuse a real code."""
    barcode = zxingcpp.create_barcode("A" * LONGEST_FRAME, zxingcpp.BarcodeFormat.QRCode, ec_level="L")
    assert len(barcode.text) == LONGEST_FRAME
