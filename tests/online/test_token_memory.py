"""How long the node remembers that a token was used: until its age alone refuses it, and not for ever."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from fakes.hierarchy import World, make_csr, make_world
from fakes.house import housekeeper
from fakes.rows import certificate_row, token_use

from online.store.sqlite import SqliteStore, create_database
from online.tokens import DEFAULT_LIFE, LEEWAY
from shared.errors import Unauthenticated
from shared.keys import KeyKind, generate

_DAY = timedelta(days=1)
_OLD = 5000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create_database(tmp_path / "ca.db")
    return tmp_path / "ca.db"


@pytest_asyncio.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(path)
    yield opened
    await opened.close()


def remembered(path: Path) -> int:
    database = sqlite3.connect(path)
    try:
        count = database.execute("SELECT count(*) FROM used_token").fetchone()[0]
    finally:
        database.close()
    assert isinstance(count, int)
    return count


async def replay(world: World, token: str) -> str:
    """Use a token again and return the code of the refusal."""
    with pytest.raises(Unauthenticated) as refusal:
        await world.authority.sign(make_csr("a.example.com", key=generate(KeyKind.EC_P256)), token)
    return refusal.value.code


async def test_a_used_token_is_refused_at_every_age(store: SqliteStore, path: Path) -> None:
    """Between the moment that its use is forgotten and the moment that it is too old must be no gap."""
    world = make_world(store=store)
    token = world.token("a.example.com")
    await world.authority.sign(make_csr("a.example.com", key=generate(KeyKind.EC_P256)), token)
    ages = (timedelta(0), DEFAULT_LIFE, DEFAULT_LIFE + LEEWAY, _DAY, _DAY + DEFAULT_LIFE, 2 * _DAY)
    began = world.clock.now()
    seen = []
    for age in ages:
        world.clock.advance(began + age - world.clock.now())
        await housekeeper(world, store=store).tidy()
        seen.append((await replay(world, token), remembered(path)))
    assert seen == [
        ("token.used", 1),
        ("token.used", 1),
        # The last moment at which the leeway lets it pass: only the record stands against it.
        ("token.used", 1),
        ("token.expired", 1),
        ("token.expired", 1),
        ("token.expired", 0),
    ]


async def test_a_clock_that_is_set_back_replays_nothing(store: SqliteStore) -> None:
    """An administrator corrects the clock by hours: what was used before must stay used."""
    world = make_world(store=store)
    token = world.token("a.example.com")
    await world.authority.sign(make_csr("a.example.com", key=generate(KeyKind.EC_P256)), token)
    world.clock.advance(timedelta(hours=20))
    await housekeeper(world, store=store).tidy()
    world.clock.advance(-timedelta(hours=20))
    assert await replay(world, token) == "token.used"


async def test_forgetting_does_not_hold_up_signing(store: SqliteStore, path: Path) -> None:
    """After a long stop there is much to forget; the clients of that moment must not wait for all of it."""
    world = make_world(store=store)
    old = world.clock.now() - 3 * _DAY
    await asyncio.gather(
        *(
            store.record_certificate(token=token_use(str(each), expires=old), certificate=certificate_row())
            for each in range(_OLD // 2)
        )
    )
    database = sqlite3.connect(path)
    with database:
        database.executemany(
            "INSERT INTO used_token (provisioner_id, digest, expires) VALUES ('p', ?, ?)",
            [(f"{each:064x}", int(old.timestamp())) for each in range(_OLD // 2)],
        )
    database.close()
    assert remembered(path) == _OLD
    forgetting = asyncio.create_task(housekeeper(world, store=store).tidy())
    await asyncio.sleep(0)
    await world.leaf()
    assert remembered(path) > 1000
    assert not forgetting.done()
    await forgetting
    assert remembered(path) == 1
