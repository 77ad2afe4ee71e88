"""A worker's line to the recorder.

Invariants:

* the line counts only after the recorder has said which file it writes, and that this is the file that the worker
  reads: two that were configured differently write nothing for each other;
* what was sent when the line broke may have been written or not, and its caller is told so; what was not sent, or not
  to its end, was not written, and its caller writes by himself;
* a record whose caller went away before it was sent is not sent;
* whoever waits is answered within the time limit, by the recorder or by this worker, or writes with what is left of it.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import time

from online.store.activity import LARGEST_BATCH, LINGER_SECONDS, Activity
from online.store.answers import settle
from online.store.operations import CertificateRecord
from online.store.recording.door import Door
from online.store.recording.frames import Frames, frame
from online.told_errors import told_error
from shared.errors import StoreFailed

_READ_AT_ONCE = 64 << 10
# So much of a caller's time the recorder has to begin; what is left is for the commit and the answer.
_TO_BEGIN = 0.8
_KNOCK_AGAIN_SECONDS = 1.0


_Sent = tuple[int, float, tuple[object, ...]]
"""A record's number, until when it may be begun, and its fields."""


class NotSentError(Exception):
    """The record did not leave this process: there is no line, or no longer."""


class Line:
    """A queue of records, sent together. For one event loop."""

    def __init__(self, door: Door, *, file: tuple[int, int], seconds: float, activity: Activity | None = None) -> None:
        """Knock at the door. Call it inside the running event loop.

        Args:
            door: where there is a recorder, now or later.
            file: device and inode of the database that this process reads.
            seconds: how long a caller waits before it is told that the store is busy.
            activity: how many clients are served now; records wait for the company of theirs, 2 ms at most.
        """
        self._loop = asyncio.get_running_loop()
        self._door, self._file, self._seconds = door, file, seconds
        self._activity = activity or Activity()
        self._numbers = itertools.count()
        self._callers: dict[int, asyncio.Future[int]] = {}
        self._unsent: list[_Sent] = []
        self._linger: asyncio.TimerHandle | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._again: asyncio.TimerHandle | None = None
        self._socket: socket.socket | None = None
        self._frames = Frames()
        # Cut without copying: it may be larger than a socket takes at once, by far.
        self._outgoing = memoryview(b"")
        self._in_flight: tuple[_Sent, ...] = ()
        self._closed = False
        # Whether the recorder has said which file it writes, and whether it has said that it is about to end.
        self._greeted = self._leaving = False
        self._knock()

    @property
    def is_open(self) -> bool:
        """Whether there is a recorder that takes records."""
        return self._greeted and not self._leaving

    async def submit(self, record: CertificateRecord) -> int:
        """Have a record written and committed.

        Args:
            record: of a certificate.

        Raises:
            NotSentError: write it yourself.
            StoreFailed: ``store.busy``, ``store.outcome-unknown``, or what the recorder's writer says.
            ColdrootError: the refusal that the record returned.
        """
        if not self.is_open:
            raise NotSentError
        number = next(self._numbers)
        future: asyncio.Future[int] = self._loop.create_future()
        self._callers[number] = future
        self._unsent.append((number, time.monotonic() + _TO_BEGIN * self._seconds, record.fields()))
        self._consider()
        try:
            return await future
        finally:
            self._callers.pop(number, None)

    def close(self) -> None:
        """Hang up."""
        self._closed = True
        if self._again is not None:
            self._again.cancel()
        self._hang_up()

    def _knock(self) -> None:
        self._again = None
        self._socket = self._door.knock()
        if self._socket is None:
            self._knock_later()
        else:
            self._loop.add_reader(self._socket, self._readable)

    def _knock_later(self) -> None:
        if not self._closed:
            self._again = self._loop.call_later(_KNOCK_AGAIN_SECONDS, self._knock)

    def _consider(self) -> None:
        """Send what is unsent if nobody is left who could join; see to it that it goes soon if there is."""
        if self._in_flight or not self._unsent or not self.is_open:
            return
        if self._activity.is_complete(len(self._unsent)):
            self._send()
        elif self._linger is None:
            self._linger = self._loop.call_later(LINGER_SECONDS, self._send)

    def _send(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        if self._in_flight or not self._unsent or not self.is_open:
            return
        # Without those who went away: they do not use up their tokens for nothing.
        wanted = [each for each in self._unsent if each[0] in self._callers and not self._callers[each[0]].done()]
        batch, self._unsent = tuple(wanted[:LARGEST_BATCH]), wanted[LARGEST_BATCH:]
        if batch:
            self._in_flight, self._outgoing = batch, memoryview(frame(batch))
            self._patience = self._loop.call_later(self._seconds, self._hung)
            self._write()

    def _write(self) -> None:
        """Send what the socket takes, and the rest when it takes more."""
        if self._socket is None:
            return
        try:
            sent = self._socket.send(self._outgoing)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._lost()
            return
        self._outgoing = self._outgoing[sent:]
        if self._outgoing:
            self._loop.add_writer(self._socket, self._write)
        else:
            self._loop.remove_writer(self._socket)

    def _readable(self) -> None:
        assert self._socket is not None
        values = self._frames.receive(self._socket, _READ_AT_ONCE)
        if values is None:
            self._lost()
            return
        for value in values:
            if value is None:
                self._leaving = True
            elif self._greeted:
                self._settle(value)
            elif value == self._file:
                self._greeted = True
            else:
                # Another node's configuration, during a reload: its recorder goes when its workers do.
                self._lost()
                return
        if self._leaving and not self._in_flight:
            # There is another one already, or soon.
            self._hang_up()
            self._knock()

    def _settle(self, outcomes: tuple[tuple[int, object], ...]) -> None:
        self._in_flight = ()
        self._forget_patience()
        self._loop.call_soon(self._loop.call_soon, self._consider)
        for number, outcome in outcomes:
            caller = self._callers.get(number)
            if caller is not None:
                settle(caller, outcome if isinstance(outcome, int) else told_error(outcome))  # type: ignore[arg-type]

    def _hung(self) -> None:
        """Give up a recorder that does not answer: it would let everybody else wait as long."""
        self._patience = None
        # This process may have been the one that slept, and the answers lie ready.
        self._readable()
        if self._in_flight:
            self._lost()

    def _forget_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _lost(self) -> None:
        self._hang_up()
        self._knock_later()

    def _hang_up(self) -> None:
        """Let go of the line, and answer everybody who waits for it."""
        self._greeted = self._leaving = False
        self._forget_patience()
        # Of a frame that lacks its end nothing is ever written.
        sent = set() if self._outgoing else {number for number, _, _ in self._in_flight}
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket.close()
            self._socket = None
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        self._in_flight, self._unsent, self._outgoing, self._frames = (), [], memoryview(b""), Frames()
        for number, caller in self._callers.items():
            if caller.done():
                continue
            if number in sent:
                settle(caller, StoreFailed("store.outcome-unknown", "the process that writes did not confirm it"))
            else:
                caller.set_exception(NotSentError())
