"""The parent of the workers: it listens, forks, watches, replaces, and ends. It holds no key and speaks no TLS.

The life of ``serve`` (the numbers return in the code):

1. the listener is bound, once; every worker accepts from it;
2. a child opens the issuing key: a wrong password is one line before anything else runs, and the password that was
   asked for is kept for the workers that come later. That child goes on as the first worker; where there are
   revocation lists it was a trial only, for a list must be in force before a leaf names it;
3. the other workers are started, and only when all of them answer is the node called ready;
4. a worker that dies is replaced, more and more slowly while its successors die young; one that a wrong password
   or PIN stops is not, for an HSM locks itself after a few of those. A worker that gives no sign of life for a
   minute is ended and replaced. The parent itself is watched by systemd, where there is one. One more child, the
   keeper, keeps house in the store and makes revocation lists, and where the database is a file another one, the
   recorder, writes for all workers. Both are looked after like workers;
5. SIGHUP: the configuration is read again and tried; then the workers are replaced one at a time, the new one
   answering before the old one is told to go. What is wrong with the new file is said, and the old one stays. The
   same when the keeper tells that the database has another version of the authority than the one that runs;
6. SIGTERM or SIGINT: the workers finish what their clients have begun. A second one ends them at once.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum

from online.accesslog import Log
from online.child import Child, Tie, failure_of, spawn
from online.children import Inherited, Listeners, keep, preload, record, work
from online.config import Config
from online.config.settings import AuthoritySource
from online.crl_keeper import Bell
from online.hierarchy import Hierarchy
from online.listener import adopt, bind
from online.loop import run as run_loop
from online.metrics import Board, Page
from online.metrics.endpoint import Metering
from online.notify import Watchdog, notify
from online.rate_limit import RateLimiter
from online.server import Pace
from online.signals import Signals
from online.store.recording.door import Door
from online.trial import Remembered, open_first, read_config, try_node
from online.workers import MOST_WORKERS
from shared.clock import SystemClock
from shared.errors import ColdrootError, Fatal, RequestRejected, Unauthenticated
from shared.keystore import SecretCallback

_START_SECONDS = 60.0
_SPARE_SECONDS = 5.0
# A worker whose event loop has not come round for this long never will.
_LONGEST_SILENCE_SECONDS = 60.0
# A worker that lived this long did not die of its start.
_SETTLED_SECONDS = 60.0
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 60.0
# Until an authority that was refused is tried again: what it needs may have come, a database or a file.
_REFUSED_SECONDS = 60.0


def serve(
    config: Config,
    *,
    secret: SecretCallback,
    workers: int = 1,
    host: str | None = None,
    port: int | None = None,
    pace: Pace | None = None,
) -> None:
    """Serve a node until a signal ends it. Returns after a graceful end.

    Args:
        config: of the node.
        secret: asked for the issuing key's password or PIN; once, whatever the number of workers.
        workers: how many processes answer, 1 to 64.
        host: instead of the configuration's.
        port: instead of the configuration's; 0 lets the system choose.
        pace: of the workers' own tasks.

    Raises:
        RequestRejected: ``serve.workers``, ``listen.*``, and what opening the node raises.
        ColdrootError: what opening the node raises.
    """
    if not 1 <= workers <= MOST_WORKERS:
        raise RequestRejected("serve.workers", f"{workers} workers are asked for, 1 to {MOST_WORKERS} are possible")
    # A core dump would hold the issuing key, or what was answered for it. All children have this from here.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # 1.
    listener = adopt() if host is None and port is None else None
    listener = listener or bind(
        config.address[0] if host is None else host, config.address[1] if port is None else port
    )
    with ExitStack() as stack:
        stack.enter_context(listener)
        metrics = None if config.metrics_address is None else stack.enter_context(bind(*config.metrics_address))
        plain = None if config.insecure_address is None else stack.enter_context(bind(*config.insecure_address))
        signals = stack.enter_context(Signals())
        preload(config)
        listeners = Listeners(tls=listener, metrics=metrics, plain=plain)
        supervisor = _Supervisor(config, listeners, signals, workers=workers, pace=pace or Pace())
        supervisor.run(secret)


@dataclass(slots=True, kw_only=True)
class _Worker:
    """A worker process."""

    child: Child
    begun: float
    """Monotonic."""
    heard: float
    """Monotonic: when it last gave a sign of life."""
    page: Page | None
    """Where it puts its numbers up."""
    ready: bool = False
    error: ColdrootError | None = None
    gone: bool = False


class _Role(Enum):
    KEEPER = "keeper"
    RECORDER = "recorder"
    WORKER = "worker"


_RUN: dict[_Role, Callable[[Tie, Inherited], None]] = {
    _Role.KEEPER: lambda tie, inherited: run_loop(keep(tie, inherited)),
    _Role.RECORDER: record,
    _Role.WORKER: lambda tie, inherited: run_loop(work(tie, inherited)),
}


@dataclass(slots=True, kw_only=True)
class _Place:
    """One of the workers that there shall be, or one of those beside them."""

    role: _Role = _Role.WORKER
    worker: _Worker | None = None
    young_deaths: int = 0
    start_at: float | None = None
    """Monotonic; ``None`` when no start is planned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refused:
    """A reload that came to nothing."""

    version: int | None
    """Of the authority that was to be taken up."""
    text: str
    """What was said."""
    until: float
    """Monotonic: when it is tried again by itself."""


class _Supervisor:
    """The loop around the workers."""

    def __init__(
        self,
        config: Config,
        listeners: Listeners,
        signals: Signals,
        *,
        workers: int,
        pace: Pace,
    ) -> None:
        self._config = config
        self._remembered = Remembered(answers={}, root_fingerprint="")
        self._listeners = listeners
        self._signals = signals
        self._pace = pace
        # The keeper first: a list must be in force before a leaf names it.
        self._places = [_Place(role=_Role.KEEPER), *(_Place() for _ in range(workers))]
        self._door = Door()
        self._suit_recorder()
        self._bell = Bell()
        self._leaving: list[_Worker] = []
        self._log = Log(SystemClock(), as_json=config.logger.format == "json")
        self._watchdog = Watchdog()
        # A reload has old and new workers at the same time, and one that follows at once even more.
        self._board = Board(4 * workers if listeners.metrics is not None else 0)
        self._begun = time.monotonic()
        self._limiter = _limiter_of(config)
        self._newest = config.authority_version
        self._refused: _Refused | None = None

    def _open(self, secret: SecretCallback) -> None:
        """Open the issuing key once, and learn what is asked for it.

        Raises:
            ColdrootError: the key could not be opened.
            KeyboardInterrupt: a signal asked to stop.
        """
        if self._config.crl is not None:
            self._remembered = try_node(self._config, secret, self._signals)
            return
        page = self._board.take()
        inherited = self._inherited(page, secret)

        def go_on(tie: Tie, hierarchy: Hierarchy) -> None:
            run_loop(work(tie, inherited, hierarchy))

        child, self._remembered, ready = open_first(self._config, secret, self._signals, go_on)
        # A person may have had to find a password; from now on it is a worker's start that is waited for.
        now = time.monotonic()
        self._workers()[0].worker = _Worker(child=child, begun=now, heard=now, page=page, ready=ready)

    def run(self, secret: SecretCallback) -> None:
        """Start, watch, end.

        Args:
            secret: asks the operator.

        Raises:
            ColdrootError: what kept the first workers from starting, or all later ones.
            KeyboardInterrupt: a signal asked to stop before the key was open.
        """
        try:
            # 2.
            self._open(secret)
            # 3.
            for place in self._places:
                if place.worker is None:
                    self._start(place)
            for place in self._places:
                self._await_start(place)
            if not self._signals.stops:
                self._announce()
            while not self._signals.stops:
                # 4.
                self._pump(self._next_start())
                self._end_silent()
                self._replace_dead()
                # 5.
                asked = self._signals.take_reload()
                if (asked or self._is_behind()) and not self._signals.stops:
                    self._reload(asked=asked)
        finally:
            # 6.
            notify("STOPPING=1")
            self._end()
            self._bell.close()
            self._door.close()

    def _suit_recorder(self) -> None:
        """Have a place for the recorder where the database is a file, and none elsewhere."""
        present = [each for each in self._places if each.role is _Role.RECORDER]
        wanted = self._config.db.type == "sqlite"
        if wanted and not present:
            self._places.insert(1, _Place(role=_Role.RECORDER, start_at=time.monotonic()))
        for place in () if wanted else present:
            self._places.remove(place)
            if place.worker is not None:
                self._leaving.append(place.worker)
                self._dismiss(place.worker)

    def _start(self, place: _Place) -> None:
        place.worker = self._fork(place.role)
        place.start_at = None

    def _fork(self, role: _Role) -> _Worker:
        page = self._board.take() if role is _Role.WORKER else None
        inherited = self._inherited(page, self._remembered.secret)

        def run(tie: Tie) -> None:
            self._signals.close()
            _RUN[role](tie, inherited)

        descriptors = (descriptor for worker in self._living() for descriptor in worker.child.descriptors())
        now = time.monotonic()
        return _Worker(child=spawn(run, forget=tuple(descriptors)), begun=now, heard=now, page=page)

    def _inherited(self, page: Page | None, secret: SecretCallback) -> Inherited:
        return Inherited(
            config=self._config,
            secret=secret,
            listeners=self._listeners,
            pace=self._pace,
            metering=Metering(listener=self._listeners.metrics, board=self._board, page=page, begun=self._begun)
            if self._listeners.metrics is not None and page is not None
            else None,
            bell=self._bell,
            limiter=self._limiter,
            door=self._door,
        )

    def _await_start(self, place: _Place) -> None:
        """Wait until a place's worker answers, or the end is asked for.

        Raises:
            ColdrootError: what ended the worker, or ``serve.slow-start``.
        """
        worker = place.worker
        assert worker is not None
        while not (worker.ready or self._signals.stops):
            if worker.gone:
                raise worker.error or Fatal("serve.worker-died", "a worker ended without a word")
            if time.monotonic() >= worker.begun + _START_SECONDS:
                raise Fatal("serve.slow-start", f"a worker did not answer within {_START_SECONDS:g} s of its start")
            self._pump(1.0)

    def _announce(self) -> None:
        port = self._listeners.tls.getsockname()[1]
        host = self._config.dns_names[0]
        url = f"https://{f'[{host}]' if ':' in host else host}:{port}"
        self._log.event(f"READY {url} root fingerprint {self._remembered.root_fingerprint}")
        notify("READY=1", f"MAINPID={os.getpid()}", f"STATUS=serving {url} with {len(self._workers())} worker(s)")

    def _pump(self, seconds: float) -> None:
        """Wait for a signal or a word from a worker, and take in what came."""
        by_descriptor = {worker.child.reports: worker for worker in self._living()}
        wait = min(seconds, self._watchdog.beat())
        readable, _, _ = select.select([self._signals.fileno(), *by_descriptor], [], [], wait)
        self._signals.clear()
        for descriptor in readable:
            if descriptor in by_descriptor:
                self._take_in(by_descriptor[descriptor])
        self._leaving = [worker for worker in self._leaving if not worker.gone]

    def _living(self) -> tuple[_Worker, ...]:
        placed = (place.worker for place in self._places if place.worker is not None)
        return tuple(worker for worker in (*self._leaving, *placed) if not worker.gone)

    def _end_silent(self) -> None:
        """Kill workers that hang: what they hold is lost either way, and clients wait for them meanwhile."""
        silent = time.monotonic() - _LONGEST_SILENCE_SECONDS
        for worker in self._living():
            if worker.ready and worker.heard < silent:
                worker.error = Fatal("serve.worker-hung", f"no sign of life for {_LONGEST_SILENCE_SECONDS:g} s")
                os.kill(worker.child.pid, signal.SIGKILL)

    def _replace_dead(self) -> None:
        now = time.monotonic()
        for place in self._places:
            if place.worker is not None and place.worker.gone:
                self._bury(place, place.worker, now)
            if place.worker is None and place.start_at is not None and now >= place.start_at:
                self._start(place)
        if all(place.worker is None and place.start_at is None for place in self._workers()):
            raise Fatal("serve.no-workers", "no worker can be started any more", hint="the lines above say why")

    def _bury(self, place: _Place, worker: _Worker, now: float) -> None:
        """Decide when a dead worker's place is filled again."""
        error = worker.error or Fatal("serve.worker-died", "it ended without a word")
        self._log.event(f"{place.role.value} {worker.child.pid} ended: {error.code}: {error.message}")
        place.worker = None
        if isinstance(error, Unauthenticated):
            self._log.event("it is not replaced: another attempt with the same password or PIN could lock the key")
            return
        settled = worker.ready and now - worker.begun >= _SETTLED_SECONDS
        place.young_deaths = 0 if settled else place.young_deaths + 1
        pause = min(_FIRST_PAUSE_SECONDS * 2 ** min(place.young_deaths, 10), _LONGEST_PAUSE_SECONDS)
        place.start_at = now if settled else now + pause

    def _workers(self) -> list[_Place]:
        return [place for place in self._places if place.role is _Role.WORKER]

    def _next_start(self) -> float:
        planned = [place.start_at for place in self._places if place.start_at is not None]
        return max(0.0, min(planned) - time.monotonic()) if planned else 60.0

    def _is_behind(self) -> bool:
        """Tell whether the database has another authority, and not one that was refused a moment ago."""
        if self._newest == self._config.authority_version:
            return False
        refused = self._refused
        return refused is None or refused.version != self._newest or time.monotonic() >= refused.until

    def _reload(self, *, asked: bool) -> None:
        """Replace the workers one at a time by ones of the configuration as it is now.

        Args:
            asked: by a person, who wants to read what came of it, even if it is the same as before.
        """
        notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        before = self._config, self._remembered, self._limiter
        begun, wanted = time.monotonic(), self._newest
        try:
            config = read_config(
                self._config.path, self._signals, seconds=_START_SECONDS, meanwhile=lambda: self._pump(0)
            )
            self._config, self._remembered = config, self._try(config)
            if config.rate_limit != before[0].rate_limit:
                self._limiter = _limiter_of(config)
            self._suit_recorder()
            first = self._workers()[0]
            for place in self._places:
                # Those beside the workers are one of a kind each, and so is the first worker.
                self._succeed(place, first=place.role is not _Role.WORKER or place is first)
        except ColdrootError as error:
            self._config, self._remembered, self._limiter = before
            self._take_back(begun)
            self._suit_recorder()
            text = f"the configuration was not reloaded, the old one stays: {error.code}: {error.message}"
            if asked or self._refused is None or self._refused.text != text:
                self._log.event(text)
            self._refused = _Refused(version=wanted, text=text, until=time.monotonic() + _REFUSED_SECONDS)
        else:
            self._newest, self._refused = config.authority_version, None
            moved = _addresses(config) != _addresses(before[0])
            shared = "" if config.authority_version is None else f"; authority version {config.authority_version}"
            self._log.event(
                f"configuration reloaded{shared}" + ("; the new address counts after a restart" if moved else "")
            )
        notify("READY=1")

    def _try(self, config: Config) -> Remembered:
        return try_node(
            config,
            self._remembered.secret,
            self._signals,
            seconds=_START_SECONDS,
            meanwhile=lambda: self._pump(0),
        )

    def _succeed(self, place: _Place, *, first: bool) -> None:
        """Start a place's next worker; let the present one go when the next one answers.

        Raises:
            ColdrootError: the first new worker of a reload did not start. A later one is left to ``_replace_dead``:
                then the configuration has proved to be good.
        """
        old, planned = place.worker, place.start_at
        if old is not None:
            # In one place only: a child closes the descriptors of all the living, and each once.
            self._leaving.append(old)
            place.worker = None
        self._start(place)
        try:
            self._await_start(place)
        except ColdrootError:
            if first:
                assert place.worker is not None
                self._dismiss(place.worker)
                self._leaving = [*(each for each in self._leaving if each is not old), place.worker]
                place.worker, place.start_at = old, planned
                raise
        if old is not None:
            self._dismiss(old)

    def _take_back(self, begun: float) -> None:
        """Replace those beside the workers whom a reload started before it failed: another database may be theirs."""
        for place in self._places:
            if place.role is not _Role.WORKER and place.worker is not None and place.worker.begun >= begun:
                self._leaving.append(place.worker)
                self._dismiss(place.worker)
                place.worker, place.start_at = None, time.monotonic()

    def _dismiss(self, worker: _Worker) -> None:
        if not worker.gone:
            os.kill(worker.child.pid, signal.SIGTERM)

    def _end(self) -> None:
        asked = self._signals.stops
        for worker in self._living():
            self._dismiss(worker)
        deadline = time.monotonic() + self._pace.drain + _SPARE_SECONDS
        while self._living() and time.monotonic() < deadline and self._signals.stops <= max(asked, 1):
            self._pump(0.5)
        for worker in self._living():
            os.kill(worker.child.pid, signal.SIGKILL)
            self._reap(worker)

    def _take_in(self, worker: _Worker) -> None:
        reports = worker.child.read()
        if reports is None:
            self._reap(worker)
            return
        worker.heard = time.monotonic()
        for report in reports:
            worker.ready = worker.ready or report.get("ready") is True
            worker.error = failure_of(report) or worker.error
            version = report.get("authority")
            if isinstance(version, int) and self._config.authority is AuthoritySource.DATABASE:
                self._newest = version

    def _reap(self, worker: _Worker) -> None:
        worker.child.wait()
        worker.child.close()
        worker.gone = True
        if worker.page is not None:
            self._board.give_back(worker.page)


def _limiter_of(config: Config) -> RateLimiter | None:
    return None if config.rate_limit is None else RateLimiter(config.rate_limit)


def _addresses(config: Config) -> tuple[tuple[str, int] | None, ...]:
    return config.address, config.metrics_address, config.insecure_address
