"""How many requests one client may send: counted in memory that all workers of a node share.

A client is an IPv4 address, or the /64 network of an IPv6 address, which is what one subscriber has. Each has one
number: the moment at which it will have paid for all that it asked for (the generic cell rate algorithm of ITU-T
I.371). A request costs ``period / requests``; who owes more than the burst is refused until enough time has gone by.

Invariants:

* the table has a fixed size, whoever asks: a new client takes the place of the one of a few that owes least;
* no address can be read from it, and none can be chosen so that it falls together with another one: places are
  chosen by a keyed hash;
* two workers that write one place at the same moment may lose one request's count, never more, and never wait.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

from online.config import RateLimitSettings

_PLACE = struct.Struct("<Qd")
"""A client's tag, 0 in a place that nobody has taken yet; and when it will have paid, on the monotonic clock."""
_WAYS = 4
_SETS = 1 << 14
_SUBSCRIBER = 64


class RateLimiter:
    """Knows what each client owes. Made before the workers are forked, it is one table for all of them."""

    def __init__(
        self,
        settings: RateLimitSettings,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        rng: Callable[[int], bytes] = os.urandom,
        sets: int = _SETS,
    ) -> None:
        """Make an empty table.

        Args:
            settings: the limit.
            monotonic: seconds on a clock that never steps and is the same in all processes.
            rng: cryptographic randomness.
            sets: how many groups of four places there are.
        """
        self._cost = settings.period.total_seconds() / settings.requests
        self._credit = self._cost * settings.burst
        self._exempt = settings.exempt
        self._monotonic = monotonic
        self._key = rng(hashlib.blake2b.MAX_KEY_SIZE)
        self._sets = sets
        self._table = mmap.mmap(-1, sets * _WAYS * _PLACE.size)

    def wait(self, remote: str) -> float:
        """Count a request.

        Args:
            remote: the address that it came from; anything else is not limited.

        Returns:
            0 when it may be answered; otherwise the seconds after which the client may ask again. A refused request
            costs nothing.
        """
        client = self._client(remote)
        if client is None:
            return 0.0
        now = self._monotonic()
        tag, place, paid = self._find(client, now)
        due = max(paid, now) + self._cost
        wait = due - self._credit - now
        if wait > 0:
            return wait
        _PLACE.pack_into(self._table, place, tag, due)
        return 0.0

    def _client(self, remote: str) -> bytes | None:
        try:
            address: IPv4Address | IPv6Address = ip_address(remote.partition("%")[0])
        except ValueError:
            return None
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if any(address in network for network in self._exempt):
            return None
        return address.packed[: _SUBSCRIBER // 8]

    def _find(self, client: bytes, now: float) -> tuple[int, int, float]:
        """Return a client's tag, its place in the table, and when it will have paid: now, if it is new here."""
        digest = hashlib.blake2b(client, key=self._key, digest_size=16).digest()
        tag = int.from_bytes(digest[:8], "little") or 1
        first = int.from_bytes(digest[8:], "little") % self._sets * _WAYS
        places = [(first + way) * _PLACE.size for way in range(_WAYS)]
        least, least_paid = places[0], float("inf")
        for place in places:
            other, paid = _PLACE.unpack_from(self._table, place)
            if other == tag:
                return tag, place, paid
            if paid < least_paid:
                least, least_paid = place, paid
        return tag, least, now
