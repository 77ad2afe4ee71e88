"""HTTP/1.1 on one side, the server-neutral handler on the other: two layers that answer the same bytes alike."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Protocol

from online.http.desk import Desk
from online.http.limits import Limits

__all__ = ["Desk", "HttpServer", "Layer", "Limits", "make_server"]


class Layer(StrEnum):
    """Which code reads requests and writes answers."""

    THIN = "thin"
    """Ours, on llhttp."""
    REFERENCE = "aiohttp"
    """aiohttp: slower, and what the thin one is compared with."""


class HttpServer(Protocol):
    """A factory of protocols for ``create_server``."""

    def __call__(self) -> asyncio.BaseProtocol:
        """Make the protocol of a connection that was just accepted."""
        ...

    async def drain(self, seconds: float, *, grace: float = 1.0) -> None:
        """Finish what clients have begun within so many seconds, then close.

        Accepting must have stopped, and handshakes must have ended.
        """
        ...


def make_server(layer: Layer, desk: Desk, limits: Limits | None = None) -> HttpServer:
    """Make a layer. Call it inside the running event loop.

    Args:
        layer: which one.
        desk: answers and writes down.
        limits: sizes and deadlines.
    """
    # Each is loaded when it is wanted only: aiohttp alone takes a fifth of a second.
    if layer is Layer.REFERENCE:
        from online.http.reference import ReferenceServer  # noqa: PLC0415

        return ReferenceServer(desk, limits)
    from online.http.thin import ThinServer  # noqa: PLC0415

    return ThinServer(desk, limits)
