"""A recorder in a thread, a writer with gates for it, and one end of a line in the hands of a test."""

from __future__ import annotations

import asyncio
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest
from fakes.gates import LIMIT, GatedCommits

from online.store.activity import Activity
from online.store.group import BatchWriter, Outcome, busy
from online.store.operations import CertificateRecord, Operation
from online.store.recording import line as line_module
from online.store.recording.door import Door
from online.store.recording.frames import Frames, frame
from online.store.recording.line import Line
from online.store.recording.recorder import Recorder
from shared.errors import ColdrootError, RequestRejected, StoreFailed

FILE = (7, 11)
SECONDS = 20.0
LARGE = 300 << 10


def numbered(number: int, *, size: int = 0) -> CertificateRecord:
    """Return a record that the fake writer knows by its number."""
    return CertificateRecord(
        certificate=(b"x" * size,),
        use=None,
        key_digest=str(number),
        parent=None,
        before=None,
        newest_only=False,
        names=(),
    )


class GatedWriter(GatedCommits):
    """Notes the numbers of records, but only while its gates are open; a negative number breaks its batch."""

    def __init__(self) -> None:
        super().__init__()
        self.beginning = threading.Event()
        self.attempts: list[list[int]] = []
        self.turn_failures: list[Exception] = []
        self.write_failures: list[Exception] = []

    def begin(self, *, wait: bool, seconds: float | None = None) -> bool:
        if not wait and not self.turn_gate.is_set():
            return False
        self.beginning.set()
        if not self.turn_gate.wait(LIMIT if seconds is None else min(LIMIT, seconds)):
            raise busy()
        if self.turn_failures:
            raise self.turn_failures.pop()
        assert not self.written
        return True

    def write(self, batch: Sequence[Operation]) -> Sequence[Outcome]:
        numbers = [int(each.key_digest) for each in batch if isinstance(each, CertificateRecord)]
        assert len(numbers) == len(batch)
        self.attempts.append(numbers)
        if self.write_failures:
            raise self.write_failures.pop()
        if any(each < 0 for each in numbers):
            raise StoreFailed("store.conflict", "no such number")
        self.written = numbers
        return [RequestRejected("odd", f"{each} is odd", hint="an even one") if each % 2 else each for each in numbers]

    def close(self) -> None:
        pass


class Served:
    """A recorder at work in a thread."""

    def __init__(self, writer: BatchWriter[Operation], door: Door, *, file: tuple[int, int] = FILE) -> None:
        self.recorder = Recorder(writer, door, file=file)
        self._wishes: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._failures: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def ask(self, wish: Callable[[], None]) -> None:
        """Have something done by the recorder's thread, between two turns."""
        self._wishes.put(wish)

    def end(self) -> None:
        """Close the recorder; it must not have died before."""
        self._ended.set()
        self._thread.join(LIMIT)
        assert not self._thread.is_alive()
        assert self._failures == []

    def _run(self) -> None:
        try:
            while not self._ended.is_set():
                self.recorder.turn(0.01)
                with suppress(queue.Empty):
                    self._wishes.get_nowait()()
        except BaseException as error:  # noqa: BLE001 (told to the test)
            self._failures.append(error)
        finally:
            self.recorder.close()


class Puppet:
    """A recorder's end of one line, led by the test."""

    def __init__(self, line: socket.socket) -> None:
        self.socket = line
        self.frames = Frames()

    @classmethod
    async def at(cls, door: Door) -> Puppet:
        """Take the line of whoever knocks, and do not greet it yet."""
        deadline = time.monotonic() + LIMIT
        while (line := door.answer()) is None:
            assert time.monotonic() < deadline, "nobody knocked"
            await asyncio.sleep(0.005)
        return cls(line)

    def say(self, value: object) -> None:
        """Send a frame."""
        self.socket.sendall(frame(value))

    async def hear(self) -> list[Any]:
        """Return the next values that arrive."""
        deadline = time.monotonic() + LIMIT
        while True:
            assert time.monotonic() < deadline, "nothing arrived"
            with suppress(BlockingIOError):
                values = self.frames.read(self.socket.recv(1 << 20))
                if values:
                    return values
            await asyncio.sleep(0.002)


@pytest.fixture(name="door")
def door_fixture() -> Iterator[Door]:
    """A door, closed in the end."""
    made = Door()
    yield made
    made.close()


@pytest.fixture(name="writer")
def writer_fixture() -> GatedWriter:
    """A writer with its gates open."""
    return GatedWriter()


@pytest.fixture(name="at_once")
def at_once_fixture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Knock again sooner than a node does."""
    monkeypatch.setattr(line_module, "_KNOCK_AGAIN_SECONDS", 0.02)


@contextmanager
def serving(writer: GatedWriter, door: Door, *, file: tuple[int, int] = FILE) -> Iterator[Served]:
    """Have a recorder at work until the block ends."""
    served = Served(writer, door, file=file)
    try:
        yield served
    finally:
        writer.turn_gate.set()
        writer.commit_gate.set()
        served.end()


@contextmanager
def calling(
    door: Door, *, file: tuple[int, int] = FILE, seconds: float = SECONDS, activity: Activity | None = None
) -> Iterator[Line]:
    """Have a line until the block ends."""
    line = Line(door, file=file, seconds=seconds, activity=activity)
    try:
        yield line
    finally:
        line.close()


async def until(condition: Callable[[], object]) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.005)


async def is_open(line: Line) -> None:
    """Wait until a line is greeted."""
    await until(lambda: line.is_open)


async def held(writer: GatedWriter, line: Line, number: int) -> asyncio.Task[int]:
    """Submit a record, and return when the writer has it and waits at its closed gate for the commit."""
    writer.commit_gate.clear()
    task = asyncio.create_task(line.submit(numbered(number)))
    await asyncio.to_thread(writer.committing.wait, LIMIT)
    return task


async def outcomes(line: Line, numbers: Sequence[int]) -> list[int | BaseException]:
    """Submit records of as many clients at once, so that they share a frame; return what became of each."""
    with ExitStack() as clients:
        for _ in numbers:
            clients.enter_context(line._activity)
        return await asyncio.gather(*(line.submit(numbered(each)) for each in numbers), return_exceptions=True)


async def code_of(task: asyncio.Task[int]) -> str:
    """Return the code of the failure that a caller meets."""
    with pytest.raises(ColdrootError) as failure:
        await asyncio.wait_for(task, LIMIT)
    return failure.value.code
