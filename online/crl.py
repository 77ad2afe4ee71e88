"""Making the revocation list of the issuing intermediate: when, and from what.

Invariants:

* a list says what the store said after its number was given out; with a greater number, what it said later;
* a list is replaced well before its nextUpdate, at once when the clock was set back to before it, and at once when
  its signer or its place is not today's any more;
* the bytes that left the signing path are the bytes in the store: nothing is served that is not there.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from online.config import CrlSettings
from online.hierarchy import Hierarchy
from online.store.crls import CrlStore, PublishedCrl, Snapshot
from shared.clock import Clock, whole_seconds
from shared.crl import CrlRequest, RevokedEntry, SignedCrl, issue_crl, prepare_crl
from shared.keys import public_key_digest

# A certificate that ended stays on the list for a while: not everybody's clock is right (step-ca does the same).
_KEPT_AFTER_END = timedelta(hours=1)


class CrlBuilder:
    """Builds and publishes lists. For one task at a time; other builders may be at work elsewhere."""

    def __init__(self, *, hierarchy: Hierarchy, store: CrlStore, settings: CrlSettings, clock: Clock) -> None:
        """Make a builder.

        Args:
            hierarchy: its issuing key signs.
            store: what is revoked, and where lists go.
            settings: from the configuration.
            clock: wall clock.
        """
        self._hierarchy = hierarchy
        self._store = store
        self._settings = settings
        self._clock = clock
        self._issuer_digest = public_key_digest(hierarchy.issuer.public_key)

    async def is_due(self, *, at_start: bool = False) -> bool:
        """Tell whether another list is wanted now.

        Args:
            at_start: the node begins; what was revoked since the last list is then reason enough, as in step-ca.

        Raises:
            StoreFailed: ``store.*``.
        """
        newest = await self._store.facts()
        if newest is None or (newest.issuer, newest.url) != (self._issuer_digest, self._settings.url):
            return True
        renewal = min(newest.this_update + self._settings.renew_period, newest.next_update)
        if not newest.this_update <= self._clock.now() < renewal:
            return True
        at_once = at_start or self._settings.generate_on_revoke
        return at_once and await self._store.revocations() != newest.revocations

    async def build(self) -> PublishedCrl:
        """Build a list, sign it and publish it.

        1. A number is taken; only then is read what is revoked.
        2. The list is prepared, linted and signed, on a thread.
        3. It is published, unless somebody took a newer number meanwhile.

        Raises:
            RequestRejected: ``crl.overtaken``: look again whether another one is due.
            PolicyDenied: ``lint.*``.
            PeerFailed: ``hsm.*``.
            StoreFailed: ``store.*``.
            Fatal: ``issue.*``: stop signing; ``authority.outside-validity``.
        """
        now = self._clock.now()
        self._hierarchy.check_in_validity(now)
        # 1.
        number = await self._store.reserve(now=now)
        snapshot = await self._store.snapshot(ended_before=now - _KEPT_AFTER_END)
        # 2.
        request = self._request(number, snapshot, now)
        signed = await asyncio.to_thread(self._sign, request)
        # 3.
        crl = PublishedCrl(
            number=number,
            issuer=self._issuer_digest,
            url=self._settings.url,
            this_update=request.this_update,
            next_update=request.next_update,
            revocations=snapshot.revocations,
            der=signed.der,
        )
        await self._store.publish(crl)
        return crl

    def _request(self, number: int, snapshot: Snapshot, now: datetime) -> CrlRequest:
        this_update = whole_seconds(now)
        return CrlRequest(
            number=number,
            this_update=this_update,
            next_update=this_update + whole_seconds_of(self._settings.cache_duration),
            entries=[_not_after(each, this_update) for each in snapshot.entries],
            url=self._settings.url,
            longest=self._settings.cache_duration,
            now=now,
        )

    def _sign(self, request: CrlRequest) -> SignedCrl:
        return issue_crl(prepare_crl(request, self._hierarchy.issuer), self._hierarchy.key)


def whole_seconds_of(span: timedelta) -> timedelta:
    """Drop the fraction of a second of a span."""
    return timedelta(seconds=int(span.total_seconds()))


def _not_after(entry: RevokedEntry, this_update: datetime) -> RevokedEntry:
    """Return an entry that is not from the list's future, which it is when the clock was set back since."""
    if entry.revoked_at <= this_update:
        return entry
    return RevokedEntry(serial=entry.serial, revoked_at=this_update, reason=entry.reason)
