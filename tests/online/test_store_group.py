"""Group commit by itself: who waits, who is answered, who gave up in time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress

import pytest
import pytest_asyncio

from online.store.group import GroupCommit, Outcome
from shared.errors import RequestRejected, StoreFailed


class GatedWriter:
    """Writes numbers into a list, but only while its gates are open."""

    def __init__(self) -> None:
        self.turn_gate = threading.Event()
        self.write_gate = threading.Event()
        self.writing = threading.Event()
        self.batches: list[list[int]] = []
        self.turns_to_refuse = 0
        self.closed = threading.Event()
        self.turn_gate.set()
        self.write_gate.set()

    @contextmanager
    def turn(self) -> Iterator[None]:
        self.turn_gate.wait(30)
        if self.turns_to_refuse:
            self.turns_to_refuse -= 1
            raise StoreFailed("store.lock", "no turn")
        yield

    def write(self, batch: Sequence[int]) -> Sequence[Outcome]:
        self.writing.set()
        self.write_gate.wait(30)
        self.batches.append(list(batch))
        return [RequestRejected("odd", "odd") if each % 2 else each for each in batch]

    def close(self) -> None:
        self.closed.set()


@pytest.fixture
def writer() -> GatedWriter:
    return GatedWriter()


@pytest_asyncio.fixture
async def commits(writer: GatedWriter) -> AsyncIterator[GroupCommit[int]]:
    group = GroupCommit(writer, seconds=20)
    yield group
    writer.turn_gate.set()
    writer.write_gate.set()
    await group.close()


@pytest_asyncio.fixture
async def hasty(writer: GatedWriter) -> AsyncIterator[GroupCommit[int]]:
    group = GroupCommit(writer, seconds=0.05)
    yield group
    writer.turn_gate.set()
    writer.write_gate.set()
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
    writer.write_gate.clear()
    tasks = [asyncio.create_task(commits.submit(each)) for each in range(0, 40, 2)]
    await asyncio.to_thread(writer.writing.wait, 10)
    await asyncio.sleep(0)
    writer.write_gate.set()
    await asyncio.gather(*tasks)
    assert len(writer.batches) <= 3
    assert sorted(each for batch in writer.batches for each in batch) == list(range(0, 40, 2))


async def test_no_answer_before_the_write_is_done(commits: GroupCommit[int], writer: GatedWriter) -> None:
    """A reply before the commit is a certificate that a power cut un-issues."""
    writer.write_gate.clear()
    task = asyncio.create_task(commits.submit(2))
    await asyncio.to_thread(writer.writing.wait, 10)
    done, _ = await asyncio.wait({task}, timeout=0.05)
    assert not done
    writer.write_gate.set()
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
    writer.write_gate.clear()
    with pytest.raises(StoreFailed) as failure:
        await hasty.submit(2)
    assert failure.value.code == "store.outcome-unknown"
    writer.write_gate.set()
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
    """A writer thread that dies of one failure leaves a node that can never write again."""
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
    """Answering a dead loop raises in the writer thread; the other loops would wait for ever."""
    group = GroupCommit(writer, seconds=20)
    writer.write_gate.clear()

    async def leave() -> None:
        task = asyncio.create_task(group.submit(2))
        await asyncio.to_thread(writer.writing.wait, 10)
        task.cancel()

    asyncio.run(leave())
    writer.write_gate.set()

    async def stay() -> int:
        return await group.submit(4)

    assert asyncio.run(stay()) == 4
    asyncio.run(group.close())
