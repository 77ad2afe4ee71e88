"""The revocation list in a worker: served from memory, the same bytes as every other worker's.

Invariants: what is served was read from the store, and the store is asked with each request whether it is still the
one in force; that costs microseconds. While the store is away, nobody can revoke either: the last list is then served
on until it ends.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from online.config import CrlSettings
from online.store.crls import CrlStore, PublishedCrl
from shared.clock import Clock
from shared.crl import PEM_LABEL
from shared.errors import ColdrootError, NotFound, StoreFailed

_WAIT_SECONDS = 10.0
_FIRST_LOOK_SECONDS = 0.01
_LONGEST_LOOK_SECONDS = 0.25
# With a list that may follow at any time, a cache must not stand in its way for long.
_SHORT_CACHE = timedelta(minutes=1)
_PEM_LINE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedCrl:
    """A list, ready to be sent."""

    crl: PublishedCrl
    tag: str
    """For ``ETag``: the first half of the SHA-256 of the DER in hex."""
    renewal: datetime
    """When the next list is expected."""
    _pem: list[bytes] = field(default_factory=list, repr=False)

    def pem(self) -> bytes:
        """Return the list in PEM; made when first asked for."""
        if not self._pem:
            self._pem.append(pem_of(self.crl.der))
        return self._pem[0]

    def cache_seconds(self, now: datetime, *, may_change: bool) -> int:
        """Return for how long a cache may keep it.

        Args:
            now: aware UTC.
            may_change: whether a revocation brings the next list at once.
        """
        span = self.renewal - now
        if may_change:
            span = min(span, _SHORT_CACHE)
        return max(0, int(span.total_seconds()))


class PublishedCrls:
    """What a worker has to do with lists. For one event loop."""

    def __init__(
        self,
        *,
        store: CrlStore,
        settings: CrlSettings,
        clock: Clock,
        ring: Callable[[], None],
        wait: float = _WAIT_SECONDS,
    ) -> None:
        """Serve the lists of a store.

        Args:
            store: where they are.
            settings: from the configuration.
            clock: wall clock.
            ring: wakes who builds lists.
            wait: seconds that a revocation waits for its list, at most.
        """
        self.settings = settings
        self.clock = clock
        self._store = store
        self._ring = ring
        self._wait = wait
        self._lock = asyncio.Lock()
        self._served: ServedCrl | None = None

    async def current(self) -> ServedCrl:
        """Return the list in force.

        Raises:
            NotFound: ``crl.none`` when none was made yet.
            StoreFailed: ``store.*``, when no list that is still in force is at hand.
        """
        async with self._lock:
            try:
                await self._refresh()
            except StoreFailed:
                if self._served is None or self.clock.now() >= self._served.crl.next_update:
                    raise
            if self._served is None:
                raise NotFound("crl.none", "no revocation list was made yet")
            return self._served

    async def end(self) -> float:
        """Return when the list in force ends, in seconds since 1970; 0 when there is none.

        Raises:
            StoreFailed: ``store.*``.
        """
        facts = await self._store.facts()
        return 0.0 if facts is None else facts.next_update.timestamp()

    async def after_revocation(self) -> None:
        """Have a list made that names what was revoked, where the configuration wants it at once, and wait for it.

        Never fails: the revocation is recorded, and whoever builds lists says why one is late.
        """
        if not self.settings.generate_on_revoke:
            return
        try:
            async with asyncio.timeout(self._wait):
                await self._await_list()
        except (ColdrootError, TimeoutError):
            return

    async def _refresh(self) -> None:
        facts = await self._store.facts()
        if self._served is None or facts is None or self._served.crl.number != facts.number:
            newest = await self._store.newest()
            self._served = None if newest is None else self._ready(newest)

    async def _await_list(self) -> None:
        # Counted after the commit: a list that knows of so many knows of this one.
        count = await self._store.revocations()
        self._ring()
        pause = _FIRST_LOOK_SECONDS
        while (facts := await self._store.facts()) is None or facts.revocations < count:
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_LOOK_SECONDS)

    def _ready(self, crl: PublishedCrl) -> ServedCrl:
        return ServedCrl(
            crl=crl,
            tag=hashlib.sha256(crl.der).hexdigest()[:32],
            renewal=min(crl.this_update + self.settings.renew_period, crl.next_update),
        )


def pem_of(der: bytes) -> bytes:
    """Write a list in PEM (RFC 7468 §7)."""
    text = base64.b64encode(der)
    lines = b"\n".join(text[at : at + _PEM_LINE] for at in range(0, len(text), _PEM_LINE))
    label = PEM_LABEL.encode("ascii")
    return b"-----BEGIN " + label + b"-----\n" + lines + b"\n-----END " + label + b"-----\n"
