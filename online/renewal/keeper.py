"""What an agent knows about one pair, and decides: look, wait, renew, tell, wait again. No loop and no clock in here.

Invariants:

* a pair that somebody else replaced is noticed by its file, and what was known of the old one is forgotten;
* whatever fails, there is a next attempt, and it lies before the certificate's end while that is possible;
* who was to be told and was not is told again, until it worked or the certificate was replaced, also when it was
  another process that did not;
* the moment of a renewal is one of the wall clock, as certificates are; waiting after a failure is measured by a clock
  that never steps and runs on while the machine sleeps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from cryptography import x509

from online.client import AskedToWait
from online.renewal import renew as renewing
from online.renewal.hooks import Renewed
from online.renewal.pair import Pair
from online.renewal.schedule import retry_delay
from shared.durations import format_duration
from shared.errors import ColdrootError, Fatal, RequestRejected
from shared.issue import lifetime

# For a pair that cannot be read nobody knows how long there is time.
_UNKNOWN_REMAINING = 300.0
# What an attempt may take beside its commands before it counts as hung: a CA may drip bytes for a minute, and again.
_LONGEST_ATTEMPT = 600.0


class Moment(NamedTuple):
    """Now, by two clocks."""

    wall: float
    """Seconds since 1970."""
    elapsed: float
    """Seconds since the machine was started, sleep included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a keeper can have done for it."""

    renew: Callable[[Pair, datetime], Renewed]
    refresh: Callable[[Pair], None]
    """Writes further files that an interrupted run left behind."""
    tell: Callable[[Pair, Renewed], tuple[str, ...]]
    """Returns a line for each that was not told."""
    owed: Callable[[Pair], Renewed | None]
    """Returns what an earlier process was to tell and did not."""
    now: Callable[[], Moment]
    chance: Callable[[], float]
    """Draws from 0 up to 1."""
    say: Callable[[str], None]


class Keeper:
    """One pair under care.

    ``look``, ``is_ready`` and ``hasten`` are for the loop, ``act`` for a thread of its own; ``busy_since`` keeps them
    apart: whoever starts ``act`` calls ``begin`` first, and nothing but ``hasten`` until it is ``None`` again.
    """

    def __init__(self, pair: Pair, work: Work, *, force: bool = False) -> None:
        """Take a pair into care; nothing is read yet.

        Args:
            pair: which.
            work: how things are done.
            force: renew at once.
        """
        self.pair = pair
        self._work = work
        self._seen: object = None
        self._hurry = force
        self._retry_at: float | None = None
        self._owed: Renewed | None = None
        self._unrefreshed = False
        self.leaf: x509.Certificate | None = None
        """The certificate in use; ``None`` while it cannot be read."""
        self.due: float | None = None
        """When it is renewed, seconds since 1970."""
        self.busy_since: float | None = None
        """Since when an attempt runs, on the clock that never steps."""
        self.last_turn = float("-inf")
        """When an attempt began last, on that clock: whoever waited longest comes first."""
        self.failures = 0
        """How many attempts in a row failed."""
        self.last_attempt: float | None = None
        self.last_success: float | None = None
        self.error: ColdrootError | None = None
        """What the last attempt failed with; ``None`` after a success."""
        self.not_told: tuple[str, ...] = ()
        """Who could not be told of the last renewal, a line each."""

    def look(self, at: Moment) -> None:
        """Read the certificate if it is not the one that was read last."""
        seen = _signature(self.pair)
        if seen == self._seen:
            return
        first, self._seen = self._seen is None, seen
        try:
            leaf = renewing.load_chain(self.pair.certificate)[0]
            due = self._due(leaf, at)
            owed = self._work.owed(self.pair)
        except ColdrootError as error:
            self.leaf, self.due = None, None
            self._failed(error, at)
            return
        if self.leaf is None or leaf != self.leaf:
            if not first:
                self._work.say(f"{self.pair.name}: the certificate was replaced, next renewal {_span(due - at.wall)}")
            else:
                self._work.say(f"{self.pair.name}: first renewal {_span(due - at.wall)}")
            self._forget()
            self.leaf, self.due, self._owed = leaf, due, owed
            self._unrefreshed = bool(self.pair.outputs)

    def is_ready(self, at: Moment) -> bool:
        """Tell whether there is something to do now."""
        return self.busy_since is None and self.ready_in(at) <= 0

    def ready_in(self, at: Moment) -> float:
        """Return after how many seconds there is something to do; infinite when nobody knows."""
        if self._hurry:
            return 0.0
        if self._retry_at is not None:
            return self._retry_at - at.elapsed
        if self._unrefreshed or self._owed is not None:
            return 0.0
        return float("inf") if self.due is None else self.due - at.wall

    def hasten(self) -> None:
        """Renew at the next opportunity, whatever was planned."""
        self._hurry = True

    def is_stuck(self, at: Moment) -> bool:
        """Tell whether an attempt runs for longer than any honest one can."""
        hooks = self.pair.hooks
        commands = len(hooks.commands) * (hooks.retries + 1) * hooks.timeout.total_seconds()
        return self.busy_since is not None and at.elapsed - self.busy_since > _LONGEST_ATTEMPT + commands * 2

    def next_attempt(self, at: Moment) -> float | None:
        """Return when there is something to do next, seconds since 1970."""
        wait = self.ready_in(at)
        return None if wait == float("inf") else at.wall + max(wait, 0.0)

    def begin(self, at: Moment) -> None:
        """Take the turn: ``act`` is about to be started."""
        self.busy_since = self.last_turn = at.elapsed

    def act(self) -> None:
        """Do what is to be done: renew, or tell again. Never raises."""
        at = self._work.now()
        hurry, self._hurry = self._hurry, False
        try:
            due = hurry or self.due is None or at.wall >= self.due
            if due:
                self._renew(at)
            elif self._unrefreshed:
                self._work.refresh(self.pair)
                # Who is still to be told may read those files.
                owed = self._owed
                self._forget()
                self._owed = owed
            elif self._owed is not None:
                self._tell(self._owed)
            else:
                self._renew(at)
        except ColdrootError as error:
            self._failed(error, self._work.now())
        except Exception as error:  # noqa: BLE001 (an agent that ends because of one pair lets all others die)
            unexpected = Fatal("internal.unexpected", f"an unexpected {type(error).__name__} stopped the attempt")
            self._failed(unexpected, self._work.now())
        finally:
            self.busy_since = None

    def _renew(self, at: Moment) -> None:
        self.last_attempt = at.wall
        renewed = self._work.renew(self.pair, datetime.fromtimestamp(at.wall, UTC))
        after = self._work.now()
        self._forget()
        self._seen = _signature(self.pair)
        self.leaf = renewed.new
        self.due = self._due(renewed.new, after)
        self.last_success = after.wall
        what = "rekeyed" if renewed.rekeyed else "renewed"
        self._work.say(f"{self.pair.name}: certificate {what}, next {_span(self.due - after.wall)}")
        self._tell(renewed)

    def _due(self, leaf: x509.Certificate, at: Moment) -> float:
        """Return when a certificate is due; as any is, where what was said of it does not fit a life that got short."""
        chance = self._work.chance()
        try:
            return self.pair.due_at(leaf, now=at.wall, chance=chance)
        except RequestRejected as error:
            # To renew it at once would go on for ever: the next one is no longer.
            self._work.say(
                f"{self.pair.name}: error: {error.message} [{error.code}]; it is renewed at two thirds of it"
            )
            return replace(self.pair, expires_in=None, period=None).due_at(leaf, now=at.wall, chance=chance)

    def _tell(self, renewed: Renewed) -> None:
        self.not_told = self._work.tell(self.pair, renewed)
        if not self.not_told:
            if self._owed is not None:
                self._work.say(f"{self.pair.name}: all were told now")
            self._owed, self._retry_at, self.failures, self.error = None, None, 0, None
            return
        self._owed = renewed
        failed = RequestRejected("hook.failed", "; ".join(self.not_told))
        self._failed(failed, self._work.now())

    def _failed(self, error: ColdrootError, at: Moment) -> None:
        self.failures += 1
        self.error = error
        remaining, life = _UNKNOWN_REMAINING, _UNKNOWN_REMAINING
        if self.leaf is not None:
            remaining = self.leaf.not_valid_after_utc.timestamp() - at.wall
            life = lifetime(self.leaf).total_seconds()
        delay = retry_delay(
            self.failures,
            remaining=remaining,
            life=life,
            chance=self._work.chance(),
            asked=error.seconds if isinstance(error, AskedToWait) else 0.0,
        )
        self._retry_at = at.elapsed + delay
        left = "" if self.leaf is None else f"; the certificate {_end(remaining)}"
        self._work.say(f"{self.pair.name}: error: {error.message} [{error.code}]; next attempt {_span(delay)}{left}")

    def _forget(self) -> None:
        """Begin anew with another certificate."""
        self._owed, self._retry_at, self.failures, self.error, self.not_told = None, None, 0, None, ()
        self._unrefreshed = False


def in_turn(keepers: Iterable[Keeper]) -> list[Keeper]:
    """Return who is idle, in the order in which they get a free hand.

    In a fixed order the first few, if each of their attempts takes long, would leave no turn to the others.
    """
    idle = [keeper for keeper in keepers if keeper.busy_since is None]
    return sorted(idle, key=lambda each: each.last_turn)


def _signature(pair: Pair) -> object:
    """Return what changes when the file is replaced, or what the link before it leads to."""
    try:
        status = pair.certificate.stat()
    except OSError as error:
        return error.errno or -1
    return (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)


def _span(seconds: float) -> str:
    return "now" if seconds <= 0 else f"in {format_duration(timedelta(seconds=max(1, round(seconds))))}"


def _end(remaining: float) -> str:
    if remaining > 0:
        return f"ends {_span(remaining)}"
    return f"ENDED {format_duration(timedelta(seconds=round(-remaining)))} ago"
