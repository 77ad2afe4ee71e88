"""One worker: a node behind a listening socket, from the first connection to the last.

Invariants:

* nothing is accepted before the node could answer it, and nothing that was begun is dropped when it stops;
* the node's own leaf is renewed at two thirds of its life by the wall clock, and new connections get the new one
  without a restart; connections that exist keep the context that they were made with;
* one connection's or one task's failure never ends the worker.
"""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from online.accesslog import Log
from online.api import Api, Service
from online.authority import Authority
from online.config import Config
from online.engine import Acceptor, Context, Refused
from online.hierarchy import Hierarchy
from online.http import Desk, Layer, Limits, make_server
from online.lineage import Fork
from online.metrics.endpoint import Metering, publish
from online.metrics.meter import CRL_END, ISSUER_END, OWN_END, Meter
from online.node import assemble, nobody_hears, open_hierarchy
from online.rate_limit import RateLimiter
from online.store.activity import Activity
from online.store.recording.door import Door
from online.tls import OwnLeaf, make_own_leaf, server_context
from shared.clock import Clock, rfc3339
from shared.errors import ColdrootError
from shared.keystore import SecretCallback
from shared.names import format_name

# With the parent's few spare seconds this stays below the 30 that service managers grant.
_DRAIN_SECONDS = 20.0
# For handshakes in progress, before that; and for clients to close, after it.
_SETTLE_SECONDS = 1.0
_CLOSE_SECONDS = 2.0
# How often a worker looks at the wall clock. A timer until the due date would not notice a clock that is set.
_LOOK_SECONDS = 30.0
_MOST_FILES = 65536
# Whoever may reach the plain address need not be known to the CA, and sends nothing but a path.
_PLAIN_ENDPOINTS = frozenset({"/crl", "/health", "/readyz"})
_PLAIN_LIMITS = Limits(body=1 << 10, header=8 << 10, headers=32, idle=5.0, receive=5.0, connections=1024)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast time passes for a worker; tests quicken it."""

    look: float = _LOOK_SECONDS
    """Seconds between two looks at the clock."""
    own_leaf: timedelta | None = None
    """The age at which the own leaf is renewed; two thirds of its life when not given."""
    drain: float = _DRAIN_SECONDS
    """Seconds that clients get to finish when the worker stops."""


class Server:
    """Serves one authority on one socket."""

    def __init__(
        self,
        *,
        authority: Authority,
        config: Config,
        listener: socket.socket,
        log: Log,
        clock: Clock,
        limits: Limits | None = None,
        pace: Pace | None = None,
        meter: Meter | None = None,
        plain: socket.socket | None = None,
        limiter: RateLimiter | None = None,
        activity: Activity | None = None,
        layer: Layer = Layer.THIN,
    ) -> None:
        """Prepare to serve. Call it inside the running event loop.

        Args:
            authority: issues.
            config: of the node.
            listener: bound and listening; it stays the caller's.
            log: takes a line a request and a line an event.
            clock: wall clock.
            limits: of the HTTP side.
            pace: of the worker's own tasks.
            meter: counts what happens.
            plain: a second one, for plain HTTP; the revocation list and the health are served there, nothing else.
            limiter: says which client asks too often.
            activity: told of each client that is served.
            layer: which code speaks HTTP.
        """
        self._authority = authority
        self._config = config
        self._listener = listener
        self._log = log
        self._clock = clock
        self._pace = pace or Pace()
        service = Service(authority=authority, tls=config.tls, version=product_version())
        self._meter = meter or Meter()
        self._meter.gauge(ISSUER_END, authority.hierarchy.chain[0].not_valid_after_utc.timestamp())
        api = Api(service, trace_header=config.logger.trace_header, meter=self._meter)
        self._activity = activity or Activity()
        desk = Desk(api, log, meter=self._meter, limiter=limiter, activity=self._activity)
        self._edge = make_server(layer, desk, limits)
        self._plain = plain
        plain_api = Api(service, trace_header=config.logger.trace_header, meter=self._meter, only=_PLAIN_ENDPOINTS)
        plain_desk = Desk(plain_api, log, meter=self._meter, limiter=limiter)
        self._plain_edge = make_server(layer, plain_desk, limits or _PLAIN_LIMITS)
        self._acceptor: Acceptor | None = None
        self._accepting: _Accepting | None = None
        self._accepting_plain: _Accepting | None = None

    async def serve(self, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        """Serve until told to stop.

        1. Make the own leaf; only then accept.
        2. Look at the clock now and then: renew the leaf, note when the revocation list ends.
        3. Stop accepting, let handshakes and then clients finish, close.

        Args:
            stop: set to stop.
            ready: called once connections are accepted.

        Raises:
            ColdrootError: ``Authority.own_leaf`` failed before anything was accepted.
        """
        # 1.
        leaf = await make_own_leaf(self._authority)
        acceptor = Acceptor(self._edge, self._context(leaf), told=self._note_refused)
        self._acceptor = acceptor
        self._activity.handshakes = acceptor.shaking
        self._accepting = await _Accepting.start(self._listener.dup(), acceptor)
        if self._plain is not None:
            self._accepting_plain = await _Accepting.start(self._plain.dup(), self._plain_edge)
        try:
            ready()
            # 2.
            while not await _is_set_within(stop, self._pace.look):
                leaf = await self._look(leaf)
        finally:
            # 3.
            for accepting in (self._accepting, self._accepting_plain):
                if accepting is not None:
                    await accepting.stop()
            await acceptor.settle(min(_SETTLE_SECONDS, self._pace.drain))
            await asyncio.gather(self._edge.drain(self._pace.drain), self._plain_edge.drain(self._pace.drain))
            await acceptor.close(min(_CLOSE_SECONDS, self._pace.drain))

    async def _look(self, leaf: OwnLeaf) -> OwnLeaf:
        now = self._clock.now()
        try:
            if self._authority.crls is not None:
                self._meter.gauge(CRL_END, await self._authority.crls.end())
            if leaf.is_due(now, after=self._pace.own_leaf):
                leaf = await make_own_leaf(self._authority)
                assert self._acceptor is not None
                # Connections that exist keep the context that they were made with.
                self._acceptor.context = self._context(leaf)
                self._log.event(f"own certificate renewed: serial={leaf.chain[0].serial_number}")
        except ColdrootError as error:
            # The next look tries again; the old leaf serves until then, and a third of its life is left.
            self._log.event(f"{error.code}: {error.message}{_remaining(leaf, now)}")
        return leaf

    def _context(self, leaf: OwnLeaf) -> Context:
        hierarchy = self._authority.hierarchy
        self._meter.gauge(OWN_END, leaf.chain[0].not_valid_after_utc.timestamp())
        trusted = hierarchy.anchors(self._clock.now())
        for each in hierarchy.former_issuers:
            if each not in trusted:
                ended = f"former intermediate {format_name(each.subject)} ended at {rfc3339(each.not_valid_after_utc)}"
                self._log.event(f"{ended}: what it issued counts no more; see coldroot.formerIntermediates")
        return server_context(leaf, trusted=trusted, settings=self._config.tls)

    def _note_refused(self, refused: Refused) -> None:
        self._meter.handshake_refused(refused.refusal)
        detail = f" ({refused.detail})" if refused.detail else ""
        self._log.event(f"TLS handshake refused: remote={refused.remote} reason={refused.refusal}{detail}")


class _Accepting:
    """An asyncio server on a duplicate of the listening socket."""

    def __init__(self, duplicate: socket.socket, server: asyncio.Server) -> None:
        self._duplicate = duplicate
        self._server = server

    @classmethod
    async def start(cls, duplicate: socket.socket, factory: Callable[[], asyncio.BaseProtocol]) -> _Accepting:
        """Begin to accept; the duplicate is the server's from now on."""
        try:
            server = await asyncio.get_running_loop().create_server(factory, sock=duplicate)
        except BaseException:
            duplicate.close()
            raise
        return cls(duplicate, server)

    async def stop(self) -> None:
        """Accept no more; connections that were accepted live on."""
        asyncio.get_running_loop().remove_reader(self._duplicate)
        # asyncio accepts in one turn of the loop and attaches the connection to its server in the next; a server
        # that was closed in between would drop it.
        for _ in range(3):
            await asyncio.sleep(0)
        self._server.close()


async def run_worker(
    config: Config,
    secret: SecretCallback,
    listener: socket.socket,
    *,
    log: Log,
    clock: Clock,
    stop: asyncio.Event,
    ready: Callable[[], None],
    pace: Pace | None = None,
    metering: Metering | None = None,
    plain: socket.socket | None = None,
    ring: Callable[[], None] = nobody_hears,
    limiter: RateLimiter | None = None,
    hierarchy: Hierarchy | None = None,
    door: Door | None = None,
) -> None:
    """Open the node and serve it until told to stop.

    Args:
        config: of the node.
        secret: gives the issuing key's password or PIN.
        listener: bound and listening.
        log: takes lines.
        clock: wall clock.
        stop: set to stop.
        ready: called once connections are accepted.
        pace: of the worker's own tasks.
        metering: where its numbers go, if anywhere.
        plain: as for ``Server``.
        ring: wakes who builds revocation lists.
        limiter: as for ``Server``.
        hierarchy: when the issuing key is open already.
        door: where the node's recorder is found, if it has one.

    Raises:
        ColdrootError: the node could not be opened.
    """
    _allow_many_connections()
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: _report(log, context))
    meter = Meter(metering.page.get()) if metering is not None else Meter()
    async with AsyncExitStack() as stack:

        def alarm(fork: Fork) -> None:
            meter.forked(fork.row.provisioner_name)
            log.event(fork.describe())

        activity = Activity()
        if hierarchy is None:
            hierarchy = stack.enter_context(open_hierarchy(config, secret))
        assembling = assemble(
            config, hierarchy, clock=clock, timed=meter.commit, activity=activity, ring=ring, alarm=alarm, door=door
        )
        authority = await stack.enter_async_context(assembling)
        if metering is not None:
            publishing = publish(metering, meter, census=authority.census, version=product_version())
            await stack.enter_async_context(publishing)
        server = Server(
            authority=authority,
            config=config,
            listener=listener,
            log=log,
            clock=clock,
            pace=pace,
            meter=meter,
            plain=plain,
            limiter=limiter,
            activity=activity,
        )
        await server.serve(stop, ready)


def product_version() -> str:
    """Return the version of the installed distribution; ``0`` when it runs from a bare tree."""
    try:
        return version("coldroot")
    except PackageNotFoundError:
        return "0"


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    return event.is_set()


def _remaining(leaf: OwnLeaf, now: datetime) -> str:
    end = leaf.chain[0].not_valid_after_utc
    return f" (the own certificate {'ends' if now < end else 'ENDED'} at {rfc3339(end)})"


def _report(log: Log, context: Mapping[str, Any]) -> None:
    # Only the kind: the text of a foreign exception may hold anything.
    log.event(f"internal.unexpected: {type(context.get('exception')).__name__} outside of a request")


def _allow_many_connections() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if most == resource.RLIM_INFINITY else min(_MOST_FILES, most)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
