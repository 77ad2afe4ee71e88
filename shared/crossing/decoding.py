"""Images are decoded elsewhere: in ``decode_child``, a process that can do nothing but answer.

Invariants: neither Pillow's decoders nor zxing ever run in this process on an image from outside; what comes back is
bounded and checked before it is used; an image that never ends, or that kills its decoder, is one refused image.

The helper process is started by the first image and lives as long as this process, since starting it costs a tenth of a
second and each image a few thousandths. It gets no environment, and no descriptor but its two pipes.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from shared.errors import PeerFailed

MOST_PIXELS = 50_000_000
MOST_FRAMES = 1024
SECONDS = 60.0

_CHILD = Path(__file__).with_name("decode_child.py")
_LONGEST_ANSWER = 1 << 20


class Outcome(StrEnum):
    """What became of an image."""

    CODES = "codes"
    """It was decoded; there may be no code in it."""
    DAMAGED = "damaged"
    TOO_LARGE = "too-large"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """An image as seen by the helper."""

    outcome: Outcome
    codes: tuple[bytes, ...] = ()
    """What each QR code holds, each once."""


class _Helper:
    """The helper process, started when it is needed and again when it died."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def ask(self, content: bytes, seconds: float) -> bytes:
        """Send an image and return the answer, empty when there is none.

        1. One image at a time.
        2. A helper that a parent process started is the parent's.
        3. Whatever happens, the wait ends: the helper is killed, and its children die with it.
        """
        # 1.
        with self._lock:
            # 2.
            if self._process is None or self._owner != os.getpid() or self._process.poll() is not None:
                self._start()
            process = self._process
            assert process is not None
            # 3.
            timer = threading.Timer(seconds, process.kill)
            timer.start()
            try:
                return _exchange(process, content)
            except (EOFError, OSError):
                # It is dead or dying: the next image must not meet it.
                self._stop()
                return b""
            except BaseException:
                self._stop()
                raise
            finally:
                timer.cancel()
                timer.join()

    def close(self) -> None:
        """End the helper of this process, if there is one."""
        with self._lock:
            if self._owner == os.getpid():
                self._stop()

    def _start(self) -> None:
        if self._owner == os.getpid():
            self._stop()
        command = [sys.executable, "-I", str(_CHILD), str(MOST_PIXELS), str(MOST_FRAMES)]
        try:
            self._process = subprocess.Popen(  # noqa: S603 (this very Python, and a file of ours)
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={}, cwd="/"
            )
        except OSError:
            raise PeerFailed("image.no-helper", "the process that decodes images cannot be started") from None
        self._owner = os.getpid()

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                # Closing flushes what nobody reads any more.
                with contextlib.suppress(OSError):
                    pipe.close()
        process.wait()


_helper = _Helper()
atexit.register(_helper.close)


def decode_image(content: bytes, *, seconds: float = SECONDS) -> Decoded:
    """Find the QR codes in a PNG, JPEG or GIF, in all pictures of an animated one.

    Args:
        content: the file, of a bounded size.
        seconds: after which the image counts as damaged.

    Raises:
        PeerFailed: ``image.no-helper``.
    """
    try:
        return _read(_helper.ask(content, seconds))
    except ValueError:
        return Decoded(outcome=Outcome.DAMAGED)


def _exchange(process: subprocess.Popen[bytes], content: bytes) -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(len(content).to_bytes(4, "big") + content)
    process.stdin.flush()
    head = process.stdout.read(4)
    size = int.from_bytes(head, "big")
    if len(head) < 4 or size > _LONGEST_ANSWER:  # noqa: PLR2004 (a length)
        raise EOFError
    return process.stdout.read(size)


def _read(answer: bytes) -> Decoded:
    try:
        value = json.loads(answer)
    except RecursionError:
        raise ValueError from None
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004 (it is caught as a malformed answer)
    codes = value.get("codes", [])
    if not isinstance(codes, list) or not all(isinstance(code, str) for code in codes):
        raise ValueError
    return Decoded(outcome=Outcome(str(value.get("outcome"))), codes=tuple(bytes.fromhex(code) for code in codes))
