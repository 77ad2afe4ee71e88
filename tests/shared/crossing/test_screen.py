"""Bundles on screens and films: what a screen shows is what the other side reads."""

from __future__ import annotations

import io
import itertools
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from fakes.ur_vectors import published_message
from PIL import Image, ImageFilter

from shared.crossing import media, qr
from shared.crossing.bundle import Bundle, Purpose
from shared.crossing.screen import animated_gif, terminal_codes
from shared.crossing.transfer import read_bundle
from shared.errors import RequestRejected, Unsupported

PAYLOAD = published_message(1500)
REQUEST = Bundle(
    purpose=Purpose.INTERMEDIATE_REQUEST,
    identifier="ab" * 16,
    in_reply_to=None,
    members={"request.csr": published_message(1200)},
).encode()


def as_picture(code: str) -> bytes:
    """Turn half blocks into an image, as a camera before the terminal would."""
    lines = [re.sub("\x1b\\[[0-9;]*m", "", line) for line in code.splitlines()]
    image = Image.new("L", (len(lines[0]), 2 * len(lines)), 255)
    for row, line in enumerate(lines):
        for column, letter in enumerate(line):
            if letter in "\u2580\u2588":
                image.putpixel((column, 2 * row), 0)
            if letter in "\u2584\u2588":
                image.putpixel((column, 2 * row + 1), 0)
    file = io.BytesIO()
    image.resize((image.width * 4, image.height * 4), Image.Resampling.NEAREST).save(file, format="PNG")
    return file.getvalue()


def test_an_animated_picture_carries_everything(tmp_path: Path) -> None:
    """A telephone that films a screen is often the only camera there is."""
    path = tmp_path / "request.gif"
    path.write_bytes(animated_gif(REQUEST))
    assert read_bundle([path], purpose=Purpose.INTERMEDIATE_REQUEST)[1] == REQUEST
    assert animated_gif(REQUEST) == path.read_bytes()
    with Image.open(path) as image:
        assert image.n_frames > len(qr.encode_pngs(REQUEST))  # type: ignore[attr-defined]
    path.write_bytes(animated_gif(b"small"))
    assert qr.read_images([path]) == b"small"


def test_half_of_an_animation_is_enough(tmp_path: Path) -> None:
    """A camera misses pictures; waiting for exactly the missed one to come round again is what people cannot stand."""
    with Image.open(io.BytesIO(animated_gif(PAYLOAD))) as image:
        total = image.n_frames  # type: ignore[attr-defined]
        for number in range(total // 2 - 1, total):
            image.seek(number)
            image.convert("L").save(tmp_path / f"{number}.png")
    assert qr.read_images(sorted(tmp_path.iterdir())) == PAYLOAD


@pytest.mark.parametrize(("columns", "lines"), [(200, 70), (100, 50), (80, 45)])
def test_a_terminal_shows_what_a_camera_reads(tmp_path: Path, columns: int, lines: int) -> None:
    """A code that is wider than the terminal wraps, and looks like a code to everybody but the camera."""
    paths = []
    shown = list(terminal_codes(PAYLOAD, columns=columns, lines=lines, once=True))
    for number, (name, code) in enumerate(shown):
        plain = [re.sub("\x1b\\[[0-9;]*m", "", line) for line in code.splitlines()]
        assert {len(line) for line in plain} == {len(plain[0])}
        assert len(plain[0]) <= columns
        assert len(plain) + 1 <= lines
        assert name == f"frame {number + 1} of {len(shown)}"
        paths.append(tmp_path / f"{number}.png")
        paths[-1].write_bytes(as_picture(code))
    assert qr.read_images(paths) == PAYLOAD


def test_mixed_frames_follow_the_pure_ones(tmp_path: Path) -> None:
    """Frames that only repeat make a person wait a whole round for each one that was lost."""
    codes = terminal_codes(PAYLOAD, columns=100, lines=50)
    first = next(codes)
    total = int(first[0].split()[-1])
    later = list(itertools.islice(codes, 3 * total))[total // 2 :]
    assert later[-1][0].endswith(f"a mixture of the {total}")
    paths = [tmp_path / f"{number}.png" for number in range(len(later))]
    for path, (_, code) in zip(paths, later, strict=True):
        path.write_bytes(as_picture(code))
    assert qr.read_images(paths) == PAYLOAD


def test_a_small_terminal_is_told() -> None:
    """Better no code than one that no camera can read."""
    with pytest.raises(RequestRejected) as refused:
        next(terminal_codes(PAYLOAD, columns=30, lines=20))
    assert refused.value.code == "terminal.too-small"


def test_a_folder_of_photographs(tmp_path: Path) -> None:
    """Of forty photographs three are of the floor; the folder is read all the same, and a gap is named."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    frames = qr.encode_pngs(REQUEST)
    for number, frame in enumerate(frames):
        (folder / f"{number}.png").write_bytes(frame)
    Image.new("L", (90, 90), 99).save(folder / "floor.jpg")
    (folder / "cut.png").write_bytes(frames[0][:300])
    (folder / "notes.txt").write_text("not an image")
    assert read_bundle([folder], purpose=None)[1] == REQUEST
    (folder / "1.png").unlink()
    with pytest.raises(RequestRejected) as refused:
        read_bundle([folder], purpose=None)
    assert refused.value.code == "frame.missing"
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(RequestRejected) as refused:
        read_bundle([empty], purpose=None)
    assert refused.value.code == "image.none"


def film_maker(directory: Path, *, frames: tuple[bytes, ...]) -> None:
    """Put a program in the place of ffmpeg that writes these pictures, and its arguments."""
    for number, frame in enumerate(frames):
        (directory / f"frame-{number}").write_bytes(frame)
    program = directory / "ffmpeg"
    names = " ".join(f"{directory}/frame-{number}" for number in range(len(frames)))
    # Its own limits are what a decoder would meet.
    program.write_text(
        f'#!/bin/sh\n[ "$(ulimit -c)" = 0 ] && [ "$(ulimit -f)" = 0 ] || exit 1\n/bin/cat {names} /dev/null\n'
    )
    program.chmod(0o755)


def test_a_film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ffmpeg's stream of images has no lengths: cut in the wrong place, all later pictures would be lost."""
    blurred = io.BytesIO()
    Image.new("L", (90, 90), 99).save(blurred, format="PNG")
    film = tmp_path / "film.MP4"
    film.write_bytes(b"a film")
    film_maker(tmp_path, frames=(blurred.getvalue(), *qr.encode_pngs(REQUEST), b"broken off \x89PNG"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read_bundle([film], purpose=None)[1] == REQUEST
    film_maker(tmp_path, frames=())
    with pytest.raises(RequestRejected) as refused:
        read_bundle([film], purpose=None)
    assert refused.value.code == "media.failed"
    with pytest.raises(RequestRejected) as refused:
        read_bundle([tmp_path / "missing.mp4"], purpose=None)
    assert refused.value.code == "file.not-regular"


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed (Debian: ffmpeg)")
@pytest.mark.parametrize("codec", ["libx264", "mjpeg"])
def test_a_film_that_a_camera_took(tmp_path: Path, codec: str) -> None:
    """The real ffmpeg under our limits: too little memory or an option that it does not know would end every film."""
    for number, frame in enumerate(qr.encode_pngs(REQUEST)):
        # As a hand-held camera sees a screen: askew on a grey ground, not quite sharp.
        code = Image.open(io.BytesIO(frame)).convert("RGB").rotate(4, expand=True, fillcolor="grey")
        picture = Image.new("RGB", (1280, 960), "grey")
        picture.paste(code.resize((900, 900)), (190, 30))
        picture.filter(ImageFilter.GaussianBlur(1.2)).save(tmp_path / f"seen-{number:02}.png")
    film = tmp_path / ("film.mp4" if codec == "libx264" else "film.avi")
    made = subprocess.run(
        ["ffmpeg", "-loglevel", "error", "-framerate", "1", "-i", str(tmp_path / "seen-%02d.png"), "-c:v", codec,
         "-vf", "tpad=stop_mode=clone:stop_duration=1", "-pix_fmt", "yuvj420p", "-r", "25", str(film)],
        check=False,
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert read_bundle([film], purpose=None)[1] == REQUEST


def test_a_film_without_ffmpeg_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the day nobody installs ffmpeg: photographs work everywhere."""
    monkeypatch.setenv("PATH", str(tmp_path))
    for path in (tmp_path / "film.mp4", Path("/dev/video9")):
        with pytest.raises(Unsupported) as refused:
            list(media.pictures([path]))
        assert refused.value.code == "media.no-decoder"
        assert "photographs" in (refused.value.hint or "")


def test_a_fifo_in_a_folder_is_not_opened(tmp_path: Path) -> None:
    """A FIFO on a stranger's stick would hang the ceremony for ever."""
    os.mkfifo(tmp_path / "frame.png")
    with pytest.raises(RequestRejected):
        list(media.pictures([tmp_path]))
    with pytest.raises(RequestRejected) as refused:
        list(media.pictures([tmp_path / "frame.png"]))
    assert refused.value.code == "file.not-regular"
