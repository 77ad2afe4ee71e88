"""The program that looks at images from outside, in a process that can do nothing else. Run, never imported by us.

It is started once and does not itself touch an image: for each one it makes a child, which gives up all it could
misuse and then decodes. So an image that takes over the decoder owns a process of nobody's, without a file, a
network or a second to spare, that can only answer wrongly; a wrong answer is found by the digest of what is carried.

Protocol on stdin and stdout, lengths as four bytes, big endian: a request is a length and the image; an answer is a
length and JSON, ``{"outcome": "codes", "codes": [hex, …]}``, where the outcome may also be ``damaged`` or
``too-large``; an answer of length zero says that the child died.

Invariant: it imports nothing of coldroot's, so it can be read alone; its arguments are the two limits on an image.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import os
import resource
import signal
import sys
import warnings
from typing import BinaryIO

import zxingcpp
from PIL import GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin

KINDS = (PngImagePlugin.PngImageFile.format, JpegImagePlugin.JpegImageFile.format, GifImagePlugin.GifImageFile.format)
NOBODY = 65534
MEMORY_BYTES = 2 << 30
CPU_SECONDS = 20
LONGEST_ANSWER = 1 << 20

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_WHITE = 255
_QR_ONLY = zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCode)


def confine() -> None:
    """Give up everything that decoding an image does not need; for good.

    1. Die with the parent; gain no privilege by any program; leave no dump.
    2. No core file, no writing to files, no further process, bounded memory and time.
    3. Nobody's user and group, when this is root.
    4. No further descriptor: neither a file nor a socket can be opened.
    """
    # 1.
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value in ((_PR_SET_PDEATHSIG, signal.SIGKILL), (_PR_SET_NO_NEW_PRIVS, 1), (_PR_SET_DUMPABLE, 0)):
        if libc.prctl(option, *(ctypes.c_ulong(each) for each in (value, 0, 0, 0))) != 0:
            raise OSError(ctypes.get_errno(), "prctl")
    # 2.
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_AS: MEMORY_BYTES,
        resource.RLIMIT_CPU: CPU_SECONDS,
    }
    for kind, most in limits.items():
        hard = resource.getrlimit(kind)[1]
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (least, least))
    # 3.
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    # 4. Last: what came before may have opened something.
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))


def decode(content: bytes, most_pixels: int, most_frames: int) -> dict[str, object]:
    """Return the codes in an image, or in all the pictures of an animated one.

    Args:
        content: a PNG, JPEG or GIF file.
        most_pixels: of one picture.
        most_frames: pictures of an animation that are looked at.
    """
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(content), formats=KINDS) as image:
            # Opening reads the header only.
            if image.width * image.height > most_pixels:
                return {"outcome": "too-large"}
            codes: dict[bytes, None] = {}
            for number in range(min(getattr(image, "n_frames", 1), most_frames)):
                if number:
                    image.seek(number)
                found = zxingcpp.read_barcodes(_on_white(image), formats=_QR_ONLY)
                codes.update((code.bytes, None) for code in found)
    except Image.DecompressionBombError:
        return {"outcome": "too-large"}
    except Exception:  # noqa: BLE001 (on hostile input Pillow raises errors of a dozen kinds)
        return {"outcome": "damaged"}
    return {"outcome": "codes", "codes": [code.hex() for code in codes]}


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("L")
    # What is transparent looks white on paper, and its hidden colour is often black.
    layered = image.convert("LA")
    white = Image.new("L", image.size, _WHITE)
    white.paste(layered.getchannel("L"), mask=layered.getchannel("A"))
    return white


def _in_a_child(content: bytes, most_pixels: int, most_frames: int) -> bytes:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            confine()
            answer = json.dumps(decode(content, most_pixels, most_frames)).encode("ascii")
            while answer:
                answer = answer[os.write(writing, answer) :]
            os._exit(0)
        os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read(LONGEST_ANSWER + 1)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    # A child that answered may be killed while it leaves; only a whole answer is JSON, which the other side checks.
    died = os.WIFSIGNALED(status) and os.WTERMSIG(status) != signal.SIGKILL
    return b"" if died or len(answer) > LONGEST_ANSWER else answer


def warm_up() -> None:
    """Decode images of our own: the libraries open files when they are first used, and later nothing can be opened."""
    blank = Image.new("L", (64, 64), _WHITE)
    for kind in KINDS:
        file = io.BytesIO()
        blank.save(file, format=kind)
        decode(file.getvalue(), 64 * 64, 1)


def _serve(requests: BinaryIO, answers: BinaryIO, most_pixels: int, most_frames: int) -> None:
    while len(head := requests.read(4)) == 4:  # noqa: PLR2004 (a length)
        content = requests.read(int.from_bytes(head, "big"))
        answer = _in_a_child(content, most_pixels, most_frames)
        answers.write(len(answer).to_bytes(4, "big") + answer)
        answers.flush()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warm_up()
    _serve(sys.stdin.buffer, sys.stdout.buffer, int(sys.argv[1]), int(sys.argv[2]))
