"""Programs that serve on loopback in temporary directories: started as unprivileged users, frozen, killed, stopped.

Invariants: a process is only ever addressed by its number, with all that descend from it; what was started is gone
when the block ends, however it ends, and its directory with it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

_PATH = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin"
_PATIENCE = 60.0


def clusters(missing: str | None) -> pytest.MarkDecorator:
    """Return the mark of tests that break clusters: they take a minute each file, so somebody has to ask for them.

    Args:
        missing: what is not installed, if anything is.
    """
    reason = missing
    if not os.environ.get("COLDROOT_CLUSTERS"):
        reason = "clusters are broken when asked for only: scripts/test --with-databases"
    return pytest.mark.skipif(reason is not None, reason=str(reason))


def program(name: str, *, among: Sequence[Path] = ()) -> str | None:
    """Return where a program is, also one that is not on an ordinary user's path."""
    for directory in among:
        if os.access(directory / name, os.X_OK):
            return str(directory / name)
    return shutil.which(name) or shutil.which(name, path=_PATH)


@contextmanager
def directory_for_others() -> Iterator[Path]:
    """Yield a directory that other users may pass through, which those of pytest are not."""
    path = Path(tempfile.mkdtemp(prefix="coldroot-servers-"))
    try:
        path.chmod(0o711)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def user_for(name: str) -> str | None:
    """Return the user a server is run as: root gives itself up, anybody else is good enough."""
    return name if os.geteuid() == 0 else None


def run_as(user: str | None, command: Sequence[str | Path]) -> None:
    """Run a command to its end as some user.

    Raises:
        AssertionError: it failed; with what it said.
    """
    done = subprocess.run(
        command, user=user, group=user, extra_groups=[] if user else None, cwd="/", stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False, timeout=_PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"


def own_directory(path: Path, user: str | None) -> Path:
    """Make a directory that is for one user alone."""
    path.mkdir(mode=0o700)
    if user is not None:
        shutil.chown(path, user, user)
    return path


@dataclass(kw_only=True)
class Server(ABC):
    """A server that can be started again."""

    command: Sequence[str]
    log: Path
    user: str | None = None
    goodbye: signal.Signals = signal.SIGTERM
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @abstractmethod
    def is_ready(self) -> bool:
        """Tell whether it is of use by now."""

    @property
    def pid(self) -> int:
        """The number of its first process."""
        assert self._process is not None
        return self._process.pid

    def start(self, *more: str, seconds: float = _PATIENCE) -> None:
        """Start it, and wait until it answers; ``more`` are further arguments for this time."""
        with self.log.open("ab") as said:
            self._process = subprocess.Popen(
                [*self.command, *more], stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd="/",
                user=self.user, group=self.user, extra_groups=[] if self.user else None, start_new_session=True,
            )  # fmt: skip
        until = time.monotonic() + seconds
        while not self.is_ready():
            assert self._process.poll() is None, f"{self.command[0]} ended:\n{self._end_of_log()}"
            assert time.monotonic() < until, f"{self.command[0]} does not answer:\n{self._end_of_log()}"
            time.sleep(0.1)

    def kill(self) -> None:
        """Let it lose its power: all of its processes at once."""
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def freeze(self) -> None:
        """Stop its clock, as a hanging disk or a paused machine does: connections stay open, nothing answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it in an orderly way if that works, else at once."""
        if self._process is None or self._process.poll() is not None:
            return
        self.thaw()
        self._process.send_signal(self.goodbye)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()

    def _signal(self, number: signal.Signals) -> None:
        for pid in (self.pid, *descendants(self.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _end_of_log(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])


def descendants(pid: int) -> list[int]:
    """Return the numbers of all processes below one."""
    with suppress(OSError):
        children = [
            int(each)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for each in (task / "children").read_text().split()
        ]
        return [each for child in children for each in (child, *descendants(child))]
    return []
