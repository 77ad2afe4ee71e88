"""The agent: a loop around the keepers of any number of pairs, that ends only when it is told to.

Invariants:

* it looks at the wall clock at least every 30 seconds of being awake: neither a sleep of the machine nor a clock that
  was set makes it late by more;
* no pair waits for another: attempts run in threads of their own, a few at a time, and the loop never waits for one;
  where more pairs are ready than can be served, those come first whose last attempt is the longest ago;
* TERM and INT let a running attempt finish for a while and end with success; an install that is cut off is whole
  anyway (``online.renewal.install``);
* the service manager's watchdog is fed by this loop, and not while an attempt hangs.
"""

from __future__ import annotations

import os
import random
import select
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from online.notify import Watchdog, notify
from online.renewal import untold
from online.renewal.attempt import refresh_outputs, renew_pair
from online.renewal.hooks import Renewed, tell
from online.renewal.install import check_output
from online.renewal.keeper import Keeper, Moment, Work, in_turn
from online.renewal.pair import Pair
from online.renewal.status import StatusFile, summary
from online.signals import Signals
from online.trust import Trust
from shared import terminal
from shared.clock import rfc3339
from shared.errors import ColdrootError
from shared.names import printable
from shared.terminal import SecretCallback

_LOOK_SECONDS = 30.0
_AT_A_TIME = 4
_FINISH_SECONDS = 20.0
_LEAST_WAIT = 0.02
Refuse = Callable[[ColdrootError], None]
"""Is told of a pair that cannot be used."""
# A difference between the two clocks that no drift explains.
_CLOCK_STEP = 60.0
_LONGEST_LINE = 1000


def system_moment() -> Moment:
    """Read both clocks of the system."""
    return Moment(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME))


def say(line: str) -> None:
    """Write a line of the log: when, and what."""
    terminal.say(f"{rfc3339(datetime.now(UTC))} {printable(line, limit=_LONGEST_LINE)}")


class Agent:
    """Keeps pairs fresh."""

    def __init__(
        self,
        *,
        pairs: Callable[[Refuse | None], Sequence[Pair]],
        trust: Callable[[Pair], Trust],
        status_file: Path | None = None,
        force: bool = False,
    ) -> None:
        """Read what is to be kept.

        Args:
            pairs: returns the pairs; asked again at SIGHUP. At the start it is given whom to tell of a pair that cannot
                be used: after the next start of the machine one broken file must not let all certificates end.
            trust: returns the CA of a pair; asked at each attempt, so that a new root counts without a restart.
            status_file: kept up to date.
            force: renew everything at once, then as planned.

        Raises:
            ColdrootError: what ``pairs`` raises; or the status file, or the only pair, cannot stand where it shall.
        """
        if status_file is not None:
            check_output(status_file, overwrite=True)
        self._pairs, self._trust = pairs, trust
        self._status = StatusFile(status_file) if status_file is not None else None
        self._secrets: dict[str, bytes] = {}
        self._work = Work(
            renew=self._renew,
            refresh=lambda pair: refresh_outputs(pair, self._secret(pair)),
            tell=_tell,
            owed=untold.owed,
            now=system_moment,
            chance=random.random,
            say=say,
        )
        self._refused: list[ColdrootError] = []
        self._keepers = [Keeper(pair, self._work, force=force) for pair in self._checked(self._refuse)]
        self._waker, self._woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)[::-1]
        self._offset: float | None = None

    def run(self) -> None:
        """Keep them, until TERM or INT.

        1. Look at each pair; say that we are ready.
        2. Begin what is to be done.
        3. Tell how it goes, and wait: for the next moment, a signal, the end of an attempt, half a minute at most.
        4. When told to stop, let what runs finish for a while.
        """
        watchdog = Watchdog()
        with Signals() as signals:
            ready = False
            while not signals.stops:
                if signals.take_reload():
                    self._reload()
                at = system_moment()
                self._notice_steps(at)
                # 1, 2.
                self._begin(at)
                if not ready:
                    ready = True
                    notify("READY=1")
                # 3.
                self._report(at)
                stuck = any(keeper.is_stuck(at) for keeper in self._keepers)
                beat = _LOOK_SECONDS if stuck else watchdog.beat()
                self._wait(signals, min(_LOOK_SECONDS, beat, self._next(at)))
            # 4.
            notify("STOPPING=1")
            self._finish(signals)
        say("stopped")

    def _begin(self, at: Moment) -> None:
        running = sum(keeper.busy_since is not None for keeper in self._keepers)
        for keeper in in_turn(self._keepers):
            keeper.look(at)
            if running < _AT_A_TIME and keeper.is_ready(at):
                running += 1
                keeper.begin(at)
                # A daemon thread: one that hangs in a system call must not keep the process from ending.
                threading.Thread(target=self._act, args=(keeper,), daemon=True).start()

    def _act(self, keeper: Keeper) -> None:
        keeper.act()
        with suppress(OSError):
            os.write(self._waker, b".")

    def _next(self, at: Moment) -> float:
        idle = [keeper.ready_in(at) for keeper in self._keepers if keeper.busy_since is None]
        running = len(self._keepers) - len(idle)
        # With all hands busy, the next to become free wakes the loop.
        return max(_LEAST_WAIT, min(idle, default=_LOOK_SECONDS)) if running < _AT_A_TIME else _LOOK_SECONDS

    def _wait(self, signals: Signals, seconds: float) -> None:
        watched: list[Signals | int] = [signals, self._woken]
        select.select(watched, [], [], seconds)
        signals.clear()
        with suppress(BlockingIOError):
            while os.read(self._woken, 256):
                pass

    def _report(self, at: Moment) -> None:
        notify(f"STATUS={summary(self._keepers, at)}")
        if self._status is not None:
            problem = self._status.update(self._keepers, at, refused=self._refused)
            if problem is not None:
                say(f"error: the status cannot be written: {problem}")

    def _finish(self, signals: Signals) -> None:
        stops, until = signals.stops, time.monotonic() + _FINISH_SECONDS
        while any(keeper.busy_since is not None for keeper in self._keepers):
            left = until - time.monotonic()
            if left <= 0 or signals.stops > stops:
                say("an attempt is cut off; the pair on the disk is whole")
                break
            self._wait(signals, left)
        self._report(system_moment())

    def _reload(self) -> None:
        """Renew now; with files of pairs, take them anew first, unless one of them is broken."""
        say("asked to renew now")
        try:
            wanted = {pair.certificate: pair for pair in self._checked(None)}
        except ColdrootError as error:
            say(f"error: {error.message} [{error.code}]; the pairs stay as they are")
        else:
            kept = [each for each in self._keepers if wanted.get(each.pair.certificate) == each.pair]
            # Whoever is busy with a pair that is not wanted any more finishes, and is then forgotten.
            known = {each.pair.certificate for each in kept}
            added = [Keeper(pair, self._work) for place, pair in wanted.items() if place not in known]
            self._keepers = [*kept, *added]
            self._refused.clear()
        for keeper in self._keepers:
            keeper.hasten()

    def _notice_steps(self, at: Moment) -> None:
        offset = at.wall - at.elapsed
        if self._offset is not None and abs(offset - self._offset) > _CLOCK_STEP:
            direction = "forward" if offset > self._offset else "back"
            say(f"the clock was set {direction} by {abs(offset - self._offset):.0f} s")
        self._offset = offset

    def _refuse(self, error: ColdrootError) -> None:
        say(f"error: {error.message} [{error.code}]; the other pairs are kept")
        self._refused.append(error)

    def _checked(self, refuse: Refuse | None) -> Sequence[Pair]:
        pairs = self._pairs(refuse)
        for pair in pairs:
            try:
                pair.check_outputs()
            except ColdrootError as error:
                if len(pairs) == 1:
                    raise
                # After the next start of the machine one directory that is not there must not let all others end.
                say(f"{pair.name}: error: {error.message} [{error.code}]")
        return pairs

    def _renew(self, pair: Pair, now: datetime) -> Renewed:
        return renew_pair(pair, self._trust(pair), self._secret(pair), now=now)

    def _secret(self, pair: Pair) -> SecretCallback:
        """Return where a key's password comes from; what a person typed is asked for once."""
        ask = terminal.secret_from(pair.password_file)
        if pair.password_file is not None:
            return ask

        def once(prompt: str) -> bytes:
            if pair.key not in self._secrets:
                self._secrets[pair.key] = ask(prompt)
            return self._secrets[pair.key]

        return once


def _tell(pair: Pair, renewed: Renewed) -> tuple[str, ...]:
    failed = tell(pair.hooks, renewed)
    if not failed:
        untold.fulfilled(pair, renewed)
    return failed
