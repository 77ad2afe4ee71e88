"""A CA that keeps a revocation list, on a real SQLite file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from fakes.clock import NOON, FakeClock
from fakes.hierarchy import Pki, make_pki
from fakes.rows import certificate_row, revocation_of

from online.config import CrlSettings
from online.crl import CrlBuilder
from online.store.sqlite import SqliteStore, create_database
from shared.pem import load_crl

URL = "http://ca.example.com/1.0/crl"
SETTINGS = CrlSettings(url=URL)


@dataclass(kw_only=True)
class Listing:
    """A store, a clock, and what builds lists from them."""

    path: Path
    pki: Pki
    clock: FakeClock
    store: SqliteStore
    settings: CrlSettings

    def builder(self, *, pki: Pki | None = None, settings: CrlSettings | None = None) -> CrlBuilder:
        """Return a builder; another one each time."""
        return CrlBuilder(
            hierarchy=(pki or self.pki).hierarchy(),
            store=self.store.crls,
            settings=settings or self.settings,
            clock=self.clock,
        )

    async def revoke(
        self, *, reason: int = 0, not_after: datetime | None = None, at: datetime | None = None, known: bool = True
    ) -> int:
        """Record a certificate and its revocation; return its serial.

        Args:
            reason: its number.
            not_after: the certificate's end; in a day when not given.
            at: the moment of the revocation; now when not given.
            known: whether the store has a row of the certificate.
        """
        row = certificate_row()
        if known:
            end = not_after or self.clock.now() + timedelta(days=1)
            await self.store.record_certificate(
                token=None, certificate=replace(row, not_after=end, not_before=end - timedelta(days=1))
            )
        revocation = replace(revocation_of(row.serial), reason_code=reason, revoked_at=at or self.clock.now())
        await self.store.record_revocation(token=None, revocation=revocation)
        return row.serial

    async def listed(self) -> list[int]:
        """Return the serials on the list that is served."""
        return [each.serial_number for each in await self.served()]

    async def served(self) -> x509.CertificateRevocationList:
        """Return the list that is served."""
        newest = await self.store.crls.newest()
        assert newest is not None
        return load_crl(newest.der)


@asynccontextmanager
async def listing(
    directory: Path, *, settings: CrlSettings = SETTINGS, pki: Pki | None = None, now: datetime = NOON
) -> AsyncIterator[Listing]:
    """Make a CA with an empty store, for the length of an ``async with`` block."""
    path = directory / "ca.db"
    if not path.exists():
        create_database(path)
    store = SqliteStore(path)
    try:
        yield Listing(path=path, pki=pki or make_pki(now=now), clock=FakeClock(now), store=store, settings=settings)
    finally:
        await store.close()
