"""The limit of requests a client: exact for one, blind to others, one for all workers, and never there unasked."""

from __future__ import annotations

import http.client
import json
import signal
import ssl
from collections.abc import Iterator
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from fakes.node import Node, NodeHome, make_home, running
from fakes.randomness import seeded
from hypothesis import given, settings
from hypothesis import strategies as st

from online.config import Config, RateLimitSettings, parse_config, render_config
from online.rate_limit import RateLimiter
from shared.errors import RequestRejected


class Ticks:
    """A monotonic clock that stands still until it is told to move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def limiter(
    ticks: Ticks, *, requests: int = 60, burst: int = 3, exempt: tuple[str, ...] = (), sets: int = 64
) -> RateLimiter:
    limits = RateLimitSettings(
        requests=requests,
        period=timedelta(minutes=1),
        burst=burst,
        exempt=tuple(map(ip_network, exempt)),
    )
    return RateLimiter(limits, monotonic=ticks, rng=seeded(1), sets=sets)


def test_a_burst_then_a_steady_rate() -> None:
    """A client that was silent may ask a few times at once, and then as often as the limit says."""
    ticks = Ticks()
    limit = limiter(ticks)
    assert [limit.wait("10.0.0.1") for _ in range(3)] == [0, 0, 0]
    assert limit.wait("10.0.0.1") == pytest.approx(1.0)
    # A refused request costs nothing: the wait does not grow.
    assert limit.wait("10.0.0.1") == pytest.approx(1.0)
    ticks.now += 1.0
    assert limit.wait("10.0.0.1") == 0
    assert limit.wait("10.0.0.1") > 0
    ticks.now += 3600
    assert [limit.wait("10.0.0.1") == 0 for _ in range(4)] == [True, True, True, False]


@settings(max_examples=50)
@given(st.lists(st.floats(min_value=0, max_value=5), max_size=60), st.integers(1, 5))
def test_no_pattern_of_asking_gets_more_than_the_limit(gaps: list[float], burst: int) -> None:
    """Whoever times the requests cleverly must not get more than the burst and what the time pays for."""
    ticks = Ticks()
    limit = limiter(ticks, burst=burst)
    admitted = 0
    for gap in gaps:
        ticks.now += gap
        admitted += limit.wait("10.0.0.1") == 0
        assert admitted <= burst + (ticks.now - 1000.0) + 1e-6


def test_clients_do_not_disturb_one_another() -> None:
    """One that asks too often must not get the others refused."""
    limit = limiter(Ticks(), burst=1)
    assert limit.wait("10.0.0.1") == 0
    assert limit.wait("10.0.0.1") > 0
    for other in ("10.0.0.2", "2001:db8::1", "2001:db8:0:1::1", "::ffff:10.0.0.3"):
        assert limit.wait(other) == 0


@pytest.mark.parametrize(
    ("one", "same"),
    [
        ("10.0.0.1", "::ffff:10.0.0.1"),
        ("2001:db8::1", "2001:db8::ffff:2"),
        ("fe80::1%eth0", "fe80::2%eth0"),
    ],
)
def test_one_client_under_several_addresses(one: str, same: str) -> None:
    """An IPv6 subscriber has 2^64 addresses, and a dual-stack socket writes IPv4 in another way."""
    limit = limiter(Ticks(), burst=1)
    assert limit.wait(one) == 0
    assert limit.wait(same) > 0


def test_exempt_networks_and_odd_names_are_not_limited() -> None:
    """A load balancer is not a client, and what is no address cannot be told apart."""
    limit = limiter(Ticks(), burst=1, exempt=("10.1.0.0/16", "2001:db8::7"))
    for remote in ("10.1.2.3", "::ffff:10.1.2.3", "2001:db8::7", "-", ""):
        assert [limit.wait(remote) for _ in range(5)] == [0] * 5
    assert limit.wait("2001:db8::8") == 0
    assert limit.wait("2001:db8::8") > 0


def test_a_flood_of_addresses_fills_no_memory_and_frees_nobody() -> None:
    """The table keeps its size, and those who owe most stay in it longest."""
    ticks = Ticks()
    limit = limiter(ticks, burst=50, sets=4)
    while limit.wait("10.0.0.1") == 0:
        pass
    before = len(limit._table)
    for each in range(2000):
        limit.wait(f"10.{1 + each // 250}.0.{each % 250}")
    assert len(limit._table) == before
    assert limit.wait("10.0.0.1") > 0


def config(block: object) -> Config:
    document = render_config(dns_names=("localhost",), address=":0", provisioners=())
    return parse_config(json.dumps({**document, "coldroot": block}).encode(), path=Path("/nowhere/config/ca.json"))


def test_there_is_no_limit_unless_one_is_set() -> None:
    """An operator who did not ask for it must not meet it."""
    assert config({}).rate_limit is None
    assert config(None).rate_limit is None
    found = config({"rateLimit": {"requests": 120}}).rate_limit
    assert found == RateLimitSettings(requests=120, period=timedelta(minutes=1), burst=120)
    block = {"requests": 5, "period": "10s", "burst": 2, "exempt": ["10.0.0.0/8", "::1"]}
    found = config({"rateLimit": block}).rate_limit
    assert found is not None
    assert (found.period, found.burst, found.exempt) == (
        timedelta(seconds=10),
        2,
        (ip_network("10.0.0.0/8"), ip_network("::1")),
    )


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"ratelimit": {}}, "coldroot.ratelimit"),
        ({"rateLimit": {}}, "coldroot.rateLimit.requests"),
        ({"rateLimit": {"requests": 0}}, "coldroot.rateLimit.requests"),
        ({"rateLimit": {"requests": 1.5}}, "coldroot.rateLimit.requests"),
        ({"rateLimit": {"requests": True}}, "coldroot.rateLimit.requests"),
        ({"rateLimit": {"requests": 1, "burst": -1}}, "coldroot.rateLimit.burst"),
        ({"rateLimit": {"requests": 1, "period": "0.5s"}}, "coldroot.rateLimit.period"),
        ({"rateLimit": {"requests": 1, "period": "48h"}}, "coldroot.rateLimit.period"),
        ({"rateLimit": {"requests": 1, "perMinute": 1}}, "coldroot.rateLimit.perMinute"),
        ({"rateLimit": {"requests": 1, "exempt": ["10.0.0.1/8"]}}, "coldroot.rateLimit.exempt[0]"),
        ({"rateLimit": {"requests": 1, "exempt": "10.0.0.1"}}, "coldroot.rateLimit.exempt"),
        ({"rateLimit": []}, "coldroot.rateLimit"),
        ([], "coldroot"),
    ],
)
def test_a_limit_that_cannot_be_meant_is_refused(block: object, words: str) -> None:
    """A typing error must not become no limit, or one that shuts everybody out."""
    with pytest.raises(RequestRejected) as refusal:
        config(block)
    assert refusal.value.code.startswith("config.")
    assert words in refusal.value.message


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> NodeHome:
    return make_home(tmp_path_factory.mktemp("limited") / "home")


@pytest.fixture
def node(home: NodeHome) -> Iterator[Node]:
    """Two workers that let a client ask four times, and then twice an hour."""
    home.change_config(coldroot={"rateLimit": {"requests": 2, "period": "1h", "burst": 4}})
    with running(home, workers=2) as started:
        yield started


def ask(node: Node, path: str, method: str = "GET") -> tuple[int, str | None, bytes]:
    context = ssl.create_default_context(cafile=str(node.home.root))
    connection = http.client.HTTPSConnection("localhost", node.port, timeout=20, context=context)
    try:
        connection.request(method, path, headers={"Connection": "close"}, body=b"{}" if method == "POST" else None)
        response = connection.getresponse()
        return response.status, response.headers["Retry-After"], response.read()
    finally:
        connection.close()


def test_all_workers_count_together(node: Node) -> None:
    """With a count of its own in each worker, the limit would be a multiple of what the operator wrote."""
    statuses = [ask(node, "/roots")[0] for _ in range(12)]
    assert statuses == [201] * 4 + [429] * 8
    status, retry, body = ask(node, "/sign", "POST")
    assert status == 429
    assert retry is not None
    assert 1700 <= int(retry) <= 1800
    assert json.loads(body) == {"status": 429, "message": "Too many requests come from this address."}
    # Load balancers may always ask for the node's health.
    assert [ask(node, "/health")[0] for _ in range(6)] == [200] * 6
    assert any("429" in line and "http.429" in line for line in node.lines)


def test_a_reload_changes_the_limit(node: Node) -> None:
    """An operator whose clients are shut out must be able to let them in without dropping the others."""
    assert [ask(node, "/roots")[0] for _ in range(5)][-1] == 429
    # The same limit again keeps what is owed.
    for limit, expected in ({"requests": 2, "period": "1h", "burst": 4}, 429), ({"requests": 1000}, 201):
        node.home.change_config(coldroot={"rateLimit": limit})
        seen = len(node.lines)
        node.process.send_signal(signal.SIGHUP)
        node.wait_for("configuration reloaded", since=seen)
        assert ask(node, "/roots")[0] == expected
