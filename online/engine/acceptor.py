"""What all TLS connections of a worker share: the context for new ones, limits, and who is told of refusals."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from online.engine.deadlines import Deadlines
from online.engine.machine import Context
from online.engine.refusals import Refusal
from online.engine.transport import Limits, TlsTransport


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A handshake that came to nothing."""

    remote: str
    """The address at the other end."""
    refusal: Refusal
    detail: str
    """The TLS library's own words, if it was the one to refuse."""


class Acceptor:
    """A factory of protocols for ``create_server``: each does the handshake, and only then makes the real protocol."""

    def __init__(
        self,
        factory: Callable[[], asyncio.BaseProtocol],
        context: Context,
        *,
        told: Callable[[Refused], None],
        limits: Limits | None = None,
    ) -> None:
        """Make an acceptor. Call it inside the running event loop.

        Args:
            factory: makes the protocol that speaks inside of TLS.
            context: for new connections; assign another one to ``context`` at any time, connections that exist keep
                theirs.
            told: of each handshake that is refused.
            limits: sizes, deadlines, numbers.
        """
        loop = asyncio.get_running_loop()
        self.loop = loop
        self.factory = factory
        self.context = context
        self.limits = limits or Limits()
        self._told = told
        self.shaking: Deadlines[TlsTransport] = Deadlines(loop, self.limits.handshake, TlsTransport.handshake_late)
        """Connections in their handshake."""
        self.ending: Deadlines[TlsTransport] = Deadlines(loop, self.limits.close, TlsTransport.abort)
        """Connections that have said their last, and wait for the peer to close."""
        self.stalled: Deadlines[TlsTransport] = Deadlines(loop, self.limits.stall, TlsTransport.abort)
        """Connections whose peer does not read."""

    def __call__(self) -> asyncio.Protocol:
        """Make the protocol of a connection that was just accepted."""
        return TlsTransport(self)

    def entered(self, connection: TlsTransport) -> None:
        """Count a handshake that begins; when there are too many, the one that has lasted longest goes."""
        if len(self.shaking) >= self.limits.handshakes:
            self.shaking.oldest().crowd_out()
        self.shaking.begin(connection)

    def lingers(self, connection: TlsTransport) -> None:
        """Count a connection that waits for its peer to close; of too many, the one that has waited longest goes."""
        if len(self.ending) >= self.limits.handshakes:
            self.ending.oldest().abort()
        self.ending.begin(connection)

    def forget(self, connection: TlsTransport) -> None:
        """Forget a connection that is no more."""
        self.shaking.end(connection)
        self.ending.end(connection)
        self.stalled.end(connection)

    def refused(self, connection: TlsTransport, refusal: Refusal, detail: str) -> None:
        """Tell of a handshake that came to nothing."""
        self.shaking.end(connection)
        self._told(Refused(remote=connection.remote, refusal=refusal, detail=detail))

    async def settle(self, seconds: float) -> None:
        """Let handshakes in progress come to their end, and cut those that do not. Accepting must have stopped.

        Args:
            seconds: how long they get.
        """
        await self.shaking.emptied(seconds)
        for each in self.shaking:
            each.abort()

    async def close(self, seconds: float) -> None:
        """Wait until the last words of connections are read, but not for ever; then cut them.

        Args:
            seconds: how long that may take.
        """
        await self.ending.emptied(seconds)
        for each in self.ending:
            each.abort()
        # The loop's own transports close in its next turn.
        await asyncio.sleep(0)
