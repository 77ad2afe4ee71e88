"""The file that tells which process is the node, so that others can send it a signal.

A number in a file outlives its process, and the number is given to another one. So the node holds a lock on the file
for as long as it lives: only a number under a lock is believed.
"""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import NotFound, RequestRejected, StoreFailed

_LONGEST = 32


@contextmanager
def pid_file(path: Path) -> Iterator[None]:
    """Keep a file with this process's number, for the length of a ``with`` block.

    Args:
        path: is made when it does not exist.

    Raises:
        RequestRejected: ``serve.running`` when another node holds it.
        StoreFailed: ``file.write-failed``.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StoreFailed("file.write-failed", f"{path} cannot be written: {error.strerror}") from None
    try:
        # A lock of the process, not of the descriptor: workers, which are forks, do not hold it.
        if not _locked(descriptor):
            raise RequestRejected("serve.running", f"another node runs and holds {path}")
        _write(descriptor, path, f"{os.getpid()}\n")
        yield
        _write(descriptor, path, "")
    finally:
        os.close(descriptor)


def check_node_runs(path: Path) -> None:
    """Insist that a node runs under a pid file and may be told something, before anything depends on it.

    Args:
        path: as it was given to ``online serve --pidfile``.

    Raises:
        NotFound: ``serve.not-running``.
        RequestRejected: ``serve.not-ours`` when the process is another user's, or ``file.unreadable``.
    """
    _signal(path, 0)


def reload_node(path: Path) -> int:
    """Tell the node of a pid file to read its configuration again (SIGHUP).

    Args:
        path: as it was given to ``online serve --pidfile``.

    Returns:
        The number of its process.

    Raises:
        NotFound: ``serve.not-running``.
        RequestRejected: ``serve.not-ours`` when the process is another user's.
    """
    return _signal(path, signal.SIGHUP)


def _signal(path: Path, number: int) -> int:
    pid = _running(path)
    try:
        os.kill(pid, number)
    except PermissionError:
        raise RequestRejected(
            "serve.not-ours", f"the node (process {pid}) runs as another user", hint=f"sudo kill -HUP {pid}"
        ) from None
    except ProcessLookupError:
        raise _not_running(path) from None
    return pid


def _running(path: Path) -> int:
    try:
        # For writing: that is what the kernel asks of an exclusive lock.
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise _not_running(path) from None
    except OSError as error:
        raise RequestRejected("file.unreadable", f"{path} cannot be read: {error.strerror}") from None
    try:
        if _locked(descriptor):
            raise _not_running(path)
        written = os.read(descriptor, _LONGEST).strip()
    finally:
        os.close(descriptor)
    if not written.isdigit() or int(written) <= 1:
        raise _not_running(path)
    return int(written)


def _write(descriptor: int, path: Path, text: str) -> None:
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode("ascii"), 0)
    except OSError as error:
        raise StoreFailed("file.write-failed", f"{path} cannot be written: {error.strerror}") from None


def _locked(descriptor: int) -> bool:
    """Take the lock; tell whether that worked."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _not_running(path: Path) -> NotFound:
    return NotFound(
        "serve.not-running", f"no node runs under {path}", hint="start it with: online serve --pidfile FILE"
    )
