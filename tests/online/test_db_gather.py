"""The queue in front of a database server: batches gather by themselves, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from online.store.networked import gather as module
from online.store.networked.gather import Gather
from shared.errors import ColdrootError, StoreFailed


class Runner:
    """Does what it is told to with each batch, and notes them."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.may_go = asyncio.Event()
        self.may_go.set()
        self.fault: Exception | None = None

    async def run(self, batch: Sequence[int]) -> Sequence[int | ColdrootError]:
        """Return each number doubled."""
        self.batches.append(list(batch))
        await self.may_go.wait()
        if self.fault is not None:
            raise self.fault
        return [StoreFailed("store.odd", "odd") if each % 2 else each * 2 for each in batch]


async def test_what_comes_while_one_batch_is_in_flight_is_the_next_one() -> None:
    """One commit for all who wait costs what one commit costs; and each must hear of its own work."""
    runner = Runner()
    queue = Gather[int, int](runner.run, seconds=30)
    runner.may_go.clear()
    first = asyncio.create_task(queue.submit(2))
    await asyncio.sleep(0.01)
    others = [asyncio.create_task(queue.submit(each)) for each in (3, 4, 6)]
    await asyncio.sleep(0.01)
    assert runner.batches == [[2]]
    runner.may_go.set()
    assert await first == 4
    results = await asyncio.gather(*others, return_exceptions=True)
    assert runner.batches == [[2], [3, 4, 6]]
    assert isinstance(results[0], StoreFailed)
    assert results[1:] == [8, 12]
    await queue.close()


async def test_time_ends_for_who_waits_and_for_who_was_taken() -> None:
    """Who was not taken may try again at once; of who was taken nobody knows, so the token counts as used."""
    runner = Runner()
    queue = Gather[int, int](runner.run, seconds=0.05)
    runner.may_go.clear()
    taken = asyncio.create_task(queue.submit(2))
    await asyncio.sleep(0.01)
    waiting = asyncio.create_task(queue.submit(4))
    results = await asyncio.gather(taken, waiting, return_exceptions=True)
    assert [each.code for each in results if isinstance(each, StoreFailed)] == ["store.outcome-unknown", "store.busy"]
    runner.may_go.set()
    assert await queue.submit(6) == 12
    assert runner.batches == [[2], [6]]
    await queue.close()


async def test_a_fault_ends_one_batch_and_not_the_queue() -> None:
    """One request that nobody thought of must not stop all signing until a restart."""
    runner = Runner()
    queue = Gather[int, int](runner.run, seconds=30)
    runner.fault = KeyError("secret")
    with pytest.raises(StoreFailed) as failed:
        await queue.submit(2)
    assert failed.value.code == "store.failed"
    assert "secret" not in failed.value.message
    runner.fault = None
    assert await queue.submit(4) == 8
    await queue.close()


async def test_a_queue_that_is_full_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a limit a database that is away fills the memory with those who wait for it."""
    monkeypatch.setattr(module, "_MOST_WAITING", 3)
    runner = Runner()
    queue = Gather[int, int](runner.run, seconds=30)
    runner.may_go.clear()
    calls = [asyncio.create_task(queue.submit(0)) for _ in range(5)]
    await asyncio.sleep(0.01)
    runner.may_go.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [each.code for each in results if isinstance(each, StoreFailed)] == ["store.busy"] * 2
    await queue.close()


async def test_closing_finishes_what_was_accepted() -> None:
    """A reload must not cost those their certificates who asked just before it."""
    runner = Runner()
    queue = Gather[int, int](runner.run, seconds=30)
    runner.may_go.clear()
    calls = [asyncio.create_task(queue.submit(each)) for each in (2, 4)]
    await asyncio.sleep(0.01)
    closing = asyncio.create_task(queue.close())
    await asyncio.sleep(0.01)
    with pytest.raises(StoreFailed):
        await queue.submit(6)
    runner.may_go.set()
    assert await asyncio.gather(*calls) == [4, 8]
    await closing
