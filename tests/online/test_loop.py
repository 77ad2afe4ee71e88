"""The event loop that the node runs on."""

from __future__ import annotations

import asyncio
import sys

import pytest
import uvloop

from online.loop import loop_factory, run


def test_the_fast_loop_is_taken_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this, a node could be slower than it need be, or not start where uvloop is not built."""
    assert loop_factory() is uvloop.new_event_loop
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert loop_factory() is asyncio.new_event_loop


@pytest.mark.parametrize("installed", [True, False])
def test_a_coroutine_is_run_to_its_end(monkeypatch: pytest.MonkeyPatch, installed: bool) -> None:
    """Without this, what the node's processes do could be left unfinished with one of the loops."""
    if not installed:
        monkeypatch.setitem(sys.modules, "uvloop", None)

    async def answer() -> str:
        await asyncio.sleep(0)
        return type(asyncio.get_running_loop()).__module__.partition(".")[0]

    assert run(answer()) == ("uvloop" if installed else "asyncio")
