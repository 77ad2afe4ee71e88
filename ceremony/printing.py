"""Printing a sheet by a command of the machine's own, for example ``lp -d sheets``.

A spooler keeps a copy unless it is told otherwise: the command that is given here should print to a printer that is
attached directly, with a spool in memory. The sheet's path is the command's last argument; nothing secret is in it.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from shared.errors import PeerFailed, RequestRejected

Printer = Callable[[Path], None]
"""Prints a file."""

_LONGEST_SECONDS = 120


def printer(command: str) -> Printer:
    """Return what prints by a command.

    Args:
        command: program and options as a shell would split them; no shell runs it.

    Raises:
        RequestRejected: ``printer.command``, when there is no such program.
    """
    try:
        arguments = shlex.split(command)
    except ValueError:
        raise RequestRejected("printer.command", "the printing command has an open quotation") from None
    program = shutil.which(arguments[0]) if arguments else None
    if program is None:
        raise RequestRejected("printer.command", "the printing command's program does not exist")

    def print_file(path: Path) -> None:
        try:
            done = subprocess.run(  # noqa: S603 (the administrator's own command, no shell)
                [program, *arguments[1:], str(path)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                timeout=_LONGEST_SECONDS,
            )
        except (OSError, subprocess.TimeoutExpired):
            raise PeerFailed("printer.failed", f"{program} did not print {path}") from None
        if done.returncode != 0:
            raise PeerFailed("printer.failed", f"{program} did not print {path}: it ended with {done.returncode}")

    return print_file
