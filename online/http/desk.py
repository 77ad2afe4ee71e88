"""What each layer does with a request beside reading it: who may ask, who is asking, and what is written down."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import Any, Protocol

from cryptography import x509

from online.accesslog import Log
from online.api import EdgeError, Request, Response
from online.api.routes import endpoint_name
from online.engine import peer_certificate as verified_peer
from online.metrics.meter import Meter
from online.rate_limit import RateLimiter
from online.store.activity import Activity
from shared.errors import RequestRejected

_HEX = re.compile(r"[0-9A-Fa-f]{0,128}", re.ASCII)
_HEALTH = frozenset({"/health", "/readyz"})


class Handler(Protocol):
    """Answers requests. No exception comes out of it."""

    def request_id(self, headers: Mapping[str, str]) -> str:
        """Return the identifier of a request, in plain ASCII.

        Args:
            headers: names in lower case.
        """
        ...

    def begin(self, request: Request) -> Response | Coroutine[Any, Any, Response]:
        """Answer at once where nothing need be waited for; else return what to await."""
        ...


class Desk:
    """One for all connections of a socket."""

    def __init__(
        self,
        handler: Handler,
        log: Log | None,
        *,
        meter: Meter | None = None,
        limiter: RateLimiter | None = None,
        activity: Activity | None = None,
    ) -> None:
        """Open a desk.

        Args:
            handler: answers.
            log: takes a line a request; there is none when not given.
            meter: counts requests.
            limiter: says which client asks too often; none does when not given.
            activity: told of each request that is answered not at once.
        """
        self.handler = handler
        self.activity = activity or Activity()
        self._log = log
        self._meter = meter
        self._limiter = limiter

    def check_rate(self, remote: str, path: str) -> None:
        """Refuse a client that asks too often, before anything that it sends is read.

        Being asked for its health costs the node nothing, and whoever asks must not take a busy node for a sick one.

        Raises:
            EdgeError: 429.
        """
        if self._limiter is None or endpoint_name(path) in _HEALTH:
            return
        wait = self._limiter.wait(remote)
        if wait > 0:
            headers = {"Retry-After": str(math.ceil(wait))}
            raise EdgeError(429, "Too many requests come from this address.", headers=headers)

    def served(
        self, *, remote: str, request_id: str, method: str, path: str, response: Response, seconds: float
    ) -> None:
        """Write down that a request was answered."""
        if self._meter is not None:
            self._meter.request(endpoint_name(path), response.status, seconds)
        if self._log is None or not self._log.wants(response.status):
            return
        shown = _shown(path)
        # The reason may repeat what the path said.
        note = response.note if shown == path else response.note.partition(":")[0]
        self._log.served(
            remote=remote,
            request_id=request_id,
            method=method,
            path=shown,
            status=response.status,
            seconds=seconds,
            note=note,
        )


def peer_certificate(transport: asyncio.BaseTransport | None) -> x509.Certificate | None:
    """Return the client's certificate, which the TLS engine verified in the handshake; ``None`` when there is none.

    Raises:
        EdgeError: 400, when it cannot be read.
    """
    with suppress(RequestRejected):
        return verified_peer(transport)
    raise EdgeError(400, "The client certificate cannot be read.")


def _shown(path: str) -> str:
    """Return a path for the log: what stands where a fingerprint belongs, and is none, may be a secret gone astray."""
    beginning, found, argument = path.partition("/root/")
    return path if not found or _HEX.fullmatch(argument) else f"{beginning}{found}(not hex)"
