"""Carrying a bundle: written as a file and as QR images, read from either or both.

Invariants: what a file is, is decided by its content, not by its name; each file is read once, as a regular file
and up to a limit; when the same bundle is given twice, as file and as images, both must agree to the byte; what is
written was read back first, so no image leaves that the other side could not read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from shared import durable
from shared.crossing import qr
from shared.crossing.bundle import Bundle, Purpose, decode_bundle
from shared.crossing.media import pictures
from shared.errors import Fatal, RequestRejected

SUFFIX = ".bundle"


def read_bundle(paths: Sequence[Path], *, purpose: Purpose | None) -> tuple[Bundle, bytes]:
    """Read one bundle.

    Args:
        paths: a bundle file, or the images of its frames in any order, or both; at most ``qr.MOST_IMAGES`` files. A
            folder of photographs, a film and a camera are images too.
        purpose: the only purpose accepted; ``None`` to look at any.

    Returns:
        The bundle, and its encoding: the bytes whose digest people compare.

    Raises:
        RequestRejected: ``bundle.no-file``, ``bundle.too-many-files``, ``bundle.differ``, ``file.*``; ``image.*`` and
            ``frame.*`` as ``qr.read_images``; ``media.*`` as ``media.pictures``; ``bundle.*`` as ``decode_bundle``.
    """
    if not paths:
        raise RequestRejected("bundle.no-file", "no bundle was given", hint="name a .bundle file, or its QR images")
    if len(paths) > qr.MOST_IMAGES:
        raise RequestRejected("bundle.too-many-files", f"{len(paths)} files were given, the most is {qr.MOST_IMAGES}")
    # 1. Read each file once and sort by content. Images are decoded at once, so only one is ever in memory.
    reader = qr.ImageReader()
    encodings: dict[str, bytes] = {}
    has_images = False
    for picture in pictures(paths):
        if qr.is_image(picture.content):
            reader.add(picture.path, picture.content, required=picture.required)
            has_images = True
        else:
            _decode(picture.content, purpose, where=f"{qr.shown(picture.path)}: ")
            encodings[qr.shown(picture.path)] = picture.content
    if has_images:
        encodings["the images"] = _carried(reader, beside=list(encodings))
    # 2. All ways lead to the same bytes.
    (first, data), *others = encodings.items()
    for name, other in others:
        if other != data:
            raise RequestRejected(
                "bundle.differ", f"{first} and {name} hold different bundles", hint="give one bundle at a time"
            )
    return _decode(data, purpose, where=""), data


def stage_bundle(staging: durable.Staging, directory: Path, stem: str, data: bytes) -> list[Path]:
    """Stage a bundle as one file and as QR images; nothing appears before the staging commits.

    Args:
        staging: where the files are added; they must not exist yet.
        directory: where they shall appear; it must exist.
        stem: the files are ``stem.bundle`` and ``stem-1.png``, ``stem-2.png``, … by the number of the frame.
        data: an encoded bundle.

    Returns:
        The paths, the bundle file first, then the images in the order of their frames.

    Raises:
        RequestRejected: ``bundle.*`` when the data is not a bundle; ``file.exists``.
        StoreFailed: ``file.write-failed``.
        Fatal: ``frame.unreadable`` when an image does not carry what it was made for.
    """
    # 1. Only a sound bundle leaves.
    decode_bundle(data)
    images = {directory / f"{stem}-{number}.png": image for number, image in enumerate(qr.encode_pngs(data), start=1)}
    # 2. Read the images as the other side will.
    _prove(images, data)
    # 3. Stage them all.
    contents = {directory / f"{stem}{SUFFIX}": data, **images}
    for path, content in contents.items():
        staging.add(path, content)
    return list(contents)


def _carried(reader: qr.ImageReader, *, beside: list[str]) -> bytes:
    try:
        return reader.payload()
    except RequestRejected as error:
        if not beside:
            raise
        state = "incomplete" if error.code == "frame.missing" else "damaged"
        raise RequestRejected(
            error.code,
            f"the images beside {beside[0]} are {state}: {error.message}",
            hint="give all of its images, or only the bundle file",
        ) from None


def _decode(data: bytes, purpose: Purpose | None, *, where: str) -> Bundle:
    try:
        return decode_bundle(data, purpose=purpose)
    except RequestRejected as error:
        raise RequestRejected(error.code, f"{where}{error.message}", hint=error.hint) from None


def _prove(images: Mapping[Path, bytes], data: bytes) -> None:
    reader = qr.ImageReader()
    try:
        for path, image in images.items():
            reader.add(path, image)
        carried = reader.payload()
    except RequestRejected as error:
        raise Fatal("frame.unreadable", f"a QR image just made cannot be read: {error.message}") from None
    if carried != data:
        raise Fatal("frame.unreadable", "the QR images just made do not carry the bundle")
