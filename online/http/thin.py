"""The thin layer: makes a connection's protocol, and knows which of them are busy."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict

from online.api import Response
from online.http.answer import Writer
from online.http.connection import Connection
from online.http.desk import Desk
from online.http.limits import Limits

_DRAIN_LOOK_SECONDS = 0.02


class ThinServer:
    """A factory of protocols for ``create_server``, one for each socket."""

    def __init__(self, desk: Desk, limits: Limits | None = None) -> None:
        """Make a layer. Call it inside the running event loop.

        Args:
            desk: answers and writes down.
            limits: sizes and deadlines.
        """
        self.loop = asyncio.get_running_loop()
        self.desk = desk
        self.limits = limits or Limits()
        self.writer = Writer()
        self.draining = False
        """Whether each answer is the last one of its connection."""
        self.tasks: set[asyncio.Task[Response]] = set()
        """Requests that are being answered."""
        self._connections: OrderedDict[Connection, None] = OrderedDict()

    def __call__(self) -> Connection:
        """Make the protocol of a connection that was just accepted."""
        return Connection(self)

    def arrived(self, connection: Connection) -> None:
        """Count a connection; make room for it when there is none."""
        self._connections[connection] = None
        if len(self._connections) > self.limits.connections:
            next((each for each in self._connections if not each.busy), connection).close()

    def rests(self, connection: Connection) -> None:
        """Note that a connection has had its answer."""
        self._connections.move_to_end(connection)

    def left(self, connection: Connection) -> None:
        """Forget a connection."""
        self._connections.pop(connection, None)

    async def drain(self, seconds: float, *, grace: float = 1.0) -> None:
        """Finish what clients have begun, then close. Accepting must have stopped, and handshakes must have ended.

        1. Connections that had an answer and wait for another request are closed.
        2. Connections that have sent nothing yet get a moment to send a request.
        3. Requests that have begun are answered; each answer says that the connection closes.
        4. What is left at the deadline is cut.

        Args:
            seconds: the deadline.
            grace: the moment, in seconds.
        """
        self.draining = True
        deadline = time.monotonic() + seconds
        fresh_until = min(time.monotonic() + grace, deadline)
        while (self._connections or self.tasks) and time.monotonic() < deadline:
            for each in list(self._connections):
                if not each.busy and (each.served or time.monotonic() >= fresh_until):
                    each.close()
            await asyncio.sleep(_DRAIN_LOOK_SECONDS)
        for each in list(self._connections):
            each.abort()
        for task in self.tasks:
            task.cancel()
        await asyncio.sleep(_DRAIN_LOOK_SECONDS)
