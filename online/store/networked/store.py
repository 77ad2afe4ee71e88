"""The store in a database server, for any number of nodes at once.

Invariants: those of ``online.store.protocol``, and: all writes of a process go over one connection, all short looks
over another, which are opened when they are first used and again when they were lost; whatever takes long has a
connection of its own for as long as it takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime

import sqlalchemy as sa

from online.store.answers import Timed, timing
from online.store.census import census_of, census_statement
from online.store.networked import operations
from online.store.networked.crls import NetworkedCrls
from online.store.networked.engine import Engine, Issue
from online.store.networked.large import Large
from online.store.networked.reading import Reading
from online.store.networked.writing import Write, Writing
from online.store.protocol import Census, CertificateRow, Lineage, Revocation, Standing, TokenUse
from online.store.rows import certificate_of, revocation_of, seconds
from online.store.schema import CERTIFICATE, ENDED, NEWEST_AUTHORITY, REVOCATION

_SECONDS = 5.0
_TRANSACTION_SECONDS = 4.0


class NetworkedStore:
    """``online.store.protocol.Store``. Make it after forking, once a process; it connects with its first use."""

    def __init__(
        self,
        engine: Callable[[bool], Engine],
        *,
        timed: Timed | None = None,
        seconds: float = _SECONDS,
        transaction_seconds: float = _TRANSACTION_SECONDS,
    ) -> None:
        """Make a store.

        Args:
            engine: makes the kind of server; told whether for large reads.
            timed: told of each record.
            seconds: how long a caller waits at most.
            transaction_seconds: how long a transaction may take, with all that is tried again; less than that.
        """
        self._timed = timed
        self._writing = Writing(engine(False), seconds=seconds, transaction_seconds=transaction_seconds)
        self._looks = Reading(engine(False), seconds=seconds, look_seconds=transaction_seconds)
        self._large = Large(lambda: engine(True))
        self.crls = NetworkedCrls(self._writing.submit, self._looks, self._large)
        """The revocation lists."""

    async def record_certificate(
        self, *, token: TokenUse | None, certificate: CertificateRow, lineage: Lineage | None = None
    ) -> int:
        """See ``Store.record_certificate``."""
        return await self._record(Issue(token=token, certificate=certificate, lineage=lineage)) - 1

    async def record_revocation(self, *, token: TokenUse | None, revocation: Revocation) -> None:
        """See ``Store.record_revocation``."""
        await self._record(operations.record_revocation(token, revocation))

    async def revocation(self, serial: int) -> Revocation | None:
        """See ``Store.revocation``."""
        row = await self._looks.first(REVOCATION, serial)
        return None if row is None else revocation_of(row)

    async def standing(self, serial: int) -> Standing:
        """See ``Store.standing``: both rows in one look."""
        looks = self._looks.first(CERTIFICATE, serial), self._looks.first(REVOCATION, serial)
        certificate, revocation = await asyncio.gather(*looks)
        return Standing(None if certificate is None else certificate["provisioner_id"], revocation is not None)

    async def certificate(self, serial: int) -> CertificateRow | None:
        """See ``Store.certificate``."""
        row = await self._looks.first(CERTIFICATE, serial)
        return None if row is None else certificate_of(row)

    async def census(self, *, now: datetime) -> Census:
        """See ``Store.census``."""

        def count(connection: sa.Connection) -> Census:
            return census_of(connection.execute(census_statement(now, joined=True)).one())

        return await self._large.read(count)

    async def revoke_superseded(self, *, renewed_before: datetime, now: datetime) -> int:
        """See ``Store.revoke_superseded``."""
        return await self._writing.submit(operations.revoke_superseded(renewed_before, now))

    async def forget_tokens(self, *, expired_before: datetime) -> int:
        """See ``Store.forget_tokens``."""
        return await self._writing.submit(operations.forget_tokens(expired_before))

    async def ended(self, *, before: datetime, limit: int) -> Sequence[CertificateRow]:
        """See ``Store.ended``."""
        values = {"horizon": seconds(before), "limit": limit}

        def read(connection: sa.Connection) -> list[CertificateRow]:
            return [certificate_of(row) for row in connection.execute(ENDED, values).mappings()]

        return await self._large.read(read)

    async def drop_ended(self, certificates: Sequence[CertificateRow]) -> int:
        """See ``Store.drop_ended``."""
        return await self._writing.submit(operations.drop_ended(certificates))

    async def authority_version(self) -> int | None:
        """See ``CaStore.authority_version``."""
        row = await self._looks.ask(NEWEST_AUTHORITY)
        return None if row is None else row["version"]

    async def ready(self) -> None:
        """See ``Store.ready``: an empty transaction, and a look."""
        await self._looks.first(REVOCATION, 0)
        await self._writing.submit(operations.nothing())

    async def close(self) -> None:
        """See ``Store.close``."""
        try:
            await self._writing.close()
        finally:
            await self._looks.close()

    async def _record(self, write: Write) -> int:
        return await timing(self._timed, self._writing.submit(write))
