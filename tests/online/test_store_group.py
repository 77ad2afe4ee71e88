"""Group commit by itself: who waits, who is answered, who gave up in time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

import pytest
import pytest_asyncio
from fakes.gates import GatedCommits

from online.store.activity import Activity
from online.store.group import GroupCommit, Outcome
from shared.errors import RequestRejected, StoreFailed


class GatedWriter(GatedCommits):
    """Writes numbers into a list, but only while its gates are open; a negative number breaks its batch."""

    def __init__(self) -> None:
        super().__init__()
        self.writers: list[threading.Thread] = []
        self.turns_to_refuse = 0
        self.owner: threading.Thread | None = None
        self.closed = threading.Event()

    def begin(self, *, wait: bool, seconds: float | None = None) -> bool:
        assert seconds is None
        with self.alone():
            if not self.turn_gate.is_set():
                if not wait:
                    return False
                self.turn_gate.wait(30)
            if self.turns_to_refuse:
                self.turns_to_refuse -= 1
                raise StoreFailed("store.lock", "no turn")
            assert not self.written
            return True

    def write(self, batch: Sequence[int]) -> Sequence[Outcome]:
        with self.alone():
            self.writers.append(threading.current_thread())
            if any(each < 0 for each in batch):
                raise StoreFailed("store.conflict", "no such number")
            self.written = list(batch)
            return [RequestRejected("odd", "odd") if each % 2 else each for each in batch]

    def commit(self) -> None:
        with self.alone():
            super().commit()

    def close(self) -> None:
        self.closed.set()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Insist that no two threads are in here at once: a database connection would break."""
        assert self.owner is None
        self.owner = threading.current_thread()
        try:
            yield
        finally:
            self.owner = None


@pytest.fixture
def writer() -> GatedWriter:
    return GatedWriter()


@pytest_asyncio.fixture
async def commits(writer: GatedWriter) -> AsyncIterator[GroupCommit[int]]:
    group = GroupCommit(writer, seconds=20)
    yield group
    writer.turn_gate.set()
    writer.commit_gate.set()
    await group.close()


@pytest_asyncio.fixture
async def hasty(writer: GatedWriter) -> AsyncIterator[GroupCommit[int]]:
    group = GroupCommit(writer, seconds=0.05)
    yield group
    writer.turn_gate.set()
    writer.commit_gate.set()
    await group.close()


async def test_each_caller_gets_its_own_outcome(commits: GroupCommit[int]) -> None:
    """Outcomes that slip by one would hand a refusal to the winner and a certificate to the loser."""
    results = await asyncio.gather(*(commits.submit(each) for each in range(50)), return_exceptions=True)
    for number, result in enumerate(results):
        if number % 2:
            assert isinstance(result, RequestRejected)
        else:
            assert result == number


async def test_writes_gather_while_one_is_flushed(commits: GroupCommit[int], writer: GatedWriter) -> None:
    """One flush a row caps the node at the disk's flushes a second."""
    writer.commit_gate.clear()
    tasks = [asyncio.create_task(commits.submit(each)) for each in range(0, 40, 2)]
    await asyncio.to_thread(writer.committing.wait, 10)
    await asyncio.sleep(0)
    writer.commit_gate.set()
    await asyncio.gather(*tasks)
    assert len(writer.batches) <= 3
    assert sorted(each for batch in writer.batches for each in batch) == list(range(0, 40, 2))


async def test_no_answer_before_the_write_is_done(commits: GroupCommit[int], writer: GatedWriter) -> None:
    """A reply before the commit is a certificate that a power cut un-issues."""
    writer.commit_gate.clear()
    task = asyncio.create_task(commits.submit(2))
    await asyncio.to_thread(writer.committing.wait, 10)
    done, _ = await asyncio.wait({task}, timeout=0.05)
    assert not done
    writer.commit_gate.set()
    assert await task == 2


async def test_who_waits_too_long_is_told_and_its_write_never_happens(
    hasty: GroupCommit[int], writer: GatedWriter
) -> None:
    """A client that was told 503 comes back; its first write must not have happened meanwhile."""
    writer.turn_gate.clear()
    with pytest.raises(StoreFailed) as failure:
        await hasty.submit(2)
    assert failure.value.code == "store.busy"
    writer.turn_gate.set()
    await hasty.close()
    assert writer.batches == []


async def test_who_waits_too_long_for_a_flush_is_told_that_it_is_unknown(
    hasty: GroupCommit[int], writer: GatedWriter
) -> None:
    """A stuck disk must not hold every connection; what it wrote in the end counts, for a token counts as used."""
    writer.commit_gate.clear()
    with pytest.raises(StoreFailed) as failure:
        await hasty.submit(2)
    assert failure.value.code == "store.outcome-unknown"
    writer.commit_gate.set()
    await hasty.close()
    assert writer.batches == [[2]]


async def test_a_caller_that_went_away_writes_nothing(commits: GroupCommit[int], writer: GatedWriter) -> None:
    """A client that hangs up while waiting must not lose its token for nothing."""
    writer.turn_gate.clear()
    task = asyncio.create_task(commits.submit(2))
    other = asyncio.create_task(commits.submit(4))
    await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    writer.turn_gate.set()
    assert await other == 4
    assert writer.batches == [[4]]


async def test_a_refused_turn_fails_its_batch_only(commits: GroupCommit[int], writer: GatedWriter) -> None:
    """A helper that dies of one failure leaves a node that can never write again."""
    writer.turns_to_refuse = 1
    with pytest.raises(StoreFailed) as failure:
        await commits.submit(2)
    assert failure.value.code == "store.lock"
    assert await commits.submit(4) == 4


async def test_a_flood_is_refused_at_once(commits: GroupCommit[int], writer: GatedWriter) -> None:
    """With a stuck disk, an unbounded queue eats the memory and then the node."""
    writer.turn_gate.clear()
    tasks = [asyncio.create_task(commits.submit(0)) for _ in range(4096)]
    await asyncio.sleep(0)
    with pytest.raises(StoreFailed) as failure:
        await commits.submit(2)
    assert failure.value.code == "store.busy"
    writer.turn_gate.set()
    await asyncio.gather(*tasks)
    assert await commits.submit(2) == 2


async def test_closing_finishes_what_was_accepted(writer: GatedWriter) -> None:
    """A drain that drops accepted writes answers 503 for certificates that it could have given."""
    group = GroupCommit(writer, seconds=20)
    writer.turn_gate.clear()
    tasks = [asyncio.create_task(group.submit(each)) for each in (2, 4)]
    await asyncio.sleep(0)
    closing = asyncio.create_task(group.close())
    await asyncio.sleep(0)
    with pytest.raises(StoreFailed) as failure:
        await group.submit(6)
    assert failure.value.code == "store.closed"
    writer.turn_gate.set()
    assert await asyncio.gather(*tasks) == [2, 4]
    await closing
    assert writer.closed.is_set()


def test_a_loop_that_ended_stops_nobody(writer: GatedWriter) -> None:
    """Answering a dead loop raises in the helper; the other loops would wait for ever."""
    group = GroupCommit(writer, seconds=20)
    writer.commit_gate.clear()

    async def leave() -> None:
        task = asyncio.create_task(group.submit(2))
        await asyncio.to_thread(writer.committing.wait, 10)
        task.cancel()

    asyncio.run(leave())
    writer.commit_gate.set()

    async def stay() -> int:
        return await group.submit(4)

    assert asyncio.run(stay()) == 4
    asyncio.run(group.close())


async def test_a_lone_write_is_not_held_back(writer: GatedWriter) -> None:
    """A node that waits for company which cannot come doubles the time that a lone client waits."""
    activity = Activity()
    group = GroupCommit(writer, seconds=20, activity=activity)
    with activity:
        task = asyncio.create_task(group.submit(2))
        await asyncio.sleep(0)
        # One round of the loop, and it is written: there was no timer.
        assert writer.writers == [threading.current_thread()]
        await task
    await group.close()


async def test_a_batch_waits_for_those_who_are_being_served(writer: GatedWriter) -> None:
    """Eight clients at once would pay for eight flushes; and the ninth, who never writes, must not hold them up."""
    activity = Activity()
    group = GroupCommit(writer, seconds=20, activity=activity)
    with ExitStack() as clients:
        for _ in range(8):
            clients.enter_context(activity)
        tasks = []
        for each in range(0, 14, 2):
            tasks.append(asyncio.create_task(group.submit(each)))
            await asyncio.sleep(0)
            assert not writer.writers
        tasks.append(asyncio.create_task(group.submit(14)))
        await asyncio.gather(*tasks)
        assert writer.batches == [[*range(0, 16, 2)]]
        # The others read or think: after 2 ms it goes without them.
        assert await group.submit(16) == 16
    await group.close()


async def test_rows_are_written_where_their_callers_live(commits: GroupCommit[int], writer: GatedWriter) -> None:
    """A hand-off of each row to another thread costs more than the row."""
    await asyncio.gather(*(commits.submit(each) for each in range(0, 20, 2)))
    assert set(writer.writers) == {threading.current_thread()}


async def test_what_takes_long_is_done_elsewhere_and_alone(commits: GroupCommit[int], writer: GatedWriter) -> None:
    """A thousand rows deleted on the loop are a thousand rows' time in which nobody is served."""
    tasks = [asyncio.create_task(commits.submit(each, is_long=each == 4)) for each in range(0, 10, 2)]
    await asyncio.gather(*tasks)
    assert writer.batches == [[0, 2], [4], [6, 8]]
    assert [each is threading.current_thread() for each in writer.writers] == [True, False, True]


async def test_a_slow_flush_does_not_stop_the_loop(commits: GroupCommit[int], writer: GatedWriter) -> None:
    """While the disk is busy there are handshakes to make and the next batch to gather."""
    writer.commit_gate.clear()
    first = asyncio.create_task(commits.submit(2))
    await asyncio.to_thread(writer.committing.wait, 10)
    rest = [asyncio.create_task(commits.submit(each)) for each in range(4, 40, 2)]
    for _ in range(100):
        await asyncio.sleep(0)
    assert not first.done()
    writer.commit_gate.set()
    await asyncio.gather(first, *rest)
    assert writer.batches == [[2], [*range(4, 40, 2)]]


async def test_a_turn_that_another_process_has_does_not_stop_the_loop(
    commits: GroupCommit[int], writer: GatedWriter
) -> None:
    """Two workers wait for each other now and then; a loop that waits for the lock serves nobody."""
    writer.turn_gate.clear()
    task = asyncio.create_task(commits.submit(2))
    for _ in range(100):
        await asyncio.sleep(0)
    late = asyncio.create_task(commits.submit(4))
    await asyncio.sleep(0)
    assert not writer.writers
    writer.turn_gate.set()
    assert list(await asyncio.gather(task, late)) == [2, 4]
    # Got by the helper, used by the loop, and who came meanwhile rode along.
    assert writer.batches == [[2, 4]]
    assert writer.writers == [threading.current_thread()]


def test_a_loop_that_does_not_come_does_not_keep_the_turn(writer: GatedWriter) -> None:
    """A worker that thinks, or ended, with the lock in hand would stop all the others."""
    group = GroupCommit(writer, seconds=20)
    writer.turn_gate.clear()

    async def think() -> int:
        task = asyncio.create_task(group.submit(2))
        for _ in range(3):
            await asyncio.sleep(0)
        writer.turn_gate.set()
        # Not a round of the loop from here on, and yet it is written.
        assert writer.committing.wait(10)
        return await task

    assert asyncio.run(think()) == 2
    assert writer.writers == [group._thread]
    asyncio.run(group.close())


async def test_one_write_that_breaks_takes_no_other_down(commits: GroupCommit[int], writer: GatedWriter) -> None:
    """One request with a taken serial would fail everybody who shares its transaction."""
    results = await asyncio.gather(*(commits.submit(each) for each in (0, 2, -1, 4)), return_exceptions=True)
    assert isinstance(results[2], StoreFailed)
    assert [each for each in results if isinstance(each, int)] == [0, 2, 4]
    assert writer.batches == [[0], [2], [4]]


@pytest.mark.parametrize("failure", [StoreFailed("store.full", "full"), RuntimeError("eyJ")])
async def test_the_helper_survives_whatever_a_commit_does(
    commits: GroupCommit[int], writer: GatedWriter, failure: Exception
) -> None:
    """A helper that dies leaves a node that answers nobody until it is started again."""
    writer.commit_failures = [failure]
    results = await asyncio.gather(*(commits.submit(each) for each in (2, 4)), return_exceptions=True)
    assert all(isinstance(each, StoreFailed) and "eyJ" not in each.message for each in results)
    assert writer.batches == []
    assert await commits.submit(6) == 6


def test_closing_does_not_need_the_loops_of_those_who_wait(writer: GatedWriter) -> None:
    """What was accepted is finished, also when the loop that it came from is gone."""
    group = GroupCommit(writer, seconds=20)
    writer.turn_gate.clear()
    loop = asyncio.new_event_loop()
    task = loop.create_task(group.submit(2))
    for _ in range(3):
        loop.run_until_complete(asyncio.sleep(0))
    writer.turn_gate.set()
    asyncio.run(group.close())
    assert writer.batches == [[2]]
    assert loop.run_until_complete(task) == 2
    loop.close()
