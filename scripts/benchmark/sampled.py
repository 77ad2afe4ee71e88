"""The command ``online`` with eyes on it: at each tick of its processor time, note where a worker is.

    python -I sampled.py FILE serve …

A function that C code spends its time in is noted as the Python function that called it. The counts of each process go
to FILE.PID again and again; there is nothing of it in the product.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

INTERVAL = 0.001
"""Seconds; the kernel's own tick is the least."""
_WRITTEN_EVERY = 100

_LIBRARY = f"{Path(os.__file__).parent}/"
_ROOT = f"{Path(__file__).resolve().parents[2]}/"

_own: Counter[str] = Counter()
_below: Counter[str] = Counter()


def main() -> None:
    """Run the command line behind the file's name."""
    _, file, *arguments = sys.argv
    os.register_at_fork(after_in_child=lambda: _begin(Path(file)))
    sys.argv = ["online", *arguments]
    from online.cli import cli  # noqa: PLC0415 (as online.__main__ does)

    cli(prog_name="online")


def _begin(file: Path) -> None:
    def note(number: int, frame: FrameType | None) -> None:
        del number
        seen = set()
        if frame is not None:
            _own[_name(frame)] += 1
        while frame is not None:
            seen.add(_name(frame))
            frame = frame.f_back
        _below.update(seen)
        if _own.total() % _WRITTEN_EVERY == 0:
            file.with_suffix(f".{os.getpid()}").write_text(json.dumps({"own": _own, "below": _below}))

    _own.clear()
    _below.clear()
    signal.signal(signal.SIGPROF, note)
    signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)


def _name(frame: FrameType) -> str:
    code = frame.f_code
    file = code.co_filename.removeprefix(_ROOT).rpartition("/site-packages/")[2]
    return f"{file.rpartition(_LIBRARY)[2]} {code.co_qualname}"


if __name__ == "__main__":
    main()
