"""SQLite connections on a disk that fails where a test wants it to."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from online.store.sqlite_file import connect

_READ_STATEMENTS = ("PRAGMA", "SELECT")


class Disk:
    """Knows what shall fail, and how. Give ``disk.connect`` to the store."""

    def __init__(self) -> None:
        self.fail_statement: Callable[[str], bool] = lambda statement: bool(statement) and False
        """Says of a statement whether it fails before it does anything."""
        self.fail_commit_before = 0
        """How many commits fail and keep nothing."""
        self.fail_commit_after = 0
        """How many commits fail after they were kept."""
        self.error: Callable[[], Exception] = lambda: _error("disk I/O error", sqlite3.SQLITE_IOERR)
        self.kill_at: Callable[[str], bool] = lambda moment: bool(moment) and False
        """Says at which moment the process dies of SIGKILL: a statement's text, ``commit`` or ``committed``."""
        self.before_commit: Callable[[], None] = lambda: None

    def connect(self, path: Path) -> sqlite3.Connection:
        """See ``online.store.sqlite_file.connect``."""
        plain = connect(path)
        plain.close()
        uri = f"file:{path}?mode=rw"
        disk = self

        class Faulty(sqlite3.Connection):
            def cursor(self, factory: Any = None) -> Any:
                del factory
                return super().cursor(FaultyCursor)

            def commit(self) -> None:
                if not self.in_transaction:
                    super().commit()
                    return
                disk.before_commit()
                disk.die_at("commit")
                if disk.fail_commit_before:
                    disk.fail_commit_before -= 1
                    raise disk.error()
                super().commit()
                disk.die_at("committed")
                if disk.fail_commit_after:
                    disk.fail_commit_after -= 1
                    raise disk.error()

        class FaultyCursor(sqlite3.Cursor):
            def execute(self, statement: str, parameters: Any = ()) -> Any:
                disk.meet(statement)
                return super().execute(statement, parameters)

            def executemany(self, statement: str, parameters: Any) -> Any:
                disk.meet(statement)
                return super().executemany(statement, parameters)

        return sqlite3.connect(
            uri, uri=True, isolation_level=None, check_same_thread=False, timeout=0.2, factory=Faulty
        )

    def meet(self, statement: str) -> None:
        """Fail or die before a statement that writes, if that is wanted."""
        if not statement.startswith(_READ_STATEMENTS):
            if self.fail_statement(statement):
                raise self.error()
            self.die_at(statement)

    def die_at(self, moment: str) -> None:
        """Kill the process as a power cut would, if this is the moment."""
        if self.kill_at(moment):
            os.kill(os.getpid(), signal.SIGKILL)


def _error(text: str, code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


def disk_full() -> Exception:
    """Return what sqlite3 raises when the disk is full."""
    return _error("database or disk is full", sqlite3.SQLITE_FULL)
