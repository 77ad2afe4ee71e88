"""A fleet of certificates, its agents and a CA that is away at times: when each request comes, and what expires.

The agents' rules are the product's own functions (``online.renewal.schedule``), called with simulated time and chance.
Machines do not influence each other, so one after the other is followed from the first day to the last; a CA is only a
list of times at which it does not answer. The same seed gives the same figures.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from online.renewal.schedule import renewal_moment, retry_delay

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
LIFE = DAY
WINDOW = LIFE / 3
BACKDATE = MINUTE
_STEP_RETRY = MINUTE
_POLL = 30.0
# When people close their machines, give or take an hour: at night, and for lunch.
_SPREAD = 2 * HOUR
_SLEEPS = ((-1.0 * HOUR, 6.5 * HOUR), (12.0 * HOUR, 13.0 * HOUR), (23.0 * HOUR, 30.5 * HOUR))


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What happens to a fleet."""

    name: str
    outage: float = 0.0
    """Hours for which the CA is away, from the eighth day's tenth hour on."""
    together: bool = False
    """Whether all certificates were issued in the same minute; else evenly over the time between two renewals."""
    skew: float = 0.0
    """Seconds by which a machine's clock may be wrong, either way."""
    sleepers: float = 0.0
    """Share of the machines that sleep at night and over lunch."""

    @property
    def away(self) -> tuple[float, float]:
        """From when until when the CA does not answer, in seconds from the beginning."""
        start = 7 * DAY + 10 * HOUR
        return start, start + self.outage * HOUR


@dataclass(kw_only=True)
class Result:
    """What was seen."""

    scenario: Scenario
    policy: str
    days: int
    count: int
    minutes: list[int] = field(default_factory=list)
    """Requests that reached the CA, by minute."""
    expired: int = 0
    """How often a certificate ended while its machine was awake, and was renewed only afterwards."""
    waited: list[float] = field(default_factory=list)
    """Of each renewal that an outage delayed: how long after the CA's return it came."""

    @property
    def mean(self) -> float:
        """Requests a second over the whole time, but the first day and what the outage moved."""
        return self.count / ((2 / 3 - 1 / 40) * LIFE)

    @property
    def peak(self) -> float:
        """Requests a second in the busiest minute."""
        return max(self.minutes) / MINUTE

    def recovery(self) -> tuple[float, float, float] | None:
        """Return peak and mean, requests a second, until nine of ten of those who waited were served, and the hours."""
        if not self.waited:
            return None
        back = self.scenario.away[1]
        until = sorted(self.waited)[int(len(self.waited) * 0.9)]
        first, last = int(back // MINUTE), int((back + until) // MINUTE) + 1
        seen = self.minutes[first:last]
        return max(seen) / MINUTE, sum(seen) / len(seen) / MINUTE, until / HOUR


Retry = Callable[[int, float, float, float], float]
"""From failures in a row, seconds of life, a draw and the seconds until the CA's return, to those until an attempt."""

Asleep = Callable[[float, float], float]


def _ours(failures: int, remaining: float, chance: float, away: float) -> float:
    del away
    return retry_delay(failures, remaining=remaining, life=LIFE, chance=chance)


def _step(failures: int, remaining: float, chance: float, away: float) -> float:
    del failures, remaining, chance
    # Each minute: straight to the first attempt that gets through.
    return math.ceil(away / _STEP_RETRY) * _STEP_RETRY


RETRIES: dict[str, Retry] = {"coldroot": _ours, "step": _step}


def simulate(scenario: Scenario, policy: str, *, count: int, days: int, seed: int = 1) -> Result:
    """Follow a fleet.

    Args:
        scenario: what happens.
        policy: ``coldroot`` or ``step``.
        count: certificates.
        days: how long.
        seed: of chance.
    """
    result = Result(scenario=scenario, policy=policy, days=days, count=count)
    result.minutes = [0] * (int(days * DAY // MINUTE) + 1)
    draw = random.Random(seed).random  # noqa: S311 (a simulation)
    for _ in range(count):
        begin = (draw() * MINUTE if scenario.together else -draw() * 2 / 3 * LIFE) - BACKDATE
        skew = (2 * draw() - 1) * scenario.skew
        shift = (draw() - 0.5) * _SPREAD
        asleep = None
        if draw() < scenario.sleepers:
            asleep = partial(_overslept, shift=shift) if policy == "step" else partial(_awake, shift=shift, draw=draw)
        _follow(result, begin, skew, asleep, draw)
    return result


def _follow(result: Result, begin: float, skew: float, asleep: Asleep | None, draw: Callable[[], float]) -> None:
    """Follow one machine to the end.

    Args:
        result: takes what is seen.
        begin: notBefore of its first certificate.
        skew: by which its clock is ahead.
        asleep: from when a wait begins, and when it shall end, to when it does, on a machine that sleeps.
        draw: draws chance.
    """
    retry, minutes, until = RETRIES[result.policy], result.minutes, result.days * DAY
    away, back = result.scenario.away
    seen = begin + BACKDATE
    while True:
        end = begin + LIFE
        # The agent reckons with its own clock; what it plans happens when that clock shows it.
        planned = renewal_moment(begin, end, seen + skew, window=WINDOW, chance=draw()) - skew
        moment = max(planned, seen)
        if asleep is not None:
            moment = asleep(seen, moment)
        failures = 0
        while away <= moment < back:
            failures += 1
            wait = retry(failures, end - (moment + skew), draw(), back - moment)
            moment = moment + wait if asleep is None else asleep(moment, moment + wait)
        if moment >= until:
            return
        minutes[int(moment // MINUTE)] += 1
        if failures:
            result.waited.append(moment - back)
        if moment > end and (asleep is None or asleep(end, end) + MINUTE < moment):
            result.expired += 1
        seen = moment
        begin = moment - BACKDATE


def _awake(begun: float, planned: float, *, shift: float, draw: Callable[[], float]) -> float:
    """Return when an agent that looks at the wall clock acts: at once, or up to half a minute after it woke."""
    del begun
    of_day = (planned - shift) % DAY
    for start, stop in _SLEEPS:
        if start <= of_day < stop:
            return planned - of_day + stop + _POLL * draw()
    return planned


_EDGES = sorted({edge for start, stop in _SLEEPS for edge in (start, stop) if 0 <= edge < DAY})


def _overslept(begun: float, planned: float, *, shift: float) -> float:
    """Return when a timer fires that stands still while the machine sleeps."""
    left, now = planned - begun, begun
    while True:
        of_day = (now - shift) % DAY
        asleep = next((stop for start, stop in _SLEEPS if start <= of_day < stop), None)
        if asleep is not None:
            # Half a second beyond: sums of floats may stop just before an edge, for ever.
            now += asleep - of_day + 0.5
            continue
        position = bisect_right(_EDGES, of_day)
        span = (_EDGES[position] if position < len(_EDGES) else DAY + _EDGES[0]) - of_day
        if left <= span:
            return now + left
        left -= span
        now += span + 0.5
