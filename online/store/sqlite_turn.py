"""The line in which the processes of one machine stand to write into one SQLite file.

It is a kernel lock on a side file: whoever waits sleeps, the first to come is the first to go, and what a process that
died held is free again.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from online.store.sqlite_file import missing
from shared import durable
from shared.errors import StoreFailed

_POLL_SECONDS = 0.002


class Turn:
    """A place in the line. Used by one thread at a time, whichever it is."""

    def __init__(self, path: Path) -> None:
        """Take a database's path; the lock file beside it is opened with the first turn."""
        self._path = path
        self._lock_path = path.with_name(f"{path.name}.lock")
        self._lock = -1

    def take(self, *, wait: bool, seconds: float | None = None) -> bool:
        """Take the turn.

        Args:
            wait: whether to wait for it, in the line.
            seconds: for how long at most, and then outside of the line, which nobody can leave; for as long as it
                takes when not given.

        Returns:
            ``False`` when somebody else has it.

        Raises:
            StoreFailed: ``store.missing`` or ``store.lock``.
        """
        if not wait or seconds is None:
            return self._take(wait=wait)
        until = time.monotonic() + seconds
        while not self._take(wait=False):
            if time.monotonic() >= until:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def _take(self, *, wait: bool) -> bool:
        try:
            if self._lock < 0:
                # The lock file holds nothing and may be made anew, but not where there is no database.
                owner = self._path.stat()
                flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
                self._lock = os.open(self._lock_path, flags, durable.PRIVATE)
                if os.geteuid() == 0:
                    # Root may be an operator at work beside the node, whose user must be able to lock it, too.
                    os.fchown(self._lock, owner.st_uid, owner.st_gid)
            fcntl.flock(self._lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except FileNotFoundError:
            raise missing(self._path) from None
        except OSError as error:
            raise StoreFailed("store.lock", f"{self._lock_path} cannot be locked: {error.strerror}") from None
        return True

    def end(self) -> None:
        """Give the turn back."""
        fcntl.flock(self._lock, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the lock file."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
