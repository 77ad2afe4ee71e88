"""``/metrics`` of real nodes, read by Prometheus's own parser."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest
from fakes.node import Node, make_home, running
from fakes.ports import free_port
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from online.config import parse_config
from online.listener import bind
from online.metrics import Board, Meter
from online.metrics.endpoint import Metering, publish
from online.metrics.exposition import Picture, expose
from online.metrics.meter import COMMITS, REQUESTS, SIGNED, Tally
from online.store import Census
from shared.errors import RequestRejected, StoreFailed

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: str, *, parse: Callable[[str], object] = parse_text) -> Samples:
    """Return value by name and labels."""
    families = parse(text)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families  # type: ignore[attr-defined]
        for sample in family.samples
    }


def read(port: int, target: str = "/metrics", *, method: str = "GET", accept: str = "") -> tuple[int, str, str]:
    """Ask; return status, content type and body."""
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, target, headers={"Accept": accept, "Connection": "close"})
        response = connection.getresponse()
        return response.status, response.headers.get("Content-Type", ""), response.read().decode()
    finally:
        connection.close()


def picture(tally: Tally | None = None, census: Census | None = None) -> Picture:
    """Return something to show."""
    return Picture(tally=tally or Tally(), workers=2, uptime=12.5, version="1.2.3", census=census)


def busy() -> Tally:
    """Return a tally with something of everything."""
    meter = Meter()
    meter.operation(SIGNED, 'ad"min\n\\', success=True)
    meter.refused("token.expired")
    meter.request("/sign", 201, 0.004)
    meter.request("/sign", 201, 40.0)
    meter.commit("done", 0.002)
    meter.gauge("coldroot_issuer_not_after_timestamp_seconds", 1.5e9)
    return meter.tally


def test_both_formats_say_the_same_to_their_own_parsers() -> None:
    """Without this, one odd provisioner name could make Prometheus refuse the whole scrape."""
    census = Census(live=3, expiring={"1h": 1}, overdue=0)
    plain, plain_type = expose(picture(busy(), census), "")
    modern, modern_type = expose(picture(busy(), census), "application/openmetrics-text; version=1.0.0")
    assert plain_type.startswith("text/plain")
    assert modern_type.startswith("application/openmetrics-text")
    found = samples(plain.decode())
    assert samples(modern.decode(), parse=parse_openmetrics) == found
    name = 'ad"min\n\\'
    assert found["step_ca_x509_signed_total", (("provisioner", name), ("success", "true"))] == 1
    assert found["coldroot_tokens_refused_total", (("cause", "token.expired"),)] == 1
    sign = (("endpoint", "/sign"), ("status", "201"))
    assert found["coldroot_request_seconds_count", sign] == 2
    assert found["coldroot_request_seconds_bucket", tuple(sorted((*sign, ("le", "0.005"))))] == 1
    assert found["coldroot_request_seconds_bucket", tuple(sorted((*sign, ("le", "+Inf"))))] == 2
    assert found["coldroot_certificates_expiring", (("within", "1h"),)] == 1
    assert found["coldroot_certificates_live", ()] == 3
    assert found["step_ca_uptime_seconds", ()] == 12.5


def test_without_a_census_its_series_are_absent() -> None:
    """A zero would say that no certificate is live, and an alarm on expiry would fall silent."""
    assert b"coldroot_certificates" not in expose(picture(), "")[0]


@asynccontextmanager
async def published(census: Callable[[], Census], meter: Meter | None = None) -> AsyncIterator[int]:
    """Serve numbers without a node; yield the port."""
    board = Board(1)
    page = board.take()
    assert page is not None

    async def take() -> Census:
        return census()

    with bind("127.0.0.1", 0) as listener:
        metering = Metering(listener=listener, board=board, page=page, begun=time.monotonic())
        async with publish(metering, meter or Meter(), census=take, version="0"):
            yield listener.getsockname()[1]


async def test_the_store_is_asked_once_a_minute_at_most() -> None:
    """Without this, whoever may scrape could keep the disk busy."""
    asked: list[int] = []

    def census() -> Census:
        asked.append(1)
        return Census(live=1, expiring={}, overdue=0)

    async with published(census) as port:
        for _ in range(5):
            status, _, text = await asyncio.to_thread(read, port)
            assert (status, "coldroot_certificates_live 1.0" in text) == (200, True)
    assert len(asked) == 1


async def test_a_store_that_fails_does_not_take_the_other_numbers_with_it() -> None:
    """The moment when the database is gone is the moment when the numbers are needed most."""

    def census() -> Census:
        raise StoreFailed("store.missing", "gone")

    async with published(census, Meter(busy())) as port:
        status, _, text = await asyncio.to_thread(read, port)
    assert status == 200
    assert "step_ca_x509_signed_total" in text
    assert "coldroot_certificates" not in text


@pytest.mark.parametrize(
    ("target", "method", "status"),
    [("/", "GET", 404), ("/metrics/x", "GET", 404), ("/1.0/sign", "POST", 404), ("/metrics", "POST", 405),
     ("/metrics?x=y", "GET", 200), ("/metrics", "HEAD", 200)],
)  # fmt: skip
async def test_nothing_else_is_served_there(target: str, method: str, status: int) -> None:
    """Without this, the CA's own interface might be found in plain HTTP."""
    async with published(lambda: Census(live=0, expiring={}, overdue=0)) as port:
        assert (await asyncio.to_thread(read, port, target, method=method))[0] == status


def until(node: Node, port: int, condition: Callable[[Samples], bool]) -> Samples:
    """Scrape until something is true."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        # A worker that ends may take a connection with it that nobody had answered yet; who scrapes asks again.
        with contextlib.suppress(ConnectionError):
            found = samples(read(port)[2])
            if condition(found):
                return found
        time.sleep(0.1)
    raise AssertionError("\n".join([*node.lines, read(port)[2]]))


def requests(found: Samples) -> float:
    """Return how many requests were counted."""
    return sum(value for (name, _), value in found.items() if name == f"{REQUESTS}_count")


def test_any_worker_answers_for_all_and_no_count_is_lost(tmp_path: Path) -> None:
    """Workers share the work, one is killed, all are replaced: the sums go on, and never back."""
    home = make_home(tmp_path / "home")
    port = free_port()
    home.change_config(metricsAddress=f"127.0.0.1:{port}")
    with running(home, workers=2) as node:
        found = until(node, port, lambda found: found[("coldroot_workers", ())] == 2)
        # Each worker's own leaf was recorded.
        until(node, port, lambda found: found[(f"{COMMITS}_count", (("outcome", "done"),))] == 2)
        assert found[("coldroot_own_certificate_not_after_timestamp_seconds", ())] > time.time()
        assert found[("coldroot_issuer_not_after_timestamp_seconds", ())] > time.time()
        for _ in range(20):
            answered = https_status(node)
            assert answered == 200
        until(node, port, lambda found: requests(found) == 20)
        time.sleep(1.2)
        victim = node.workers()[0]
        os.kill(victim, signal.SIGKILL)
        until(node, port, lambda found: found[("coldroot_workers", ())] == 2 and victim not in node.workers())
        assert requests(samples(read(port)[2])) == 20
        node.process.send_signal(signal.SIGHUP)
        node.wait_for("configuration reloaded")
        found = until(node, port, lambda found: found[("coldroot_workers", ())] == 2)
        assert requests(found) == 20


def https_status(node: Node) -> int:
    """Ask for the node's health on a new connection."""
    import ssl  # noqa: PLC0415 (used here only)
    from http.client import HTTPSConnection  # noqa: PLC0415

    context = ssl.create_default_context(cafile=str(node.home.root))
    connection = HTTPSConnection("127.0.0.1", node.port, timeout=20, context=context)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status
    finally:
        connection.close()


def test_without_an_address_nothing_listens(tmp_path: Path) -> None:
    """Without this, a node would open a port that nobody asked for."""
    with running(make_home(tmp_path / "home"), workers=1) as node:
        pids = [node.process.pid, *node.workers()]
        sockets = {link for pid in pids for link in links(pid) if link.startswith("socket:")}
        listening = {
            line.split()[9]
            for name in ("tcp", "tcp6")
            for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
            if line.split()[3] == "0A"
        }
        assert len({each for each in sockets if each[8:-1] in listening}) == 1


def links(pid: int) -> list[str]:
    """Return what a process has open."""
    return [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir() if path.is_symlink()]


@pytest.mark.parametrize(
    ("written", "meant"),
    [(None, None), ("", None), (":9090", ("127.0.0.1", 9090)), ("127.0.0.1:9090", ("127.0.0.1", 9090)),
     ("[::1]:9090", ("::1", 9090)), ("10.0.0.1:9090", ("10.0.0.1", 9090))],
)  # fmt: skip
def test_the_address_is_step_ca_s_setting(tmp_path: Path, written: str | None, meant: tuple[str, int] | None) -> None:
    """Without this, ``:9090`` would show the numbers to everybody in the network, as step-ca does."""
    home = make_home(tmp_path / "home")
    home.change_config(metricsAddress=written)
    assert parse_config(home.config.read_bytes(), path=home.config).metrics_address == meant


@pytest.mark.parametrize("written", ["9090", "host", 9090, "127.0.0.1:99999", "http://127.0.0.1:9090"])
def test_a_malformed_address_is_refused(tmp_path: Path, written: object) -> None:
    """Without this, the error would name the node's own address, or none."""
    home = make_home(tmp_path / "home")
    home.change_config(metricsAddress=written)
    with pytest.raises(RequestRejected) as failure:
        parse_config(home.config.read_bytes(), path=home.config)
    assert "metricsAddress" in failure.value.message
