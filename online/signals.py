"""Signals as something to wait for beside file descriptors, for a program without an event loop."""

from __future__ import annotations

import signal
import socket
from types import FrameType, TracebackType
from typing import Self

_STOP = (signal.SIGTERM, signal.SIGINT)
HANDLED = (*_STOP, signal.SIGHUP)


class Signals:
    """Counts the signals that ask to stop or to reload; readable in ``select`` when one came.

    A context manager: leaving it restores the handlers that were there before.
    """

    def __init__(self) -> None:
        self.stops = 0
        """How often the end was asked for."""
        self._reload = False
        self._waker, self._woken = socket.socketpair()
        for each in (self._waker, self._woken):
            each.setblocking(False)
        self._before = {number: signal.getsignal(number) for number in HANDLED}
        self._wakeup_before = -1

    def fileno(self) -> int:
        """Return what to select on."""
        return self._woken.fileno()

    def clear(self) -> None:
        """Make it unreadable until the next signal."""
        try:
            while self._woken.recv(256):
                pass
        except BlockingIOError:
            return

    def take_reload(self) -> bool:
        """Tell whether a reload was asked for since the last call."""
        asked, self._reload = self._reload, False
        return asked

    def close(self) -> None:
        """Let go of the descriptors only: for a forked child, whose handlers are its own affair."""
        self._waker.close()
        self._woken.close()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del frame
        if number == signal.SIGHUP:
            self._reload = True
        else:
            self.stops += 1

    def __enter__(self) -> Self:
        # The byte that wakes select() is written by the C handler itself: no signal falls between two checks.
        self._wakeup_before = signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for number in HANDLED:
            signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(self._wakeup_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self.close()
