"""A worker's line to the recorder, without a node: who is told what, and what is written."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

import pytest
from fakes.gates import LIMIT
from fakes.recording import (
    FILE,
    LARGE,
    SECONDS,
    GatedWriter,
    Puppet,
    at_once_fixture,  # noqa: F401 (a fixture, as the others that end so)
    calling,
    code_of,
    door_fixture,  # noqa: F401
    held,
    is_open,
    numbered,
    outcomes,
    serving,
    until,
    writer_fixture,  # noqa: F401
)

from online.loop import loop_factory
from online.store.activity import Activity
from online.store.recording.door import Door
from online.store.recording.line import Line, NotSentError
from shared.errors import RequestRejected, StoreFailed

# What goes through.


async def test_each_caller_gets_its_own_outcome(door: Door, writer: GatedWriter) -> None:
    """Outcomes that slip by one would hand a refusal to the winner and a certificate to the loser."""
    with serving(writer, door), calling(door) as line:
        await is_open(line)
        for number, outcome in enumerate(await outcomes(line, range(50))):
            if number % 2:
                assert isinstance(outcome, RequestRejected)
                assert (outcome.code, outcome.message, outcome.hint) == ("odd", f"{number} is odd", "an even one")
            else:
                assert outcome == number


async def test_no_answer_before_the_commit(door: Door, writer: GatedWriter) -> None:
    """A reply before the commit is a certificate that a power cut un-issues."""
    with serving(writer, door), calling(door) as line:
        await is_open(line)
        task = await held(writer, line, 2)
        done, _ = await asyncio.wait({task}, timeout=0.1)
        assert not done
        writer.commit_gate.set()
        assert await task == 2


async def test_records_of_two_lines_share_a_transaction(door: Door, writer: GatedWriter) -> None:
    """One flush a worker would bring back what the recorder is there to spare."""
    with serving(writer, door), calling(door) as one, calling(door) as other, calling(door) as third:
        for each in (one, other, third):
            await is_open(each)
        tasks = [await held(writer, one, 0)]
        # Both lie in the recorder's sockets before it looks again.
        tasks += [asyncio.create_task(other.submit(numbered(2))), asyncio.create_task(third.submit(numbered(4)))]
        await until(lambda: other._in_flight and third._in_flight)
        writer.commit_gate.set()
        assert await asyncio.gather(*tasks) == [0, 2, 4]
        assert [sorted(each) for each in writer.batches] == [[0], [2, 4]]


async def test_records_gather_while_a_batch_is_under_way(door: Door, writer: GatedWriter) -> None:
    """One frame and one flush a record caps the node at the disk's flushes a second; one without bound, its memory."""
    with serving(writer, door), calling(door) as line:
        await is_open(line)
        writer.commit_gate.clear()
        tasks = [asyncio.create_task(line.submit(numbered(2 * each))) for each in range(600)]
        await asyncio.to_thread(writer.committing.wait, LIMIT)
        await asyncio.sleep(0.01)
        writer.commit_gate.set()
        assert await asyncio.gather(*tasks) == [2 * each for each in range(600)]
        assert max(len(each) for each in writer.batches) <= 256
        assert len(writer.batches) <= 5


async def test_a_batch_waits_for_those_who_are_being_served(door: Door, writer: GatedWriter) -> None:
    """Eight clients at once would pay for eight flushes; and the ninth, who never writes, must not hold them up."""
    activity = Activity()
    with serving(writer, door), calling(door, activity=activity) as line, ExitStack() as clients:
        await is_open(line)
        for _ in range(8):
            clients.enter_context(activity)
        assert await outcomes(line, range(0, 16, 2)) == list(range(0, 16, 2))
        assert writer.batches == [list(range(0, 16, 2))]
        # The others read or think: after 2 ms it goes without them.
        assert await line.submit(numbered(16)) == 16


async def test_a_large_record_goes_through_in_pieces(door: Door, writer: GatedWriter) -> None:
    """A certificate that is larger than a socket's buffer would stop its worker for good."""
    with serving(writer, door), calling(door) as line:
        await is_open(line)
        tasks = [asyncio.create_task(line.submit(numbered(2 * each, size=LARGE))) for each in range(5)]
        assert await asyncio.wait_for(asyncio.gather(*tasks), LIMIT) == [0, 2, 4, 6, 8]


# What fails.


async def test_what_waited_too_long_is_refused_and_not_written(door: Door, writer: GatedWriter) -> None:
    """A client that was told 503 comes back; its first write must not have happened meanwhile."""
    with serving(writer, door), calling(door, seconds=1) as line, calling(door) as patient:
        await is_open(line)
        await is_open(patient)
        writer.turn_gate.clear()
        task = asyncio.create_task(line.submit(numbered(2)))
        await asyncio.to_thread(writer.beginning.wait, LIMIT)
        assert await code_of(task) == "store.busy"
        assert line.is_open
        writer.turn_gate.set()
        assert await patient.submit(numbered(4)) == 4
        assert writer.batches == [[4]]


async def test_one_record_that_breaks_takes_no_other_down(door: Door, writer: GatedWriter) -> None:
    """One request with a taken serial would fail everybody, of all workers, who shares its transaction."""
    with serving(writer, door), calling(door) as line:
        await is_open(line)
        results = await outcomes(line, (0, 2, -1, 4))
        assert isinstance(results[2], StoreFailed)
        assert results[2].code == "store.conflict"
        assert [each for each in results if isinstance(each, int)] == [0, 2, 4]
        assert writer.batches == [[0], [2], [4]]


async def test_a_failure_that_would_meet_each_record_is_told_to_all(door: Door, writer: GatedWriter) -> None:
    """With a disk that is read-only, each record tried alone would keep hundreds of clients waiting for one answer."""
    with serving(writer, door), calling(door) as line:
        await is_open(line)
        writer.write_failures = [StoreFailed("store.readonly", "read-only", hint="mount it")]
        results = await outcomes(line, (0, 2, 4))
        assert [(each.code, each.hint) for each in results if isinstance(each, StoreFailed)] == [
            ("store.readonly", "mount it")
        ] * 3
        assert len(writer.attempts) == 1
        assert await line.submit(numbered(6)) == 6


@pytest.mark.parametrize("failure", [StoreFailed("store.lock", "no turn"), RuntimeError("eyJ")])
async def test_a_refused_turn_fails_its_batch_only(door: Door, writer: GatedWriter, failure: Exception) -> None:
    """A recorder that dies of one failure costs every worker its line; and a foreign text may hold a secret."""
    with serving(writer, door), calling(door) as line:
        await is_open(line)
        writer.turn_failures = [failure]
        results = await outcomes(line, (0, 2))
        assert all(isinstance(each, StoreFailed) and "eyJ" not in each.message for each in results)
        assert writer.attempts == []
        assert await line.submit(numbered(4)) == 4


@pytest.mark.parametrize("failure", [StoreFailed("store.full", "full"), RuntimeError("eyJ")])
async def test_a_commit_that_fails_is_told_and_not_tried_again(
    door: Door, writer: GatedWriter, failure: Exception
) -> None:
    """What was tried again after a commit that did happen, would be refused as used: by its own first attempt."""
    with serving(writer, door), calling(door) as line:
        await is_open(line)
        writer.commit_failures = [failure]
        results = await outcomes(line, (0, 2))
        assert all(isinstance(each, StoreFailed) and "eyJ" not in each.message for each in results)
        assert writer.attempts == [[0, 2]]
        assert await line.submit(numbered(4)) == 4


# Lines that break.


async def test_a_recorder_that_is_gone_leaves_what_it_had_unknown_and_the_rest_to_the_worker(door: Door) -> None:
    """A record written twice refuses its own token; one that nobody writes costs a client its answer."""
    with calling(door) as line:
        puppet = await Puppet.at(door)
        puppet.say(FILE)
        await is_open(line)
        sent = asyncio.create_task(line.submit(numbered(0)))
        assert [number for number, _, _ in (await puppet.hear())[0]] == [0]
        unsent = asyncio.create_task(line.submit(numbered(2)))
        await asyncio.sleep(0.01)
        puppet.socket.close()
        assert await code_of(sent) == "store.outcome-unknown"
        with pytest.raises(NotSentError):
            await asyncio.wait_for(unsent, LIMIT)
        assert not line.is_open
        with pytest.raises(NotSentError):
            await line.submit(numbered(4))


@pytest.mark.parametrize("size", [0, 50 * LARGE])
async def test_what_did_not_go_over_the_line_to_its_end_is_the_worker_s(door: Door, size: int) -> None:
    """A client would be told that nobody knows, of a record that certainly nobody wrote.

    A small one meets a socket that was closed, a large one is cut in two.
    """
    with calling(door) as line:
        puppet = await Puppet.at(door)
        puppet.say(FILE)
        await is_open(line)
        if not size:
            puppet.socket.close()
        task = asyncio.create_task(line.submit(numbered(0, size=size)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        puppet.socket.close()
        with pytest.raises(NotSentError):
            await asyncio.wait_for(task, LIMIT)


@pytest.mark.usefixtures("at_once")
async def test_a_fault_of_the_recorder_costs_no_line_for_good(door: Door, writer: GatedWriter) -> None:
    """After one crash of the recorder each worker would write by itself until the next restart."""
    with calling(door) as line:
        for each in range(3):
            with serving(writer, door):
                await is_open(line)
                assert await line.submit(numbered(2 * each)) == 2 * each
            await until(lambda: not line.is_open)
        assert writer.batches == [[0], [2], [4]]


@pytest.mark.usefixtures("at_once")
async def test_a_recorder_of_another_file_gets_nothing_to_write(door: Door, writer: GatedWriter) -> None:
    """While a configuration is changed, certificates would be recorded in a database that nobody asks about them."""
    with calling(door) as line:
        with serving(writer, door, file=(7, 12)) as other:
            for _ in range(5):
                await asyncio.sleep(0.02)
                assert not line.is_open
                with pytest.raises(NotSentError):
                    await line.submit(numbered(0))
        del other
        with serving(writer, door):
            await is_open(line)
            assert await line.submit(numbered(2)) == 2
    assert writer.batches == [[2]]


async def test_a_recorder_that_comes_later_finds_who_knocked(door: Door, writer: GatedWriter) -> None:
    """A node's first worker is there before its recorder."""
    with calling(door) as line:
        await asyncio.sleep(0.05)
        assert not line.is_open
        with serving(writer, door):
            await is_open(line)
            assert await line.submit(numbered(2)) == 2


@pytest.mark.usefixtures("at_once")
async def test_a_recorder_that_hangs_is_given_up_in_time(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each client would wait for a process that is stopped; and a line given up many times at once must knock once.

    What is readable and read by nobody wakes the loop without end: a second knock would cost the worker a core.
    """
    knocks = 0
    knock = door.knock

    def counted() -> socket.socket | None:
        nonlocal knocks
        knocks += 1
        return knock()

    monkeypatch.setattr(door, "knock", counted)
    with calling(door, seconds=0.1) as line:
        puppet = await Puppet.at(door)
        puppet.say(FILE)
        await is_open(line)
        results = await outcomes(line, range(20))
        assert [each.code for each in results if isinstance(each, StoreFailed)] == ["store.outcome-unknown"] * 20
        assert not line.is_open
        later = await Puppet.at(door)
        await asyncio.sleep(0.2)
        assert knocks == 2
        assert door.answer() is None
        later.say(FILE)
        await is_open(line)
        puppet.socket.close()
        later.socket.close()


async def test_a_loop_that_was_busy_does_not_blame_the_recorder(door: Door) -> None:
    """A worker that was stopped for a while would throw away the line whose answers lie ready."""
    with calling(door, seconds=0.1) as line:
        puppet = await Puppet.at(door)
        puppet.say(FILE)
        await is_open(line)
        several = asyncio.create_task(outcomes(line, (0, 2, 4)))
        batch = (await puppet.hear())[0]
        puppet.say(tuple((number, 2 * number) for number, _, _ in batch))
        time.sleep(0.3)  # noqa: ASYNC251 (the loop is to be blocked)
        assert await several == [0, 2, 4]
        assert line.is_open
        puppet.socket.close()


async def test_a_caller_that_went_away_before_it_was_sent_writes_nothing(door: Door, writer: GatedWriter) -> None:
    """A client that hangs up while waiting must not lose its token for nothing."""
    with serving(writer, door), calling(door) as line:
        await is_open(line)
        first = await held(writer, line, 0)
        gone = asyncio.create_task(line.submit(numbered(2)))
        stays = asyncio.create_task(line.submit(numbered(4)))
        await asyncio.sleep(0)
        gone.cancel()
        writer.commit_gate.set()
        assert list(await asyncio.gather(first, stays)) == [0, 4]
        assert gone.cancelled()
        assert writer.batches == [[0], [4]]


async def test_a_caller_that_goes_away_in_flight_disturbs_nobody(door: Door, writer: GatedWriter) -> None:
    """An answer for somebody who is gone must not break the line for those who are not."""
    with serving(writer, door), calling(door) as line:
        await is_open(line)
        gone = await held(writer, line, 0)
        gone.cancel()
        with suppress(asyncio.CancelledError):
            await gone
        stays = asyncio.create_task(line.submit(numbered(2)))
        await asyncio.sleep(0)
        writer.commit_gate.set()
        assert await stays == 2
        assert writer.batches == [[0], [2]]
        assert line.is_open


async def test_hanging_up_answers_everybody_and_knocks_no_more(door: Door) -> None:
    """A worker that ends would leave callers who wait for ever, and a timer that works on what is closed."""
    with calling(door) as line:
        puppet = await Puppet.at(door)
        puppet.say(FILE)
        await is_open(line)
        sent = asyncio.create_task(line.submit(numbered(0)))
        await puppet.hear()
        unsent = asyncio.create_task(line.submit(numbered(2)))
        await asyncio.sleep(0.01)
        line.close()
        assert await code_of(sent) == "store.outcome-unknown"
        with pytest.raises(NotSentError):
            await unsent
        await until(lambda: puppet.socket.recv(1) == b"")
        assert door.answer() is None
        line.close()
        puppet.socket.close()


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, loop_factory()])
def test_a_loop_that_was_closed_with_a_line_stops_nobody(
    door: Door, writer: GatedWriter, factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """A worker's loop that ends in disorder must not take the recorder, and with it all other workers, along."""
    with serving(writer, door) as served:
        loop = factory()

        async def begin() -> Line:
            line = Line(door, file=FILE, seconds=SECONDS)
            await is_open(line)
            assert await line.submit(numbered(0)) == 0
            return line

        left = loop.run_until_complete(begin())
        loop.close()

        async def go_on() -> None:
            with calling(door) as line:
                await is_open(line)
                assert await line.submit(numbered(2)) == 2
                left.close()
                await until(lambda: len(served.recorder._workers) == 1)
                assert await line.submit(numbered(4)) == 4

        asyncio.run(go_on())


def test_the_recorder_sees_the_end_of_a_line_on_the_node_s_own_loop(door: Door, writer: GatedWriter) -> None:
    """A loop that keeps a closed socket open would keep an old recorder from ending, after each reload."""
    with serving(writer, door) as served, asyncio.Runner(loop_factory=loop_factory()) as runner:

        async def call() -> None:
            with calling(door) as line:
                await is_open(line)
                assert await line.submit(numbered(2, size=LARGE)) == 2
            await until(lambda: not served.recorder._workers)

        runner.run(call())
