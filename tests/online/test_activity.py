"""The count of clients that are being served: who is counted, and that nobody is left over."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fakes.hierarchy import make_world
from fakes.live import Live, live
from fakes.store import MemoryStore

from online.http import Layer
from online.store.activity import Activity
from shared.clock import SystemClock


def settled(server: Live, activity: Activity, wanted: int) -> int:
    """Wait a while for a count, and return what it is then."""

    async def watch() -> int:
        for _ in range(500):
            if activity.count == wanted:
                break
            await asyncio.sleep(0.01)
        return activity.count

    return server.call(watch())


@pytest.mark.parametrize("layer", Layer)
def test_who_waits_for_the_store_is_counted_and_nobody_is_left_over(tmp_path: Path, layer: Layer) -> None:
    """One client that is counted for ever makes every later write wait for company that cannot come."""
    activity, gate = Activity(), asyncio.Event()

    class Slow(MemoryStore):
        async def ready(self) -> None:
            await gate.wait()

    async def open_gate() -> None:
        gate.set()

    world = make_world(now=datetime.now(UTC), clock=SystemClock(), store=Slow())
    with live(tmp_path, world=world, layer=layer, activity=activity) as server:
        assert settled(server, activity, 0) == 0
        request = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
        clients = [server.connect() for _ in range(3)]
        for each in clients:
            each.sendall(request)
        assert settled(server, activity, 3) == 3
        # One goes away while it is served.
        clients.pop().close()
        server.call(open_gate())
        assert all(each.recv(1000).startswith(b"HTTP/1.1 200") for each in clients)
        # Idle connections bring nothing.
        assert settled(server, activity, 0) == 0
        for each in clients:
            each.close()


def test_handshakes_are_counted_to_whatever_end_they_come(tmp_path: Path) -> None:
    """A connection that brings a request in a moment is company, too; one that brings nothing must not stay it."""
    activity = Activity()
    with live(tmp_path, activity=activity) as server:
        silent, talker = (socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(2))
        assert settled(server, activity, 2) == 2
        talker.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert settled(server, activity, 1) == 1
        silent.close()
        talker.close()
        assert settled(server, activity, 0) == 0
