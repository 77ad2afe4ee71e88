"""What a child of the supervisor does: answer as a worker, keep house and the revocation list, or write for workers.

A child ends when a signal tells it to, and when its parent is gone; until then it shows now and then that its event
loop comes round.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from online.accesslog import Log
from online.child import Tie
from online.config import Config
from online.crl_keeper import Bell
from online.engine import context_class
from online.hierarchy import Hierarchy
from online.keeper import run_keeper
from online.loop import loop_factory
from online.metrics.endpoint import Metering
from online.rate_limit import RateLimiter
from online.server import Pace, run_worker
from online.signals import Signals
from online.store.recording.door import Door
from online.store.recording.recorder import Recorder
from online.store.sqlite import open_writer
from shared.clock import SystemClock
from shared.keystore import SecretCallback

_BEAT_SECONDS = 5.0
_KEEPER_NICENESS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Listeners:
    """What the workers accept from. They outlive every reload."""

    tls: socket.socket
    metrics: socket.socket | None
    plain: socket.socket | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inherited:
    """What a child has from its parent."""

    config: Config
    secret: SecretCallback
    """Answers as the operator did."""
    listeners: Listeners
    pace: Pace
    metering: Metering | None
    bell: Bell
    limiter: RateLimiter | None
    """One for all workers."""
    door: Door
    """Where the recorder is found, if there is one."""


def preload(config: Config) -> None:
    """Load, before anything is forked, what every worker needs: it is loaded once then, and its memory is shared.

    Args:
        config: of the node.
    """
    gc.disable()
    import online.http.thin  # noqa: F401, PLC0415

    loop_factory()
    context_class(config.tls.engine)
    # A collector that goes through what was loaded writes to all of it, and what is written to is shared no more.
    gc.freeze()
    gc.enable()


async def work(tie: Tie, inherited: Inherited, hierarchy: Hierarchy | None = None) -> None:
    """Be a worker, until a signal comes or the parent is gone.

    Args:
        tie: to the parent.
        inherited: from it.
        hierarchy: when this child has opened the issuing key already.

    Raises:
        ColdrootError: what ``run_worker`` raises.
    """
    _show_as("worker")
    stop = _stop_event(tie)
    config, clock = inherited.config, SystemClock()
    beating = asyncio.create_task(_beat(tie))
    await run_worker(
        config,
        inherited.secret,
        inherited.listeners.tls,
        log=Log(clock, as_json=config.logger.format == "json", least_status=config.logger.least_status),
        clock=clock,
        stop=stop,
        ready=lambda: tie.report(ready=True),
        pace=inherited.pace,
        metering=inherited.metering,
        plain=inherited.listeners.plain,
        ring=inherited.bell.ring,
        limiter=inherited.limiter,
        hierarchy=hierarchy,
        door=inherited.door,
    )
    beating.cancel()


async def keep(tie: Tie, inherited: Inherited) -> None:
    """Keep house, and the revocation list, until a signal comes or the parent is gone.

    Raises:
        ColdrootError: what ``run_keeper`` raises.
    """
    _show_as("keeper")
    # A long list takes a second of a core, and to tidy up is never urgent: the workers have precedence. A sandbox that
    # lets nobody change priorities, as the service manager's does, is no reason to keep no house.
    with contextlib.suppress(OSError):
        os.nice(_KEEPER_NICENESS)
    stop = _stop_event(tie)
    config, clock = inherited.config, SystemClock()
    beating = asyncio.create_task(_beat(tie))
    await run_keeper(
        config,
        inherited.secret,
        log=Log(clock, as_json=config.logger.format == "json"),
        clock=clock,
        bell=inherited.bell,
        stop=stop,
        ready=lambda: tie.report(ready=True),
        look=inherited.pace.look,
        newest=lambda version: tie.report(authority=version),
    )
    beating.cancel()


def record(tie: Tie, inherited: Inherited) -> None:
    """Write for all workers, until a signal comes or the parent is gone, and the last worker has hung up.

    Args:
        tie: to the parent.
        inherited: from it.

    Raises:
        StoreFailed: ``store.*``: the database could not be opened.
    """
    _show_as("recorder")
    with Signals() as signals, open_writer(inherited.config.db) as (writer, file):
        recorder = Recorder(writer, inherited.door, file=file)

        def parent_gone() -> None:
            recorder.forget(tie.parent)
            recorder.leave()

        recorder.watch(tie.parent, parent_gone)
        recorder.watch(signals.fileno(), signals.clear)
        tie.report(ready=True)
        beat = time.monotonic()
        while not recorder.done:
            if time.monotonic() >= beat:
                tie.report(alive=True)
                beat = time.monotonic() + _BEAT_SECONDS
            recorder.turn(_BEAT_SECONDS)
            if signals.stops:
                recorder.leave()
        recorder.close()


def _show_as(part: str) -> None:
    """Be shown by ``ps`` and ``top`` as the part of the node that this process is (proc(5), ``comm``)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(f"online-{part}", encoding="ascii")


def _stop_event(tie: Tie) -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_reader(tie.parent, _parent_gone, loop, tie.parent, stop)
    return stop


async def _beat(tie: Tie) -> None:
    """Show that the event loop comes round."""
    while True:
        tie.report(alive=True)
        await asyncio.sleep(_BEAT_SECONDS)


def _parent_gone(loop: asyncio.AbstractEventLoop, descriptor: int, stop: asyncio.Event) -> None:
    # An end of file is readable for ever: one look is enough.
    loop.remove_reader(descriptor)
    stop.set()
