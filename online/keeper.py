"""The keeper: one process beside the workers, for what is done once and must hold up nobody.

It keeps house in the store and, where lists are wanted, the revocation list in force; where the database has the
authority, it watches for a newer one. It opens what it needs after the
fork, as a worker does; the issuing key only for lists.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from online.accesslog import Log
from online.archive import Archive
from online.config import Config
from online.config.settings import AuthoritySource
from online.crl import CrlBuilder
from online.crl_keeper import LOOK_SECONDS, Bell, Keeper
from online.housekeeping import Chores, Housekeeper
from online.lineage import succession_of
from online.node import open_hierarchy
from online.store.open import CaStore, open_store
from online.store.sqlite import SqliteStore
from shared.clock import Clock
from shared.errors import ColdrootError
from shared.keystore import SecretCallback

_WATCH_SECONDS = 2.0


async def run_keeper(
    config: Config,
    secret: SecretCallback,
    *,
    log: Log,
    clock: Clock,
    bell: Bell,
    stop: asyncio.Event,
    ready: Callable[[], None],
    newest: Callable[[int], None],
    look: float = LOOK_SECONDS,
) -> None:
    """Keep house, and the list, until told to stop.

    Args:
        config: of the node.
        secret: gives the issuing key's password or PIN; asked only where lists are made.
        log: takes lines.
        clock: wall clock.
        bell: rung by workers.
        stop: set to stop.
        ready: called once there is a list in force, or none is wanted.
        newest: told every 2 seconds which version of the authority is the database's newest, where it has it.
        look: seconds between two looks at the clock.

    Raises:
        ColdrootError: the store or the key could not be opened, or the first list not be made.
    """
    store = open_store(config.db)
    try:
        house = housekeeper(config, store, clock=clock, log=log, revoked=bell.ring)

        async def keep_house() -> None:
            duties = [house.run(stop, look=look)]
            if config.authority is AuthoritySource.DATABASE:
                duties.append(watch_authority(store, log, newest))
            await asyncio.gather(*duties)

        if config.crl is None:
            ready()
            await _beside(keep_house(), stop.wait())
            return
        with open_hierarchy(config, secret) as hierarchy:
            builder = CrlBuilder(hierarchy=hierarchy, store=store.crls, settings=config.crl, clock=clock)
            keeper = Keeper(builder, bell=bell, log=log, look=look)
            await _beside(keep_house(), keeper.run(stop, ready))
    finally:
        await store.close()


def housekeeper(config: Config, store: CaStore, *, clock: Clock, log: Log, revoked: Callable[[], None]) -> Housekeeper:
    """Make the housekeeper that a configuration wants.

    Args:
        config: of the node.
        store: opened.
        clock: wall clock.
        log: takes lines.
        revoked: told when certificates were revoked.
    """
    beside = Path(config.db.data_source).parent if config.db.type == "sqlite" else config.home / "db"
    chores = Chores(
        succession=succession_of(config.renewal),
        backdate=config.backdate,
        archive=Archive(beside / "archive"),
        archive_after=config.archive_after,
    )
    fold_log = store.fold_log if isinstance(store, SqliteStore) else None
    return Housekeeper(store, chores, clock=clock, log=log, revoked=revoked, fold_log=fold_log)


class Versioned(Protocol):
    """What has versions of the authority."""

    async def authority_version(self) -> int | None:
        """See ``online.store.open.CaStore``."""
        ...


async def watch_authority(
    store: Versioned, log: Log, newest: Callable[[int], None], *, look: float = _WATCH_SECONDS
) -> None:
    """Tell again and again which version of the authority is the newest, until cancelled.

    Args:
        store: of the node. One that is away is said once, and asked again.
        log: takes lines.
        newest: told the version.
        look: seconds between two looks.
    """
    said = ""
    while True:
        try:
            version = await store.authority_version()
        except ColdrootError as error:
            text = f"looking for a newer authority failed: {error.code}: {error.message}"
            if text != said:
                log.event(text)
            said = text
        else:
            said = ""
            if version is not None:
                newest(version)
        await asyncio.sleep(look)


async def _beside(other: Coroutine[Any, Any, None], work: Coroutine[Any, Any, object]) -> None:
    """Do some work, and another thing for as long as that takes; whichever fails ends both."""
    working, beside = asyncio.create_task(work), asyncio.create_task(other)
    beside.add_done_callback(lambda task: task.cancelled() or task.exception() is None or working.cancel())
    try:
        await working
    except asyncio.CancelledError:
        if not beside.done():
            raise
    finally:
        # Told to stop, the other leaves what it is at: each of its steps is whole by itself.
        beside.cancel()
        with suppress(asyncio.CancelledError):
            await beside
