"""Each test of the engines runs over both of them, and on both kinds of event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

import pytest
import uvloop
from fakes.tls import Identities, Stage, make_identities, run, stage

from online.config import TlsEngine
from online.engine import Limits

Play: TypeAlias = Callable[..., None]


@pytest.fixture(scope="session")
def identities() -> Identities:
    """A CA with a node's leaf and a client's."""
    return asyncio.run(make_identities())


@pytest.fixture(params=[TlsEngine.BUNDLED, TlsEngine.SYSTEM], ids=lambda engine: engine.value)
def engine(request: pytest.FixtureRequest) -> TlsEngine:
    """One of the engines."""
    assert isinstance(request.param, TlsEngine)
    return request.param


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def play(request: pytest.FixtureRequest, engine: TlsEngine, identities: Identities) -> Play:
    """Run a test's coroutine on a stage, which it gets."""

    def on(act: Callable[[Stage], Coroutine[Any, Any, None]], limits: Limits | None = None) -> None:
        async def main() -> None:
            async with stage(identities, engine, limits) as shown:
                await act(shown)

        run(request.param, main())

    return on
