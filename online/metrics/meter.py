"""Counting, in one process: what happened, how long it took, what is the case now.

Invariants:

* recording never waits, never fails and costs about a microsecond: it adds to numbers in memory and does no more;
* a label's value comes from a closed set (endpoints, statuses, codes of errors, names of provisioners), never from
  what a caller sent, so that no caller can make the list of series grow;
* a counter never goes down, also when a successor of this process goes on counting where it ended.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Key = tuple[str, ...]
"""The name of a family, and the values of its labels."""

# Seconds. A signature takes one to ten milliseconds, a slow disk a hundred, and past the last nothing is answered.
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

REQUESTS = "coldroot_request_seconds"
COMMITS = "coldroot_store_commit_seconds"
SIGNED = "step_ca_x509_signed"
RENEWED = "step_ca_x509_renewed"
REKEYED = "step_ca_x509_rekeyed"
REVOKED = "coldroot_x509_revoked"
REFUSED = "coldroot_tokens_refused"
FORKED = "coldroot_lineage_forks"
HANDSHAKES_REFUSED = "coldroot_tls_handshakes_refused"
OWN_END = "coldroot_own_certificate_not_after_timestamp_seconds"
CRL_END = "coldroot_crl_next_update_timestamp_seconds"
ISSUER_END = "coldroot_issuer_not_after_timestamp_seconds"


@dataclass(slots=True)
class Times:
    """How often something took how long."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    """By the first bound that is not less; the last is for all beyond."""
    total: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def include(self, other: Times) -> None:
        """Add what another one counted."""
        self.counts = [ours + theirs for ours, theirs in zip(self.counts, other.counts, strict=True)]
        self.total += other.total


@dataclass(slots=True)
class Tally:
    """Everything that one process, or all of them together, counted."""

    counts: dict[Key, int] = field(default_factory=dict)
    times: dict[Key, Times] = field(default_factory=dict)
    gauges: dict[Key, float] = field(default_factory=dict)
    """What is the case; it means nothing once the process is gone."""

    def include(self, other: Tally, *, alive: bool) -> None:
        """Add another process's tally.

        Args:
            other: the tally.
            alive: whether its gauges still count. Of two gauges the smaller one stays: all of ours tell of an end.
        """
        for key, count in other.counts.items():
            self.counts[key] = self.counts.get(key, 0) + count
        for key, times in other.times.items():
            self.times.setdefault(key, Times()).include(times)
        if alive:
            for key, value in other.gauges.items():
                self.gauges[key] = min(value, self.gauges.get(key, value))

    def encode(self) -> bytes:
        """Write it down."""
        return json.dumps(
            {
                "counts": [[*key, count] for key, count in self.counts.items()],
                "times": [[*key, [times.counts, times.total]] for key, times in self.times.items()],
                "gauges": [[*key, value] for key, value in self.gauges.items()],
            },
            separators=(",", ":"),
        ).encode()

    @classmethod
    def decode(cls, data: bytes) -> Tally:
        """Read what ``encode`` of this very version wrote; our own processes are its only writers."""
        content: Mapping[str, Iterable[Sequence[object]]] = json.loads(data)
        tally = cls()
        for *key, count in content["counts"]:
            assert isinstance(count, int)
            tally.counts[_key(key)] = count
        for *key, times in content["times"]:
            assert isinstance(times, list)
            tally.times[_key(key)] = Times(counts=times[0], total=times[1])
        for *key, value in content["gauges"]:
            assert isinstance(value, float)
            tally.gauges[_key(key)] = value
        return tally


class Meter:
    """Counts for one process. To be used from its event loop only."""

    def __init__(self, tally: Tally | None = None) -> None:
        """Begin to count.

        Args:
            tally: what a predecessor counted.
        """
        self.tally = tally or Tally()
        self.tally.gauges.clear()
        self.changed = True
        """Whether anything was counted since the owner last set this to false."""

    def request(self, endpoint: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._time((REQUESTS, endpoint, str(status)), seconds)

    def operation(self, family: str, provisioner: str, *, success: bool) -> None:
        """Count an attempt to sign, renew, rekey or revoke.

        Args:
            family: ``SIGNED``, ``RENEWED``, ``REKEYED`` or ``REVOKED``.
            provisioner: the name of who vouched for it; empty when nobody was found to.
            success: whether it was done.
        """
        self._count((family, provisioner, "true" if success else "false"))

    def refused(self, cause: str) -> None:
        """Count a token that was refused.

        Args:
            cause: the code of the error.
        """
        self._count((REFUSED, cause))

    def forked(self, provisioner: str) -> None:
        """Count a certificate that was renewed a second time, long after the first.

        Args:
            provisioner: the name of who vouches for it.
        """
        self._count((FORKED, provisioner))

    def handshake_refused(self, reason: str) -> None:
        """Count a TLS handshake that came to nothing.

        Args:
            reason: one of the closed set of ``online.engine.Refusal``.
        """
        self._count((HANDSHAKES_REFUSED, reason))

    def commit(self, outcome: str, seconds: float) -> None:
        """Count a write of the store.

        Args:
            outcome: ``done``, ``refused`` or ``failed``.
            seconds: from the caller's wish to its answer.
        """
        self._time((COMMITS, outcome), seconds)

    def gauge(self, family: str, value: float) -> None:
        """Say what is the case now.

        Args:
            family: ``OWN_END``, ``ISSUER_END`` or ``CRL_END``.
            value: seconds since 1970.
        """
        self.tally.gauges[(family,)] = float(value)
        self.changed = True

    def _count(self, key: Key) -> None:
        counts = self.tally.counts
        counts[key] = counts.get(key, 0) + 1
        self.changed = True

    def _time(self, key: Key, seconds: float) -> None:
        times = self.tally.times.get(key)
        if times is None:
            times = self.tally.times[key] = Times()
        times.add(seconds)
        self.changed = True


def _key(parts: Sequence[object]) -> Key:
    return tuple(str(each) for each in parts)
