"""Programs that run beside the benchmark, and their end: by process number, whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

_GOODBYE = 30.0
_LAST_LINES = 15


class Failed(Exception):
    """The benchmark cannot go on; the text says why."""


@contextmanager
def running(
    command: Sequence[str | Path], log: Path, *, environment: Mapping[str, str] | None = None, user: str | None = None,
    goodbye: signal.Signals = signal.SIGTERM,
) -> Iterator[subprocess.Popen[bytes]]:  # fmt: skip
    """Run a program until the block ends.

    Args:
        command: the program and its arguments.
        log: takes what it says.
        environment: replaces ours.
        user: runs it; None: ourselves.
        goodbye: asks it to end; it is killed, with all below it, when it does not.
    """
    with log.open("ab") as said:
        # In a session of its own: Ctrl-C is for the benchmark, which then ends the others in order.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=environment, start_new_session=True,
            user=user, group=user, extra_groups=[] if user else None, cwd="/",
        )  # fmt: skip
    try:
        yield process
    finally:
        below = descendants(process.pid)
        with suppress(ProcessLookupError):
            process.send_signal(goodbye)
        try:
            process.wait(_GOODBYE)
        except subprocess.TimeoutExpired:
            for pid in (process.pid, *below):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()


def descendants(pid: int) -> list[int]:
    """Return the numbers of all processes below one."""
    with suppress(OSError):
        children = [int(each) for task in Path(f"/proc/{pid}/task").iterdir()
                    for each in (task / "children").read_text().split()]  # fmt: skip
        return [each for child in children for each in (child, *descendants(child))]
    return []


def last_lines(log: Path) -> str:
    """Return the end of a log, for a complaint."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LAST_LINES:])


def end_on_signals() -> None:
    """Let TERM and HUP end the benchmark as Ctrl-C does: through every block that stops something."""

    def leave(number: int, frame: FrameType | None) -> None:
        del frame
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
