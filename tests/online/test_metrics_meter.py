"""Counting, and putting the counts up for others to read."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress

import pytest
from fakes.hierarchy import World, make_csr, make_world, peer
from hypothesis import given, settings
from hypothesis import strategies as st

from online.api import Api, Request, Service
from online.api.routes import endpoint_name
from online.config import TlsSettings
from online.metrics import Board, Meter, Page
from online.metrics.attempt import Attempt, vouched_by
from online.metrics.meter import BOUNDS, OWN_END, REFUSED, RENEWED, REQUESTS, REVOKED, SIGNED, Tally, Times
from shared.errors import PolicyDenied, Unauthenticated
from shared.keys import KeyKind, generate

NAMES = st.text(max_size=20)
KEYS = st.lists(NAMES, min_size=1, max_size=4).map(tuple)
TIMES = st.builds(
    Times,
    counts=st.lists(st.integers(0, 10**9), min_size=len(BOUNDS) + 1, max_size=len(BOUNDS) + 1),
    total=st.floats(0, 1e9),
)
TALLIES = st.builds(
    Tally,
    counts=st.dictionaries(KEYS, st.integers(0, 10**12), max_size=5),
    times=st.dictionaries(KEYS, TIMES, max_size=3),
    gauges=st.dictionaries(KEYS, st.floats(0, 1e12), max_size=3),
)


@given(TALLIES)
@settings(max_examples=100)
def test_a_tally_crosses_processes_unchanged(tally: Tally) -> None:
    """Without this, a label with an odd character could break the numbers of all workers."""
    assert Tally.decode(tally.encode()) == tally
    page = Page()
    assert page.put(tally)
    assert page.get() == tally


@given(st.lists(st.floats(0, 100), max_size=50))
@settings(max_examples=50)
def test_every_time_falls_into_one_bucket(seconds: list[float]) -> None:
    """Without this, a histogram's count would differ from the number of requests."""
    times = Times()
    for each in seconds:
        times.add(each)
    assert sum(times.counts) == len(seconds)
    for index, bound in enumerate(BOUNDS):
        assert sum(times.counts[: index + 1]) == sum(each <= bound for each in seconds)


def test_a_page_shows_the_last_tally_and_keeps_it_from_one_owner_to_the_next() -> None:
    """Without this, a worker's death would make counters go back, which Prometheus takes for a restart."""
    board = Board(2)
    page = board.take()
    assert page is not None
    meter = Meter(page.get())
    meter.operation(SIGNED, "admin", success=True)
    meter.gauge(OWN_END, 10)
    page.put(meter.tally)
    board.give_back(page)
    total, living = board.total()
    assert (total.counts, total.gauges, living) == ({(SIGNED, "admin", "true"): 1}, {}, 0)
    again = board.take()
    assert again is page
    successor = Meter(again.get())
    successor.operation(SIGNED, "admin", success=True)
    again.put(successor.tally)
    assert board.total()[0].counts == {(SIGNED, "admin", "true"): 2}


def test_living_workers_are_added_up() -> None:
    """Without this, a scrape would show one worker's share, another at each scrape."""
    board = Board(3)
    for end in (30.0, 20.0):
        page = board.take()
        assert page is not None
        meter = Meter(page.get())
        meter.request("/sign", 201, 0.004)
        meter.gauge(OWN_END, end)
        page.put(meter.tally)
    total, living = board.total()
    assert living == 2
    assert sum(total.times[REQUESTS, "/sign", "201"].counts) == 2
    assert total.gauges == {(OWN_END,): 20.0}, "the one that ends first is the one to worry about"


def test_a_board_that_is_full_turns_the_next_one_away() -> None:
    """Without this, two workers would write over each other."""
    board = Board(1)
    assert board.take() is not None
    assert board.take() is None
    assert Board(0).take() is None


def test_a_tally_that_does_not_fit_leaves_the_last_one() -> None:
    """Without this, too many provisioners would end the process or garble the page."""
    page = Page()
    page.put(Tally(counts={("a",): 1}))
    assert not page.put(Tally(counts={("x" * 1000, str(each)): each for each in range(1000)}))
    assert page.get().counts == {("a",): 1}


def test_a_page_of_a_dead_writer_still_shows_the_last_whole_tally() -> None:
    """A worker is killed while it writes, over and over; what it showed last must be whole each time."""
    page = Page()
    tallies = [Tally(counts={("count",): number, ("pad",): 10 ** (number % 40)}) for number in range(200)]
    for _ in range(10):
        child = os.fork()
        if child == 0:
            while True:
                for tally in tallies:
                    page.put(tally)
        for _ in range(200):
            shown = page.get().counts
            assert not shown or tallies[shown["count",]].counts == shown
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        shown = page.get().counts
        assert not shown or tallies[shown["count",]].counts == shown


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/sign", "/sign"), ("/1.0/sign", "/sign"), ("/roots.pem", "/roots.pem"), ("/root/abc", "/root/{sha}"),
        ("/1.0/provisioners/x/encrypted-key", "/provisioners/{kid}/encrypted-key"), ("/", "other"), ("", "other"),
        ("/sign/", "other"), ("/%73ign", "other"), ("/1.0/1.0/sign", "other"), ("/" + "x" * 5000, "other"),
    ],
)  # fmt: skip
def test_a_path_has_one_of_a_few_names(path: str, name: str) -> None:
    """Without this, a caller could fill the node's memory with a new series for each path it invents."""
    assert endpoint_name(path) == name


def test_an_attempt_is_counted_by_who_vouched_and_how_it_ended() -> None:
    """Without this, refusals would look like successes, or like another provisioner's."""
    meter = Meter()
    with Attempt(meter, SIGNED):
        vouched_by("admin")
    with pytest.raises(Unauthenticated), Attempt(meter, SIGNED):
        raise Unauthenticated("token.expired", "the token has expired")
    with pytest.raises(PolicyDenied), Attempt(meter, SIGNED):
        vouched_by("admin")
        raise PolicyDenied("policy.denied", "no")
    with pytest.raises(asyncio.CancelledError), Attempt(meter, RENEWED):
        raise asyncio.CancelledError
    assert meter.tally.counts == {
        (SIGNED, "admin", "true"): 1,
        (SIGNED, "", "false"): 1,
        (SIGNED, "admin", "false"): 1,
        (RENEWED, "", "false"): 1,
        (REFUSED, "token.expired"): 1,
    }


def test_a_certificate_s_refusal_is_no_token_s() -> None:
    """Without this, an expired certificate would count as an attack with tokens."""
    meter = Meter()
    with pytest.raises(Unauthenticated), Attempt(meter, RENEWED):
        raise Unauthenticated("certificate.expired", "it has expired")
    assert (REFUSED, "certificate.expired") not in meter.tally.counts


@pytest.fixture
def world() -> World:
    """A CA in memory."""
    return make_world()


def api_of(world: World, meter: Meter) -> Api:
    """Return the interface of a CA."""
    service = Service(authority=world.authority, tls=TlsSettings(), version="0")
    return Api(service, trace_header="X-Id", meter=meter)


async def test_what_the_interface_does_is_counted(world: World) -> None:
    """Without this, the counters could be right and nobody would call them."""
    meter = Meter()
    api = api_of(world, meter)
    await api.handle(Request(method="POST", path="/1.0/sign", body=b"{}"))
    await api.handle(Request(method="POST", path="/sign", body=b'{"csr": "x", "ott": "y"}'))
    chain, _ = await world.leaf()
    await api.handle(Request(method="POST", path="/renew", peer=peer(chain).certificate))
    serial = chain[0].serial_number
    body = b'{"serial": "%d", "passive": true, "reasonCode": 0}' % serial
    await api.handle(Request(method="POST", path="/revoke", peer=peer(chain).certificate, body=body))
    await api.handle(Request(method="POST", path="/renew", peer=peer(chain).certificate))
    assert meter.tally.counts == {
        (SIGNED, "", "false"): 2,
        (RENEWED, "admin", "true"): 1,
        (REVOKED, "", "true"): 1,
        (RENEWED, "admin", "false"): 1,
    }


async def test_a_refused_token_is_counted_by_its_cause(world: World) -> None:
    """Without this, an operator could not see that somebody tries tokens."""
    meter = Meter()
    token = world.token("a.example.com")
    key = generate(KeyKind.EC_P256)
    for _ in range(2):
        with suppress(Unauthenticated), Attempt(meter, SIGNED):
            await world.authority.sign(make_csr("a.example.com", key=key), token)
    assert meter.tally.counts == {
        (SIGNED, "admin", "true"): 1,
        (SIGNED, "admin", "false"): 1,
        (REFUSED, "token.used"): 1,
    }
