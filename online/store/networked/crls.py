"""Published revocation lists in a database server; see ``online.store.crls``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

import sqlalchemy as sa

from online.store.crls import (
    COUNT,
    NEWEST,
    NEWEST_FACTS,
    CrlFacts,
    PublishedCrl,
    Snapshot,
    facts_of,
    published_of,
    snapshot_of,
)
from online.store.networked import operations
from online.store.networked.large import Large
from online.store.networked.operations import Operation
from online.store.networked.reading import Reading
from online.store.rows import seconds


class NetworkedCrls:
    """``online.store.crls.CrlStore`` in a store's database."""

    def __init__(self, submit: Callable[[Operation], Awaitable[int]], looks: Reading, large: Large) -> None:
        """Take part in a store.

        Args:
            submit: has a write committed.
            looks: for what costs little.
            large: for what takes long.
        """
        self._submit = submit
        self._looks = looks
        self._large = large

    async def reserve(self, *, now: datetime) -> int:
        """See ``CrlStore.reserve``."""
        return await self._submit(operations.reserve(now))

    async def snapshot(self, *, ended_before: datetime) -> Snapshot:
        """See ``CrlStore.snapshot``."""
        horizon = seconds(ended_before)
        return await self._large.read(lambda connection: snapshot_of(connection, horizon))

    async def publish(self, crl: PublishedCrl) -> None:
        """See ``CrlStore.publish``."""
        await self._submit(operations.publish(crl))

    async def newest(self) -> PublishedCrl | None:
        """See ``CrlStore.newest``."""
        return await self._large.read(_newest)

    async def facts(self) -> CrlFacts | None:
        """See ``CrlStore.facts``."""
        row = await self._looks.ask(NEWEST_FACTS)
        return None if row is None else facts_of(row)

    async def revocations(self) -> int:
        """See ``CrlStore.revocations``."""
        return await self._large.read(lambda connection: int(connection.execute(COUNT).scalar_one()))


def _newest(connection: sa.Connection) -> PublishedCrl | None:
    row = connection.execute(NEWEST).mappings().first()
    return None if row is None else published_of(row)
