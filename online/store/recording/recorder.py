"""The recorder: takes in what workers send, writes all of it in one transaction, answers after the commit.

It has no event loop and no threads: while it writes and waits for the disk, the next batch gathers in its sockets.

Invariants:

* nobody is answered before the commit;
* what a worker does not expect to be written any more, for it has waited too long, is not written;
* a worker that does not read its answers, or that is gone, holds up nobody.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from online.store.group import BatchWriter, Outcome, busy, said, write_alone
from online.store.operations import CertificateRecord, Operation
from online.store.recording.door import Door
from online.store.recording.frames import Frames, frame
from online.told_errors import tell

_READ_AT_ONCE = 256 << 10
_LEAVING = frame(None)


@dataclass(eq=False, slots=True)
class _Worker:
    """The recorder's end of a line."""

    socket: socket.socket
    frames: Frames = field(default_factory=Frames)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One record, and who wants it."""

    worker: _Worker
    number: int
    until: float
    """Monotonic: not to be begun later."""
    record: CertificateRecord


class Recorder:
    """Serves the workers that knock at a door."""

    def __init__(self, writer: BatchWriter[Operation], door: Door, *, file: tuple[int, int]) -> None:
        """Take up the work.

        Args:
            writer: writes into the database; it stays the caller's.
            door: where workers knock; it stays the caller's.
            file: device and inode of the database, for workers to compare.
        """
        self._writer, self._door, self._greeting = writer, door, frame(file)
        self._selector = selectors.DefaultSelector()
        self._selector.register(door, selectors.EVENT_READ, self._let_in)
        self._workers: set[_Worker] = set()
        self._wanted: list[_Wanted] = []
        self._leaving = False

    @property
    def done(self) -> bool:
        """Whether it was told to leave, and nobody has a line any more."""
        return self._leaving and not self._workers

    def watch(self, descriptor: int, heard: Callable[[], None]) -> None:
        """Have something else called when a descriptor is readable."""
        self._selector.register(descriptor, selectors.EVENT_READ, heard)

    def forget(self, descriptor: int) -> None:
        """Watch a descriptor no more."""
        self._selector.unregister(descriptor)

    def leave(self) -> None:
        """Take no new lines, ask workers to find another recorder, and be done when the last line is closed."""
        if not self._leaving:
            self._leaving = True
            self._selector.unregister(self._door)
            for each in tuple(self._workers):
                self._say(each, _LEAVING)

    def turn(self, seconds: float) -> None:
        """Take in what has arrived, or wait for it so long; then write it."""
        for key, _ in self._selector.select(seconds):
            key.data()
        if self._wanted:
            self._record()

    def close(self) -> None:
        """Hang up on everybody."""
        for each in tuple(self._workers):
            self._drop(each)
        self._selector.close()

    def _let_in(self) -> None:
        line = self._door.answer()
        if line is None:
            return
        worker = _Worker(line)
        self._workers.add(worker)
        self._selector.register(line, selectors.EVENT_READ, lambda: self._hear(worker))
        self._say(worker, self._greeting)

    def _hear(self, worker: _Worker) -> None:
        batches = worker.frames.receive(worker.socket, _READ_AT_ONCE)
        if batches is None:
            self._drop(worker)
            return
        for batch in batches:
            for number, until, fields in batch:
                self._wanted.append(_Wanted(worker, number, until, CertificateRecord(*fields)))

    def _record(self) -> None:
        wanted, self._wanted = self._wanted, []
        answers: dict[_Worker, list[tuple[int, object]]] = {}
        for each, outcome in zip(wanted, self._write(wanted), strict=True):
            answer = outcome if isinstance(outcome, int) else tell(outcome)
            answers.setdefault(each.worker, []).append((each.number, answer))
        for worker, several in answers.items():
            self._say(worker, frame(tuple(several)))

    def _write(self, wanted: Sequence[_Wanted]) -> list[Outcome]:
        """Write records together; each alone where one of them spoils it for all."""
        writer = self._writer
        try:
            if not writer.begin(wait=False):
                # Not for longer than the first of them waits: whoever holds the turn may hold it for long.
                writer.begin(wait=True, seconds=min(each.until for each in wanted) - time.monotonic())
        except Exception as error:  # noqa: BLE001 (whatever it was, callers wait for an answer)
            return [said(error) for _ in wanted]
        now = time.monotonic()
        outcomes = iter(self._together([each for each in wanted if each.until > now]))
        return [next(outcomes) if each.until > now else busy() for each in wanted]

    def _together(self, timely: Sequence[_Wanted]) -> Sequence[Outcome]:
        writer, records = self._writer, [each.record for each in timely]
        try:
            outcomes = writer.write(records)
        except Exception as error:  # noqa: BLE001 (as in _write)
            failure = said(error)
            if len(records) > 1 and writer.may_retry(failure):
                return [self._alone(each) for each in timely]
            return [failure for _ in records]
        try:
            writer.commit()
        except Exception as error:  # noqa: BLE001 (as in _write)
            # Not tried again, for it may have happened.
            return [said(error) for _ in records]
        return outcomes

    def _alone(self, wanted: _Wanted) -> Outcome:
        return write_alone(self._writer, wanted.record) if wanted.until > time.monotonic() else busy()

    def _say(self, worker: _Worker, message: bytes) -> None:
        if worker not in self._workers:
            return
        try:
            complete = worker.socket.send(message) == len(message)
        except OSError:
            complete = False
        if not complete:
            # It has not read thousands of answers, and will not read this one.
            self._drop(worker)

    def _drop(self, worker: _Worker) -> None:
        if worker in self._workers:
            self._workers.discard(worker)
            self._selector.unregister(worker.socket)
            worker.socket.close()
