"""The node's event loop: uvloop's where it is installed, asyncio's own elsewhere.

uvloop hands bytes to and from sockets without a line of Python, which is a tenth of what a new connection costs. It is
built for Linux and macOS only, so that nothing here depends on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


def run(main: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine to its end in a loop of its own, like ``asyncio.run``.

    Args:
        main: the coroutine.
    """
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(main)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes the fastest loop there is; importing it is best done before a process forks."""
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop
