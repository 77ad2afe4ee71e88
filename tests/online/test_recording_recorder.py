"""The recorder, its door and the frames: whoever breaks, hangs or comes late holds up nobody else."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import time
from typing import Any

import pytest
from fakes.gates import LIMIT
from fakes.recording import (
    FILE,
    SECONDS,
    GatedWriter,
    Puppet,
    at_once_fixture,  # noqa: F401 (a fixture, as the others that end so)
    calling,
    door_fixture,  # noqa: F401
    held,
    is_open,
    numbered,
    serving,
    until,
    writer_fixture,  # noqa: F401
)
from hypothesis import given, settings
from hypothesis import strategies as st

from online.store.recording.door import Door
from online.store.recording.frames import Frames, frame
from online.store.recording.line import NotSentError

_MOST_KNOCKS = 100_000


async def test_a_worker_that_reads_no_answers_is_dropped_and_holds_up_nobody(door: Door, writer: GatedWriter) -> None:
    """One worker that hangs would stop the recorder, and all others with it."""
    with serving(writer, door) as served, calling(door) as line:
        await is_open(line)
        deaf = door.knock()
        assert deaf is not None
        with deaf:
            await until(lambda: len(served.recorder._workers) == 2)
            batch = frame(tuple((each, time.monotonic() + SECONDS, numbered(0).fields()) for each in range(500)))
            rounds, slowest = 0, 0.0
            while len(served.recorder._workers) == 2 and rounds < 1000:
                rounds += 1
                rest = batch
                while rest and len(served.recorder._workers) == 2:
                    try:
                        rest = rest[deaf.send(rest) :]
                    except BlockingIOError:
                        await asyncio.sleep(0)
                    except OSError:
                        rest = b""
                begun = time.monotonic()
                assert await line.submit(numbered(2)) == 2
                slowest = max(slowest, time.monotonic() - begun)
            assert len(served.recorder._workers) == 1
            assert slowest < LIMIT / 3
        assert line.is_open


async def test_a_worker_that_is_killed_in_the_middle_of_a_frame_writes_nothing(door: Door, writer: GatedWriter) -> None:
    """Half a record must be none, and its end must not be mistaken for anybody's beginning."""
    with serving(writer, door) as served, calling(door) as line:
        await is_open(line)
        broken = door.knock()
        assert broken is not None
        broken.send(frame(((0, time.monotonic() + SECONDS, numbered(0).fields()),))[:-1])
        await until(lambda: len(served.recorder._workers) == 2)
        broken.close()
        await until(lambda: len(served.recorder._workers) == 1)
        assert await line.submit(numbered(2)) == 2
        assert writer.attempts == [[2]]


async def test_a_worker_that_is_killed_with_a_record_in_flight_holds_up_nobody(door: Door, writer: GatedWriter) -> None:
    """An answer to somebody who is gone would end the recorder by a broken pipe."""
    with serving(writer, door), calling(door) as line:
        await is_open(line)
        writer.commit_gate.clear()
        gone = door.knock()
        assert gone is not None
        gone.send(frame(((0, time.monotonic() + SECONDS, numbered(0).fields()),)))
        await asyncio.to_thread(writer.committing.wait, LIMIT)
        gone.close()
        task = asyncio.create_task(line.submit(numbered(2)))
        await asyncio.sleep(0)
        writer.commit_gate.set()
        assert await task == 2


async def test_a_batch_may_arrive_in_pieces_of_one_byte(door: Door, writer: GatedWriter) -> None:
    """A socket owes nobody a whole frame at once."""
    with serving(writer, door):
        line = door.knock()
        assert line is not None
        with line:
            batch = tuple((each, time.monotonic() + SECONDS, numbered(2 * each).fields()) for each in range(3))
            for byte in frame(batch) + frame(batch):
                line.send(bytes((byte,)))
            puppet, heard = Puppet(line), list[Any]()
            while len(heard) < 2 + 2 * 3:
                # Two batches that arrive together are answered together.
                heard += [each for value in await puppet.hear() for each in value]
            assert heard == [*FILE, *[(0, 0), (1, 2), (2, 4)] * 2]


async def test_a_recorder_that_leaves_hands_its_workers_over(door: Door, writer: GatedWriter) -> None:
    """A reload would break what is under way, or leave an old recorder behind for as long as workers live."""
    with calling(door) as one, calling(door) as other:
        with serving(writer, door) as served:
            await is_open(one)
            await is_open(other)
            assert not served.recorder.done
            under_way = await held(writer, one, 2)
            served.ask(served.recorder.leave)
            served.ask(served.recorder.leave)
            writer.commit_gate.set()
            assert await under_way == 2
            await until(lambda: served.recorder.done)
            with calling(door) as late:
                assert not late.is_open
        with serving(writer, door):
            # Whoever knocked meanwhile is the next one's.
            await is_open(one)
            await is_open(other)
            assert await one.submit(numbered(4)) == 4
            assert await other.submit(numbered(6)) == 6


async def test_a_worker_finishes_what_is_under_way_before_it_finds_another_recorder(door: Door) -> None:
    """What the old recorder has would be told as unknown, though it is about to be written."""
    with calling(door) as line:
        puppet = await Puppet.at(door)
        puppet.say(FILE)
        await is_open(line)
        task = asyncio.create_task(line.submit(numbered(2)))
        ((number, _, _),) = (await puppet.hear())[0]
        puppet.say(None)
        await until(lambda: not line.is_open)
        with pytest.raises(NotSentError):
            await line.submit(numbered(4))
        assert door.answer() is None
        puppet.say(((number, 8),))
        assert await task == 8
        successor = await Puppet.at(door)
        successor.say(FILE)
        await is_open(line)
        puppet.socket.close()
        successor.socket.close()


@pytest.mark.usefixtures("at_once")
async def test_a_door_full_of_knocks_stops_nobody(door: Door, writer: GatedWriter) -> None:
    """Without a recorder, knocks of workers that came and went would block the next one, and with it its clients."""
    knocks: list[socket.socket] = []
    while (knock := door.knock()) is not None:
        knocks.append(knock)
        assert len(knocks) < _MOST_KNOCKS
    with calling(door) as line:
        with pytest.raises(NotSentError):
            await line.submit(numbered(0))
        for each in knocks:
            each.close()
        with serving(writer, door) as served:
            await is_open(line)
            assert await line.submit(numbered(2)) == 2
            await until(lambda: len(served.recorder._workers) == 1)


async def test_lines_leak_no_descriptors(door: Door, writer: GatedWriter) -> None:
    """Workers come and go for years; a descriptor kept of each would end the recorder at the limit."""
    with serving(writer, door) as served, calling(door) as line:
        await is_open(line)
        # What other tests left behind may go away meanwhile.
        gc.collect()
        before = len(os.listdir("/proc/self/fd"))
        for each in range(50):
            with calling(door) as short:
                await is_open(short)
                assert await short.submit(numbered(2 * each)) == 2 * each
        await until(lambda: len(served.recorder._workers) == 1)
        assert len(os.listdir("/proc/self/fd")) <= before


# Frames.

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4).map(tuple),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(values=st.lists(_VALUES, max_size=6), sizes=st.lists(st.integers(1, 40), min_size=1, max_size=40))
def test_frames_come_out_as_they_went_in_however_they_are_cut(values: list[object], sizes: list[int]) -> None:
    """A frame that depends on how it was cut mixes up records under load only."""
    data = b"".join(frame(each) for each in values)
    for cuts in ([1], [len(data) or 1], sizes):
        frames, found, begin, turn = Frames(), [], 0, 0
        while begin < len(data):
            size = cuts[turn % len(cuts)]
            found += frames.read(data[begin : begin + size])
            begin, turn = begin + size, turn + 1
        assert found == values
