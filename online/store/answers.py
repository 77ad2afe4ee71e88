"""Answers to those who wait for a write, as every kind of store gives them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from shared.errors import ColdrootError, StoreFailed

_Result = TypeVar("_Result")
Timed = Callable[[str, float], None]
"""Told of each certificate or revocation that was recorded: ``done``, ``refused`` or ``failed``, and the seconds."""


def settle(future: asyncio.Future[_Result], outcome: _Result | ColdrootError) -> None:
    """Answer a caller, unless it was answered or went away."""
    if future.done():
        return
    if isinstance(outcome, ColdrootError):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


async def timing(timed: Timed | None, write: Awaitable[_Result]) -> _Result:
    """Wait for a write, and tell how it ended and how long it took.

    Args:
        timed: told, if anybody is.
        write: a store's.

    Raises:
        ColdrootError: what the write raises.
    """
    if timed is None:
        return await write
    begun, outcome = time.perf_counter(), "failed"
    try:
        result = await write
        outcome = "done"
    except ColdrootError as error:
        outcome = "failed" if isinstance(error, StoreFailed) else "refused"
        raise
    finally:
        timed(outcome, time.perf_counter() - begun)
    return result
