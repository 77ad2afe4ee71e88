"""A forked child and the two pipes that tie it to its parent.

Invariants:

* through the first pipe the child reports, one JSON object a line: that it is ready, what it found out, or the
  error that ended it. The parent learns of its death by the pipe's end;
* the second pipe never carries anything: its end tells the child that the parent is gone;
* a child never returns into its parent's program: whatever happens, it ends in ``os._exit``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from online.signals import HANDLED
from online.told_errors import tell, told_error
from shared.errors import ColdrootError, Fatal

_LONGEST_REPORT = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Tie:
    """The child's ends of the two pipes."""

    report_to: int
    parent: int
    """Readable, at its end, when the parent is gone."""

    def report(self, **fields: object) -> None:
        """Send one report; a parent that is gone is noticed elsewhere."""
        rest = memoryview(json.dumps(fields).encode("ascii") + b"\n")
        with suppress(OSError):
            # More than a pipe holds is written bit by bit, while the parent reads.
            while rest:
                rest = rest[os.write(self.report_to, rest) :]


@dataclass(slots=True, kw_only=True)
class Child:
    """The parent's view of a child."""

    pid: int
    reports: int
    """Readable when there is a report, or at its end."""
    _lifeline: int
    _partial: bytes = b""

    def read(self) -> tuple[dict[str, object], ...] | None:
        """Return the reports that have arrived; ``None`` when the child is gone. Blocks until either."""
        chunk = os.read(self.reports, _LONGEST_REPORT)
        if not chunk:
            return None
        *lines, self._partial = (self._partial + chunk).split(b"\n")
        return tuple(json.loads(line) for line in lines)

    def close(self) -> None:
        """Let go of the pipes; a child that still lives takes it for the parent's end."""
        for descriptor in (self.reports, self._lifeline):
            with suppress(OSError):
                os.close(descriptor)

    def descriptors(self) -> tuple[int, int]:
        """Return the parent's ends, which no later child may inherit."""
        return self.reports, self._lifeline

    def wait(self) -> int:
        """Wait for the end and return the exit status; 128 and the signal's number when one killed it."""
        _, status = os.waitpid(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code


def spawn(run: Callable[[Tie], None], *, forget: tuple[int, ...] = ()) -> Child:
    """Fork a child that runs a function and ends: with status 0, or 1 and a report of the error.

    Args:
        run: gets the child's ends of the pipes.
        forget: descriptors of the parent that the child must not keep open.
    """
    reports, report_to = os.pipe2(os.O_CLOEXEC)
    parent, lifeline = os.pipe2(os.O_CLOEXEC)
    sys.stdout.flush()
    sys.stderr.flush()
    # Held back until the child has handlers of its own: the parent's would only note the signal in a copy.
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            for descriptor in (reports, lifeline, *forget):
                os.close(descriptor)
            status = _run(run, Tie(report_to=report_to, parent=parent))
        finally:
            # Neither the caller's finally blocks nor atexit handlers are the child's to run.
            os._exit(status)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
    os.close(report_to)
    os.close(parent)
    return Child(pid=pid, reports=reports, _lifeline=lifeline)


def failure_of(report: Mapping[str, object]) -> ColdrootError | None:
    """Return the error that a report tells of, if it does."""
    failed = report.get("failed")
    if not isinstance(failed, list):
        return None
    family, code, message, hint = failed
    return told_error((str(family), str(code), str(message), None if hint is None else str(hint)))


def _run(run: Callable[[Tie], None], tie: Tie) -> int:
    # The parent's handlers write to the parent's own pipe; a child begins with none.
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # As an exception, so that a prompt for a password can switch the terminal's echo on again.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # A hang-up is for the parent, which replaces its children one by one.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
    try:
        run(tie)
    except ColdrootError as error:
        tie.report(failed=tell(error))
        return 1
    except BaseException as error:  # noqa: BLE001 (nothing may get past a fork)
        tie.report(failed=tell(Fatal("internal.unexpected", f"an unexpected {type(error).__name__} ended the process")))
        return 1
    return 0
