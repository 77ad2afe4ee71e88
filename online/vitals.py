"""What must be well for the node to issue, each part looked at by itself: for ``/readyz``.

A load balancer wants one answer, whoever is called at night wants to know which part it is. Strangers may ask, so
each costly look is remembered for a while, and the reason of a fault is for the log only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType

from online.hierarchy import Hierarchy
from online.readiness import Readiness
from online.signing_key import SigningKey
from online.store.protocol import Store
from shared.clock import Clock
from shared.errors import Fatal

# A time service that corrects a little is no fault.
_TOLERANCE = timedelta(minutes=1)
# A signature costs an HSM more than a transaction costs a disk, and keys fail more rarely.
_SIGNER_SECONDS = 10.0


class Vitals:
    """The parts of one node."""

    def __init__(self, *, hierarchy: Hierarchy, signing: SigningKey, store: Store, clock: Clock) -> None:
        """Take a node's parts under observation.

        Args:
            hierarchy: whose certificates must be in their time.
            signing: must sign.
            store: must accept a write.
            clock: wall clock; it must not be set back.
        """
        self._hierarchy = hierarchy
        self._clock = clock
        self._latest = clock.now()
        checks: dict[str, Callable[[], Awaitable[None]]] = {
            "store": Readiness(store.ready).require,
            "signer": Readiness(signing.prove, seconds=_SIGNER_SECONDS).require,
            "clock": self._check_clock,
            "issuer": self._check_issuer,
        }
        self.checks: Mapping[str, Callable[[], Awaitable[None]]] = MappingProxyType(checks)
        """Each returns when its part is well, and raises a ``ColdrootError`` when it is not."""

    @property
    def issuer_end(self) -> datetime:
        """When the first of the issuing certificates ends: no leaf lasts longer."""
        return min(each.not_valid_after_utc for each in self._hierarchy.chain)

    async def _check_clock(self) -> None:
        now = self._clock.now()
        self._latest = max(self._latest, now)
        if now < self._latest - _TOLERANCE:
            raise Fatal(
                "authority.clock-set-back",
                f"the clock was set back by {int((self._latest - now).total_seconds())} s",
                hint="correct it; if it is right now, restart the node",
            )

    async def _check_issuer(self) -> None:
        self._hierarchy.check_in_validity(self._clock.now())
