"""When a list is built, from what, and under which number; races, clocks and lost databases included."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from fakes.clock import NOON, FakeClock
from fakes.crls import SETTINGS, URL, Listing, listing

from online.accesslog import Log
from online.crl import CrlBuilder
from online.crl_keeper import Bell, Keeper
from online.crl_serving import PublishedCrls, pem_of
from online.store.crls import PublishedCrl
from online.store.sqlite import SqliteStore
from shared.crl import Reason, verify_crl_signature
from shared.errors import Fatal, NotFound, PeerFailed, RequestRejected, StoreFailed
from shared.pem import load_crl

ON_REVOKE = replace(SETTINGS, generate_on_revoke=True)


@pytest.fixture
async def ca(tmp_path: Path) -> AsyncIterator[Listing]:
    """A CA with an empty store."""
    async with listing(tmp_path) as found:
        yield found


async def test_the_first_list_of_an_empty_store(ca: Listing) -> None:
    """From the first moment there must be a list to be had: leaves name it."""
    builder = ca.builder()
    assert await builder.is_due()
    published = await builder.build()
    assert not await builder.is_due()
    crl = await ca.served()
    verify_crl_signature(crl, ca.pki.hierarchy().issuer)
    assert len(crl) == 0
    assert crl.last_update_utc == NOON
    assert crl.next_update_utc == NOON + timedelta(hours=24)
    point = crl.extensions.get_extension_for_class(x509.IssuingDistributionPoint).value
    assert point.full_name == [x509.UniformResourceIdentifier(URL)]
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == published.number


async def test_every_reason_reaches_the_list(ca: Listing) -> None:
    """What an operator said when revoking is what relying parties read."""
    wanted = {await ca.revoke(reason=reason): reason for reason in Reason if reason.revokes}
    await ca.builder().build()
    found = {}
    for each in await ca.served():
        flag = each.extensions.get_extension_for_class(x509.CRLReason).value.reason.value if each.extensions else None
        found[each.serial_number] = flag or Reason.UNSPECIFIED.label
    assert found == {serial: reason.label for serial, reason in wanted.items()}


async def test_a_certificate_leaves_the_list_an_hour_after_its_end(ca: Listing) -> None:
    """A list that only grows cannot be served one day; one that forgets too early lets a slow clock in."""
    gone = await ca.revoke(not_after=NOON - timedelta(hours=1, seconds=1))
    just_there = await ca.revoke(not_after=NOON - timedelta(hours=1))
    alive = await ca.revoke()
    unknown = await ca.revoke(known=False)
    await ca.builder().build()
    assert set(await ca.listed()) == {just_there, alive, unknown}
    assert gone not in await ca.listed()


async def test_numbers_grow_whatever_happens(ca: Listing) -> None:
    """RFC 5280 §5.2.3: two lists under one number, or a smaller number later, and readers keep the wrong one."""
    numbers = []
    for step in (timedelta(0), timedelta(hours=1), timedelta(hours=-5), timedelta(0), timedelta(days=9)):
        ca.clock.advance(step)
        numbers.append((await ca.builder().build()).number)
    assert numbers == sorted(set(numbers))
    assert numbers[0] == int(NOON.timestamp())


async def test_a_new_database_does_not_begin_again(tmp_path: Path) -> None:
    """After a database was lost or restored, clients that hold the last list must still take the next one."""
    async with listing(tmp_path) as before:
        for _ in range(3):
            last = (await before.builder().build()).number
        pki = before.pki
    (tmp_path / "ca.db").unlink()
    async with listing(tmp_path, pki=pki, now=NOON + timedelta(minutes=1)) as after:
        assert (await after.builder().build()).number > last


async def test_a_list_is_replaced_in_time(ca: Listing) -> None:
    """With the old list ended and no new one, every client that checks refuses every certificate."""
    await ca.builder().build()
    for hours, due in ((0, False), (15.99, False), (16, True), (23, True), (30, True), (-0.01, True)):
        ca.clock = FakeClock(NOON + timedelta(hours=hours))
        assert await ca.builder().is_due() is due


async def test_a_list_of_yesterdays_configuration_is_replaced(ca: Listing) -> None:
    """After another place was configured, or another intermediate came, the old list fits no new leaf."""
    await ca.builder().build()
    assert await ca.builder(settings=replace(SETTINGS, url="http://other.example.com/crl")).is_due()
    assert await ca.builder(pki=ca.pki.sibling()).is_due()


async def test_a_revocation_is_a_reason_only_where_it_is_wanted(ca: Listing) -> None:
    """generateOnRevoke is a choice: a list a revocation can be too many."""
    await ca.builder().build()
    await ca.revoke()
    assert not await ca.builder().is_due()
    assert await ca.builder().is_due(at_start=True)
    eager = ca.builder(settings=ON_REVOKE)
    assert await eager.is_due()
    await eager.build()
    assert not await eager.is_due()
    assert not await eager.is_due(at_start=True)


async def test_a_revocation_from_before_the_clock_was_set_back(ca: Listing) -> None:
    """Its date is in the list's future, and without care no list could be made until the clock caught up."""
    serial = await ca.revoke(at=NOON + timedelta(minutes=10))
    await ca.builder().build()
    (entry,) = await ca.served()
    assert (entry.serial_number, entry.revocation_date_utc) == (serial, NOON)


async def test_of_two_builders_at_once_one_is_turned_away(ca: Listing) -> None:
    """A list that was read earlier must never follow one that was read later, under any number."""
    number = await ca.store.crls.reserve(now=NOON)
    serial = await ca.revoke()
    published = await ca.builder().build()
    assert published.number > number
    stale = replace(published, number=number, der=b"stale")
    with pytest.raises(RequestRejected) as caught:
        await ca.store.crls.publish(stale)
    assert caught.value.code == "crl.overtaken"
    assert await ca.listed() == [serial]


async def test_many_builders_on_two_connections_never_publish_one_number_twice(tmp_path: Path) -> None:
    """Two workers or nodes at once: same number, same bytes, and numbers only grow."""
    seen: dict[int, bytes] = {}
    order: list[int] = []
    async with listing(tmp_path) as one:
        other = SqliteStore(one.path)
        stores = [one.store, other]
        try:

            async def build(store: SqliteStore, rounds: int) -> None:
                for _ in range(rounds):
                    number = await store.crls.reserve(now=NOON)
                    await asyncio.sleep(random.random() / 500)  # noqa: S311 (no secret)
                    crl = PublishedCrl(
                        number=number, issuer="a" * 64, url=URL, this_update=NOON,
                        next_update=NOON + timedelta(days=1), revocations=0, der=os.urandom(9),
                    )  # fmt: skip
                    try:
                        await store.crls.publish(crl)
                    except RequestRejected:
                        continue
                    assert number not in seen
                    seen[number] = crl.der
                    order.append(number)

            async def watch() -> None:
                for _ in range(200):
                    for store in stores:
                        newest = await store.crls.facts()
                        if newest is not None:
                            watched.append(newest.number)
                    await asyncio.sleep(0)

            watched: list[int] = []
            await asyncio.gather(*(build(store, 12) for store in stores for _ in range(2)), watch())
            assert order
            assert watched == sorted(watched)
            final = [await store.crls.newest() for store in stores]
        finally:
            await other.close()
    assert final[0] == final[1]
    assert final[0] is not None
    assert final[0].number == max(seen)
    assert final[0].der == seen[max(seen)]


async def test_an_issuer_that_ended_signs_no_list(ca: Listing) -> None:
    """Nobody would believe it, and the operator must hear why."""
    ca.clock = FakeClock(ca.pki.intermediate.not_valid_after_utc + timedelta(seconds=1))
    with pytest.raises(Fatal, match="not valid"):
        await ca.builder().build()


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    """An error of the database must be one of ours."""
    async with listing(tmp_path) as ca:
        crls = ca.store.crls
    for call in (crls.facts(), crls.reserve(now=NOON)):
        with pytest.raises(StoreFailed):
            await call
    ca.path.unlink()
    for lost in (crls.newest(), crls.revocations(), crls.snapshot(ended_before=NOON)):
        with pytest.raises(StoreFailed):
            await lost


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something is true; there is nothing to wait for but the store."""
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


class Faulty(CrlBuilder):
    """A builder that fails while it is told to."""

    fault: Exception | None = None
    failures: int = 0

    async def build(self) -> PublishedCrl:
        if self.fault is not None:
            self.failures += 1
            raise self.fault
        return await super().build()


class Stage:
    """A keeper at work in a task."""

    def __init__(self, ca: Listing, *, look: float = 30.0) -> None:
        self.bell = Bell()
        self.lines: list[str] = []
        self.builder = Faulty(hierarchy=ca.pki.hierarchy(), store=ca.store.crls, settings=ON_REVOKE, clock=ca.clock)
        log = Log(ca.clock, sink=self.lines.append)
        self.keeper = Keeper(self.builder, bell=self.bell, log=log, look=look)
        self.stop, self.ready = asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(self.keeper.run(self.stop, self.ready.set))

    async def end(self) -> None:
        self.stop.set()
        await asyncio.wait_for(self.task, 10)
        self.bell.close()


async def test_a_revocation_waits_for_the_list_that_names_it(ca: Listing) -> None:
    """With generateOnRevoke, who was answered may rely on the list; also when many revoke at once."""
    stage = Stage(ca)
    await asyncio.wait_for(stage.ready.wait(), 10)
    crls = PublishedCrls(store=ca.store.crls, settings=ON_REVOKE, clock=ca.clock, ring=stage.bell.ring)

    async def revoke() -> None:
        serial = await ca.revoke()
        await crls.after_revocation()
        served = await crls.current()
        assert serial in [each.serial_number for each in load_crl(served.crl.der)]

    await asyncio.gather(*(revoke() for _ in range(20)))
    assert len(await ca.listed()) == 20
    await stage.end()


async def test_a_revocation_without_a_keeper_is_answered_nevertheless(ca: Listing) -> None:
    """It is recorded; that the list is late is no reason to tell the caller that it failed."""
    crls = PublishedCrls(store=ca.store.crls, settings=ON_REVOKE, clock=ca.clock, ring=lambda: None, wait=0.05)
    await ca.revoke()
    await asyncio.wait_for(crls.after_revocation(), 5)
    patient = PublishedCrls(store=ca.store.crls, settings=SETTINGS, clock=ca.clock, ring=pytest.fail)
    await patient.after_revocation()


async def test_the_keeper_looks_at_the_clock(ca: Listing) -> None:
    """Nobody rings when a list becomes old, or when an operator revokes beside the node."""
    stage = Stage(ca, look=0.02)
    await asyncio.wait_for(stage.ready.wait(), 10)
    first = await ca.store.crls.facts()
    ca.clock.advance(timedelta(hours=17))

    async def replaced() -> bool:
        return await ca.store.crls.facts() != first

    await until(replaced)
    serial = await ca.revoke()

    async def named() -> bool:
        return serial in await ca.listed()

    await until(named)
    await stage.end()
    assert any("revocation list" in line and "published" in line for line in stage.lines)


async def test_the_keeper_does_not_begin_without_a_list(ca: Listing) -> None:
    """A node that says it is ready names its list in leaves."""
    stage = Stage(ca)
    stage.builder.fault = PeerFailed("hsm.away", "the HSM is away")
    with pytest.raises(PeerFailed):
        await asyncio.wait_for(stage.task, 10)
    assert not stage.ready.is_set()
    stage.bell.close()


async def test_the_keeper_tries_again_after_a_failure_and_gives_up_after_a_bad_signature(ca: Listing) -> None:
    """An HSM comes back; a signature that came out wrong must be looked at by a person first."""
    stage = Stage(ca, look=0.02)
    await asyncio.wait_for(stage.ready.wait(), 10)
    stage.builder.fault = PeerFailed("hsm.away", "the HSM is away")
    ca.clock.advance(timedelta(hours=17))
    await _line(stage, "hsm.away")
    stage.builder.fault = None
    await _line(stage, f"in force until {(ca.clock.now() + timedelta(hours=24)):%Y-%m-%dT%H:%M}")
    stage.builder.failures = 0
    stage.builder.fault = Fatal("issue.bad-signature", "the signature does not verify")
    ca.clock.advance(timedelta(hours=17))
    await _line(stage, "no revocation list is made any more")
    await asyncio.sleep(0.2)
    assert stage.builder.failures == 1
    await stage.end()


async def test_a_keeper_that_is_overtaken_looks_again(ca: Listing) -> None:
    """During a reload there are two for a moment: one gives way, and both are content with what is published."""
    one, two = Stage(ca), Stage(ca)
    for stage in (one, two):
        await asyncio.wait_for(stage.ready.wait(), 20)
    for _ in range(3):
        await ca.revoke()
        one.bell.ring()
        two.bell.ring()

    async def named() -> bool:
        return len(await ca.listed()) == 3

    await until(named)
    for stage in (one, two):
        await stage.end()


async def _line(stage: Stage, text: str) -> None:
    async def said() -> bool:
        return any(text in line for line in stage.lines)

    await until(said)


async def test_nothing_is_served_before_the_first_list(ca: Listing) -> None:
    """Then it is served at once, and so is every later one."""
    crls = PublishedCrls(store=ca.store.crls, settings=SETTINGS, clock=ca.clock, ring=lambda: None)
    with pytest.raises(NotFound):
        await crls.current()
    for _ in range(3):
        published = await ca.builder().build()
        served = await crls.current()
        assert served.crl == published
        assert await crls.current() is served
        assert served.pem() == load_crl(published.der).public_bytes(Encoding.PEM)
        assert pem_of(published.der) == served.pem()
