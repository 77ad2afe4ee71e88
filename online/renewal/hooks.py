"""What is told, and to whom, after a certificate was renewed: a signal to a process, and commands.

Invariants:

* a command is a list of words and meets no shell, unless a shell was asked for by name;
* everybody is told, also when telling another failed; what failed is returned and never passed over;
* a command that takes too long is killed with all that it started, but for what began a session of its own;
* a command learns what was renewed from its environment and gets neither a key nor a password, nor the service
  manager's socket.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from cryptography import x509

from shared import durable
from shared.clock import rfc3339
from shared.errors import RequestRejected
from shared.names import printable

DEFAULT_TIMEOUT = timedelta(minutes=2)
DEFAULT_SIGNAL = signal.SIGHUP
_LONGEST_TIMEOUT = timedelta(hours=1)
_MOST_RETRIES = 10
_LARGEST_PID = 1 << 22
_SHELL = "/bin/sh"
_PRIVATE = frozenset({"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """Who is told."""

    commands: tuple[tuple[str, ...], ...] = ()
    """Each a program and its arguments."""
    pid: int | None = None
    pid_file: Path | None = None
    """Read when the signal is sent: the server may have been restarted since."""
    signal: signal.Signals = DEFAULT_SIGNAL
    timeout: timedelta = DEFAULT_TIMEOUT
    """Of each command."""
    retries: int = 0
    """How often a command that failed is run again."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            RequestRejected: ``hook.*``.
        """
        if self.pid is not None and self.pid_file is not None:
            raise RequestRejected("hook.pid", "give the number of a process or a file that holds it, not both")
        if self.pid is not None and not 1 < self.pid <= _LARGEST_PID:
            raise RequestRejected("hook.pid", f"{self.pid} is no process that may be signalled")
        if not timedelta(0) < self.timeout <= _LONGEST_TIMEOUT:
            raise RequestRejected("hook.timeout", "the time of a command is longer than 0 and at most 1h")
        if not 0 <= self.retries <= _MOST_RETRIES:
            raise RequestRejected("hook.retries", f"a command is run again 0 to {_MOST_RETRIES} times")

    def __bool__(self) -> bool:
        return bool(self.commands) or self.pid is not None or self.pid_file is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed:
    """What is told."""

    certificate: Path
    """Where the new certificate lies."""
    key: str
    """Where its key is: a path, or a ``pkcs11:`` URI."""
    old: x509.Certificate
    new: x509.Certificate
    rekeyed: bool

    def environment(self) -> dict[str, str]:
        """Return the variables that a command gets beside the agent's own."""
        return {
            "COLDROOT_EVENT": "rekeyed" if self.rekeyed else "renewed",
            "COLDROOT_CERTIFICATE": str(self.certificate),
            "COLDROOT_KEY": self.key,
            "COLDROOT_SERIAL": str(self.new.serial_number),
            "COLDROOT_OLD_SERIAL": str(self.old.serial_number),
            "COLDROOT_NOT_BEFORE": rfc3339(self.new.not_valid_before_utc),
            "COLDROOT_NOT_AFTER": rfc3339(self.new.not_valid_after_utc),
        }


def split_command(text: str) -> tuple[str, ...]:
    """Take a command line apart into words, as a shell would, with quotes and backslashes and nothing else.

    Raises:
        RequestRejected: ``hook.command``.
    """
    try:
        words = tuple(shlex.split(text))
    except ValueError:
        words = ()
    if not words:
        raise RequestRejected("hook.command", "the command is empty, or a quotation in it does not end")
    return words


def shell_command(text: str) -> tuple[str, ...]:
    """Return the words that have a shell run a text.

    Raises:
        RequestRejected: ``hook.command``.
    """
    if not text.strip():
        raise RequestRejected("hook.command", "the command is empty")
    return (_SHELL, "-c", text)


def parse_signal(text: str) -> signal.Signals:
    """Read a signal: ``1``, ``HUP`` or ``SIGHUP``.

    Raises:
        RequestRejected: ``hook.signal``.
    """
    try:
        if text.isascii() and text.isdigit():
            return signal.Signals(int(text))
        name = text.upper()
        return signal.Signals[name if name.startswith("SIG") else f"SIG{name}"]
    except (ValueError, KeyError):
        raise RequestRejected(
            "hook.signal", f"{printable(text, limit=20)} is no signal", hint="write 1, HUP or SIGHUP"
        ) from None


def hear_of_ends() -> None:
    """Take care that it can be known how a command ended; for the main thread, before anything is told.

    Whoever started us may have left SIGCHLD ignored. Then the kernel keeps no exit status, and all seems well.
    """
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def tell(
    hooks: Hooks,
    renewed: Renewed,
    *,
    environment: Mapping[str, str] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[str, ...]:
    """Send the signal, then run the commands in their order.

    Args:
        hooks: who is told.
        renewed: what.
        environment: that the commands inherit; the process's own when not given.
        sleep: waits some seconds, between two tries of a command.

    Returns:
        A line for each that was not told; empty when all were.
    """
    failed = []
    if hooks.pid is not None or hooks.pid_file is not None:
        failed += _signal(hooks)
    inherited = dict(os.environ if environment is None else environment)
    variables = {key: value for key, value in inherited.items() if key not in _PRIVATE} | renewed.environment()
    for command in hooks.commands:
        for attempt in range(hooks.retries + 1):
            if attempt:
                sleep(float(1 << attempt - 1))
            problem = _run(command, variables, hooks.timeout)
            if problem is None:
                break
        else:
            again = f" (tried {hooks.retries + 1} times)" if hooks.retries else ""
            failed.append(f"{printable(shlex.join(command), limit=200)} {problem}{again}")
    return tuple(failed)


def _signal(hooks: Hooks) -> list[str]:
    try:
        number = hooks.pid if hooks.pid is not None else _read_pid(hooks.pid_file)
        os.kill(number, hooks.signal)
    except RequestRejected as error:
        return [error.message]
    except OSError as error:
        return [f"process {number} cannot be sent {hooks.signal.name}: {error.strerror}"]
    return []


def _read_pid(path: Path | None) -> int:
    assert path is not None
    text = durable.read_file(path, limit=64).strip()
    # 0 and negative numbers mean groups of processes, 1 the machine's first.
    if not (text.isdigit() and 1 < int(text) <= _LARGEST_PID):
        raise RequestRejected("hook.pid", f"{path} holds no number of a process")
    return int(text)


def _run(command: tuple[str, ...], variables: Mapping[str, str], timeout: timedelta) -> str | None:
    """Run a command; return what went wrong."""
    try:
        # Its stdout is talk: ours is for results. A session of its own, so that all of it can be killed.
        process = subprocess.Popen(  # noqa: S603 (it is the operator's own command)
            command, stdin=subprocess.DEVNULL, stdout=2, env=dict(variables), start_new_session=True
        )
    except (OSError, ValueError) as error:
        return f"cannot be started: {error.strerror if isinstance(error, OSError) else 'it has a NUL in it'}"
    try:
        status = process.wait(timeout.total_seconds())
    except subprocess.TimeoutExpired:
        if not _kill(process):
            return f"takes longer than {timeout.total_seconds():g} s, and may not be killed: it runs as another user"
        return f"was killed: it took longer than {timeout.total_seconds():g} s"
    except BaseException:
        _kill(process)
        raise
    if status == 0:
        return None
    return f"exited with {status}" if status > 0 else f"was ended by {_name(-status)}"


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        # Most of the real-time signals have none.
        return f"signal {number}"


def _kill(process: subprocess.Popen[bytes]) -> bool:
    """Kill a command with all that it started; tell whether that may be done."""
    try:
        # The group has the number of its first process, which was not waited for yet: the number is nobody else's.
        os.killpg(process.pid, signal.SIGKILL)
    except PermissionError:
        # Through sudo it became another user's. To wait for it would hang as it does.
        return False
    process.wait()
    return True
