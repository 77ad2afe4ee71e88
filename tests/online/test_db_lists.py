"""Revocation lists and what ended, alike on every kind of database, with builders and housekeepers on several nodes."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from fakes.clock import NOON
from fakes.databases import KINDS, fresh_settings, shared_server
from fakes.rows import certificate_row, revocation_of, token_use

from online.store.crls import PublishedCrl
from online.store.open import CaStore, open_inventory, open_store
from online.store.search import Search
from shared.errors import RequestRejected

DAY = timedelta(days=1)


@pytest.fixture(params=KINDS)
async def two(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[CaStore, CaStore]]:
    """Two nodes' stores on one database."""
    if request.param != "sqlite":
        shared_server(request.param)
    settings = await asyncio.to_thread(fresh_settings, request.param, tmp_path)
    stores = open_store(settings), open_store(settings)
    yield stores
    for store in stores:
        await store.close()


def crl(number: int, *, revocations: int = 0) -> PublishedCrl:
    """Return a list that says nothing true."""
    return PublishedCrl(
        number=number,
        issuer="0" * 64,
        url="http://ca/crl",
        this_update=NOON,
        next_update=NOON + DAY,
        revocations=revocations,
        der=bytes([number % 256]) * 100_000,
    )


async def test_no_number_is_given_out_twice(two: tuple[CaStore, CaStore]) -> None:
    """Two lists of one number are two truths, and relying parties keep the older one (RFC 5280 §5.2.3)."""
    numbers = await asyncio.gather(*(store.crls.reserve(now=NOON) for store in two for _ in range(10)))
    assert sorted(numbers) == list(range(min(numbers), min(numbers) + 20))
    assert min(numbers) >= int(NOON.timestamp())
    # A clock that is set back, or a second node's that is slow, must not lead back.
    assert await two[0].crls.reserve(now=NOON - DAY) == max(numbers) + 1
    assert await two[1].crls.reserve(now=NOON + DAY) == int((NOON + DAY).timestamp())


async def test_only_the_newest_number_is_published(two: tuple[CaStore, CaStore]) -> None:
    """A slow builder on one node must not put an older list in the place of a newer one of another."""
    one, other = two
    assert await one.crls.newest() is None
    assert await one.crls.facts() is None
    first = await one.crls.reserve(now=NOON)
    second = await other.crls.reserve(now=NOON)
    with pytest.raises(RequestRejected) as refused:
        await one.crls.publish(crl(first))
    assert refused.value.code == "crl.overtaken"
    await other.crls.publish(crl(second))
    assert await one.crls.newest() == crl(second)
    third = await one.crls.reserve(now=NOON)
    await one.crls.publish(crl(third, revocations=3))
    found = await other.crls.facts()
    assert found is not None
    assert (found.number, found.revocations, found.next_update) == (third, 3, NOON + DAY)
    assert await other.crls.newest() == crl(third, revocations=3)


async def test_a_snapshot_names_what_is_revoked_and_not_over(two: tuple[CaStore, CaStore]) -> None:
    """A list that misses one lets it in; one that names all that ever ended grows for ever."""
    one, other = two
    living, ended, unknown = certificate_row(), certificate_row(begin=NOON - 9 * DAY), certificate_row()
    for row in (living, ended):
        await one.record_certificate(token=None, certificate=row)
    for row in (living, ended, unknown):
        await one.record_revocation(token=None, revocation=revocation_of(row.serial))
    snapshot = await other.crls.snapshot(ended_before=NOON)
    assert snapshot.revocations == await other.crls.revocations() == 3
    assert {each.serial for each in snapshot.entries} == {living.serial, unknown.serial}
    assert {each.revoked_at for each in snapshot.entries} == {NOON}


async def test_what_ended_goes_with_the_names_that_only_it_had(two: tuple[CaStore, CaStore]) -> None:
    """A store that only grows is full one day; a revoked one stays, and a living one is still found by its names."""
    one, other = two
    rows = [certificate_row(subject=f"CN={name}", begin=NOON - days * DAY) for name, days in (("old", 9), ("past", 8))]
    revoked = certificate_row(begin=NOON - 9 * DAY)
    young = certificate_row(subject="CN=young")
    for row in (*rows, revoked, young):
        await one.record_certificate(token=token_use(str(row.serial)), certificate=row)
    assert await other.ended(before=NOON, limit=10) == [rows[0], revoked, rows[1]]
    await other.record_revocation(token=None, revocation=revocation_of(revoked.serial))
    assert await other.ended(before=NOON, limit=1) == [rows[0]]
    assert await one.drop_ended([*rows, revoked]) == 2
    assert await other.drop_ended([*rows, revoked]) == 0
    assert [await one.certificate(row.serial) for row in (*rows, revoked, young)] == [None, None, revoked, young]


@pytest.mark.parametrize("kind", KINDS)
def test_names_that_went_are_found_again_when_they_return(kind: str, tmp_path: Path) -> None:
    """A name whose row went and whose links stayed, or the other way round, would never be found again."""
    settings = fresh_settings(kind, tmp_path)

    async def record_and_drop() -> int:
        store = open_store(settings)
        for begin in (NOON - 9 * DAY, NOON):
            made = dataclasses.replace(certificate_row(subject="CN=back", begin=begin), sans=("back.local",))
            await store.record_certificate(token=None, certificate=made)
            await store.drop_ended(await store.ended(before=NOON, limit=10))
        await store.close()
        return made.serial

    serial = asyncio.run(record_and_drop())
    with open_inventory(settings) as inventory:
        for text in ("back.local", "ack"):
            assert [each.serial for each in inventory.page(Search(now=NOON, text=text)).found] == [serial]
