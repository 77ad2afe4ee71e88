"""A worker's life: its own leaf renewed under running clients, and an end that drops nothing."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fakes.clock import FakeClock
from fakes.hierarchy import make_world
from fakes.live import answers, live

from online.http import Layer
from online.server import Pace, product_version
from online.store.protocol import CertificateKind
from shared.errors import StoreFailed

_PACE = Pace(look=0.02, drain=5.0)


def until(condition: Callable[[], bool], *, seconds: float = 20.0) -> None:
    """Wait until a function returns something true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def test_the_own_leaf_is_replaced_without_a_restart(tmp_path: Path) -> None:
    """Without this, the node would be unreachable a day after its start."""
    with live(tmp_path, pace=Pace(look=0.02, drain=5.0, own_leaf=timedelta(0))) as server:
        with server.connect() as kept:
            first = server.server_certificate().serial_number
            until(lambda: server.server_certificate().serial_number != first)
            # A connection from before goes on.
            kept.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert [each.status for each in answers(kept)] == [200]
        assert any("own certificate renewed" in line for line in server.lines)


def test_no_handshake_fails_while_the_leaf_is_replaced(tmp_path: Path) -> None:
    """Without this, each renewal of the node's leaf could cost some clients their request."""
    with live(tmp_path, pace=Pace(look=0.001, drain=5.0, own_leaf=timedelta(0))) as server:
        serials = {server.server_certificate().serial_number for _ in range(40)}
        assert len(serials) > 2


def test_the_leaf_is_renewed_by_the_wall_clock(tmp_path: Path) -> None:
    """Without this, a machine that slept, or whose clock was set, could serve an expired leaf."""
    clock = FakeClock(datetime.now(UTC))
    world = make_world(now=clock.now(), clock=clock)
    with live(tmp_path, clock=clock, world=world, pace=_PACE) as server:
        first = server.server_certificate().serial_number
        clock.advance(timedelta(hours=15))
        time.sleep(0.1)
        assert server.server_certificate().serial_number == first
        clock.advance(timedelta(hours=2))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

        def serial_changed() -> bool:
            with server.connect(context) as connection:
                der = connection.getpeercert(binary_form=True)
            return der is not None and first.to_bytes(16, "big") not in der

        # The new leaf is not valid yet by the real clock, so the client must not look at its dates.
        until(serial_changed)


def test_a_store_that_fails_costs_neither_the_old_leaf_nor_the_worker(tmp_path: Path) -> None:
    """Without this, a full disk at the wrong moment could end the node."""
    with live(tmp_path, pace=Pace(look=0.02, drain=5.0, own_leaf=timedelta(0))) as server:
        store = server.world.store
        store.unavailable = StoreFailed("store.full", "the disk is full")
        until(lambda: any("store.full" in line for line in server.lines))
        assert server.request("GET", "/roots").status == 201
        server.lines.clear()
        store.unavailable = None
        until(lambda: any("own certificate renewed" in line for line in server.lines))


def test_the_own_leaf_is_recorded_as_the_node_s_own(tmp_path: Path) -> None:
    """Without this, a leaf of the node could be renewed or revoked by whoever steals it."""
    with live(tmp_path) as server:
        serial = server.server_certificate().serial_number
        row = server.call(server.world.store.certificate(serial))
        assert row is not None
        assert row.kind is CertificateKind.OWN


@pytest.mark.parametrize("layer", Layer)
def test_a_stop_finishes_what_was_begun(tmp_path: Path, layer: Layer) -> None:
    """Without this, a restart would cost clients their certificates."""
    with contextlib.ExitStack() as clients, contextlib.ExitStack() as running:
        server = running.enter_context(live(tmp_path, pace=_PACE, layer=layer))
        working, idle, fresh = (clients.enter_context(server.connect()) for _ in range(3))
        idle.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        idle.recv(4096)
        working.sendall(b"POST /sign HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{")
        server.call(_read_what_was_sent())
        stopper = threading.Thread(target=running.pop_all().close)
        stopper.start()
        # The one that had its answer is closed; the two others may still ask.
        assert idle.recv(4096) == b""
        working.sendall(b"}")
        assert [(each.status, each.headers["connection"]) for each in answers(working)] == [(400, "close")]
        fresh.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert [(each.status, each.headers["connection"]) for each in answers(fresh)] == [(200, "close")]
        stopper.join(20)
        assert not stopper.is_alive()


async def _read_what_was_sent() -> None:
    """Give the server's loop, in which this runs, some turns."""
    await asyncio.sleep(0.1)


@pytest.mark.parametrize("layer", Layer)
def test_a_client_that_never_ends_is_cut_at_the_deadline(tmp_path: Path, layer: Layer) -> None:
    """Without this, one client could keep a worker from ever ending."""
    with live(tmp_path, pace=Pace(look=0.02, drain=0.3), layer=layer) as server:
        connection = server.connect()
        connection.sendall(b"POST /sign HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{")
        server.call(_read_what_was_sent())
    with connection:
        assert list(answers(connection)) == []


def test_the_version_is_the_distribution_s() -> None:
    """Without this, /version could tell an operator the wrong thing."""
    assert product_version()[0].isdigit()
