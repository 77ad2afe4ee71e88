"""Whatever a camera made, as single images: photographs, a folder of them, a film, a camera that is plugged in.

A film and a camera need ffmpeg, which is asked for single pictures only, and runs under limits.

Invariants: a folder is looked into one level deep, in the order of the names; nothing that is given is opened unless it
is a regular file; what is cut off (files, pictures, bytes, time) is cut off with an error, never in silence.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared import durable
from shared.crossing.qr import LARGEST_IMAGE_BYTES, MOST_IMAGES, is_image, shown
from shared.errors import RequestRejected, Unsupported

PICTURES_A_SECOND = 5
LONGEST_FILM_SECONDS = 120
_FILM_SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi"})
_CAMERA = "/dev/video"
_PNG_BEGIN, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
_MOST_FILM_BYTES = 1 << 30
_FILM_MEMORY_BYTES = 4 << 30
_FILM_CPU_SECONDS = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A file's content, or one picture of a film."""

    path: Path
    content: bytes
    required: bool
    """Whether somebody chose it: then a picture without a code is a mistake. Of a folder or a film some are blurred."""


def pictures(paths: Sequence[Path]) -> Iterator[Picture]:
    """Read what was given, one file after the other; folders and films become their pictures.

    Args:
        paths: files of any kind, folders, films, or ``/dev/videoN``.

    Raises:
        RequestRejected: ``file.*``, ``image.too-many``, ``media.failed``.
        Unsupported: ``media.no-decoder`` for a film or a camera where ffmpeg is not installed.
    """
    count = 0
    for path in paths:
        for picture in _of(path):
            count += 1
            if count > MOST_IMAGES and picture.required:
                raise RequestRejected("image.too-many", f"more than {MOST_IMAGES} files were given")
            yield picture


def _of(path: Path) -> Iterator[Picture]:
    if path.is_dir():
        yield from _folder(path)
    elif str(path).startswith(_CAMERA) or path.suffix.lower() in _FILM_SUFFIXES:
        yield from _film(path)
    else:
        yield Picture(path=path, content=durable.read_file(path, limit=LARGEST_IMAGE_BYTES), required=True)


def _folder(path: Path) -> Iterator[Picture]:
    try:
        files = sorted(each for each in path.iterdir() if each.is_file())
    except OSError:
        raise RequestRejected("file.unreadable", f"{shown(path)} cannot be looked into") from None
    if len(files) > MOST_IMAGES:
        raise RequestRejected("image.too-many", f"{shown(path)} holds more than {MOST_IMAGES} files")
    found = False
    for each in files:
        content = durable.read_file(each, limit=LARGEST_IMAGE_BYTES)
        if is_image(content):
            found = True
            yield Picture(path=each, content=content, required=False)
    if not found:
        raise RequestRejected("image.none", f"{shown(path)} holds no image")


def _film(path: Path) -> Iterator[Picture]:
    """Have ffmpeg write single PNG images, one after the other.

    1. Only a program that is there, on a file that is one.
    2. Limited: bounded memory and time, no file is written, no address is followed that a film may name. Its user stays
       ours: a stranger could not read the file, nor open the camera.
    3. Cut the stream at the end of each image; a picture is judged by the decoder like any other.
    """
    # 1.
    program = shutil.which("ffmpeg")
    if program is None:
        raise Unsupported(
            "media.no-decoder",
            f"{shown(path)}: films and cameras need ffmpeg, which is not installed",
            hint="take single photographs and give their folder",
        )
    camera = str(path).startswith(_CAMERA)
    if not camera and not path.is_file():
        raise RequestRejected("file.not-regular", f"{shown(path)} is not a regular file")
    source = ["-f", "v4l2", "-t", str(LONGEST_FILM_SECONDS)] if camera else ["-t", str(LONGEST_FILM_SECONDS)]
    command = [
        program, "-nostdin", "-loglevel", "error", "-protocol_whitelist", "file,pipe", "-threads", "1", *source,
        "-i", str(path.absolute()), "-an", "-vf", f"fps={PICTURES_A_SECOND}", "-f", "image2pipe", "-c:v", "png",
        "pipe:1",
    ]  # fmt: skip
    # 2.
    with subprocess.Popen(  # noqa: S603 (the program that was found, the file as one argument)
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={},
        preexec_fn=_limit,  # noqa: PLW1509 (no thread of ours holds a lock over a fork)
    ) as process:  # fmt: skip
        assert process.stdout is not None
        waiting, total = b"", 0
        # 3.
        try:
            while chunk := process.stdout.read(1 << 16):
                waiting, total = waiting + chunk, total + len(chunk)
                if total > _MOST_FILM_BYTES or len(waiting) > LARGEST_IMAGE_BYTES:
                    raise RequestRejected("media.failed", f"{shown(path)} holds more than can be looked at")
                while (end := waiting.find(_PNG_END)) >= 0:
                    image, waiting = waiting[: end + len(_PNG_END)], waiting[end + len(_PNG_END) :]
                    if image.startswith(_PNG_BEGIN):
                        yield Picture(path=path, content=image, required=False)
        finally:
            process.kill()
    if not total:
        raise RequestRejected("media.failed", f"{shown(path)}: ffmpeg finds no picture in it")


def _limit() -> None:
    for kind, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_AS, _FILM_MEMORY_BYTES),
        (resource.RLIMIT_CPU, _FILM_CPU_SECONDS),
    ):
        resource.setrlimit(kind, (most, most))
