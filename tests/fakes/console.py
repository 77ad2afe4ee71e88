"""A shell in which ``online`` is a command, with or without a person at the terminal who answers its questions."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_PROJECT = Path(__file__).parents[2]
_WRAPPER = """#!/bin/sh
exec {python} -m online "$@"
"""


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a command line left on the screen."""

    status: int
    out: str
    err: str
    """Empty when a person was at the terminal: there, both come together in ``out``."""


@dataclass(frozen=True, kw_only=True)
class Console:
    """One user on one machine, in a directory of their own."""

    directory: Path
    home: Path
    """Becomes COLDROOT_HOME."""

    @classmethod
    def at(cls, directory: Path) -> Console:
        """Set a machine up below a directory."""
        console = cls(directory=directory / "work", home=directory / "home")
        commands = directory / "bin"
        for each in (console.directory, commands):
            each.mkdir(parents=True)
        wrapper = commands / "online"
        wrapper.write_text(_WRAPPER.format(python=sys.executable))
        wrapper.chmod(0o755)
        return console

    @property
    def environment(self) -> dict[str, str]:
        """Of every command."""
        return {
            "PATH": f"{self.directory.parent / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self.directory),
            "COLDROOT_HOME": str(self.home),
            "PYTHONPATH": str(_PROJECT),
            "LANG": "C.UTF-8",
            "NO_COLOR": "1",
            # A line of the screen must not be broken in two.
            "COLUMNS": "400",
        }

    def run(self, line: str, *, status: int = 0) -> Said:
        """Run a line of shell with nobody at the terminal, and insist on its exit status."""
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == status, f"{line}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return Said(status=done.returncode, out=done.stdout, err=done.stderr)

    def talk(self, line: str, answers: Sequence[tuple[str, str]], *, status: int = 0) -> Said:
        """Run a line of shell at a terminal; answer each question, in order, and insist on the exit status.

        Args:
            line: shell.
            answers: for each question, a part of it, and what to type.
            status: expected.
        """
        master, slave = pty.openpty()
        # What is typed shall not come back as if the command had said it.
        attributes = termios.tcgetattr(slave)
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(slave, termios.TCSANOW, attributes)
        # setsid makes it the controlling terminal, where passwords are asked for.
        process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", "bash", "-c", line],
            cwd=self.directory,
            env=self.environment,
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)
        screen, seen, waiting = b"", 0, list(answers)
        deadline = time.monotonic() + 60
        try:
            while time.monotonic() < deadline:
                if not select.select([master], [], [], 0.2)[0]:
                    continue
                try:
                    chunk = os.read(master, 4096)
                except OSError:
                    break
                if not chunk:
                    break
                screen += chunk
                while waiting and waiting[0][0].encode() in screen[seen:]:
                    question, typed = waiting.pop(0)
                    seen += screen[seen:].index(question.encode()) + len(question.encode())
                    os.write(master, f"{typed}\n".encode())
            code = process.wait(10)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            os.close(master)
        out = screen.decode(errors="replace").replace("\r\n", "\n")
        assert not waiting, f"{line}: was never asked {waiting[0][0]!r}\n{out}"
        assert code == status, f"{line}: {code}\n{out}"
        return Said(status=code, out=out, err="")
