"""When a certificate is due: a pure function, so every edge can be asked."""

from __future__ import annotations

from datetime import timedelta

import pytest
from fakes.step_ca import FakeCa
from hypothesis import given, settings
from hypothesis import strategies as st

from online.renewal.schedule import (
    needs_renewal,
    parse_expires_in,
    periodic_moment,
    renewal_moment,
    retry_delay,
)
from shared import keys
from shared.errors import RequestRejected
from shared.keys import KeyKind

LEAF = FakeCa().leaf(keys.generate(KeyKind.EC_P256).public_key(), "foo.local", life=timedelta(hours=24))[0]
BEGIN, END = LEAF.not_valid_before_utc, LEAF.not_valid_after_utc
SECOND = timedelta(seconds=1)


def test_a_third_of_life_remains() -> None:
    """Step's rule, and the one that leaves eight hours to mend a CA that is down."""
    assert not needs_renewal(LEAF, END - timedelta(hours=8) - SECOND).due
    assert needs_renewal(LEAF, END - timedelta(hours=8)).due
    assert needs_renewal(LEAF, END + timedelta(days=1)).due


def test_expires_in_moves_the_moment() -> None:
    """An operator who runs cron once a day needs another window."""
    assert not needs_renewal(LEAF, END - timedelta(hours=4) - SECOND, timedelta(hours=4)).due
    assert needs_renewal(LEAF, END - timedelta(hours=4), timedelta(hours=4)).due


@given(chance=st.floats(0, 1, exclude_max=True), hours=st.floats(0, 30))
@settings(max_examples=100)
def test_chance_only_brings_it_forward_by_a_twentieth(chance: float, hours: float) -> None:
    """Jitter that could delay a renewal would eat into the time there is to repair a failure."""
    now = BEGIN + timedelta(hours=hours)
    plain, jittered = needs_renewal(LEAF, now), needs_renewal(LEAF, now, chance=chance)
    assert timedelta(0) <= plain.due_in - jittered.due_in <= timedelta(hours=8) / 20
    assert jittered.due or not plain.due


@pytest.mark.parametrize(("text", "hours"), [("8h", 8), ("50%", 12), ("90m", 1.5), ("100%", 24)])
def test_expires_in_as_duration_or_share(text: str, hours: float) -> None:
    """Both notations that step's commands take."""
    assert parse_expires_in(text, LEAF) == timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "0", "-1h", "25h", "101%", "0%", "1.5%", "soon", "٣h"])
def test_senseless_windows_are_refused(text: str) -> None:
    """A window longer than the life would renew at every run; a negative one never, until it is too late."""
    with pytest.raises(RequestRejected):
        parse_expires_in(text, LEAF)


DAY = 86400.0
chances = st.floats(0, 1, exclude_max=True)


@given(now=st.floats(-DAY, 2 * DAY), chance=chances)
def test_an_agent_renews_at_two_thirds_of_life(now: float, chance: float) -> None:
    """Never later, never more than a twentieth of the life earlier, and not in one moment after a common start."""
    moment = renewal_moment(0.0, DAY, now, window=DAY / 3, chance=chance)
    assert DAY * (2 / 3 - 1 / 20) - 1e-6 <= moment <= DAY * 2 / 3
    # Who begins to watch late is not sent into the past by chance: that would be everybody's same moment, now.
    assert moment >= min(now, DAY * 2 / 3)


@given(
    failures=st.integers(1, 10**6),
    remaining=st.floats(-400 * DAY, 400 * DAY),
    chance=chances,
    asked=st.floats(0, 10 * DAY),
)
def test_there_is_always_another_attempt_and_in_time(
    failures: int, remaining: float, chance: float, asked: float
) -> None:
    """A wait beyond the end of the life is a certificate that expires although the CA is back."""
    wait = retry_delay(failures, remaining=remaining, life=DAY, chance=chance, asked=asked)
    assert wait >= 1.0
    assert wait <= (12 * 3600 + 1 if remaining > 0 else 3600 + 1) + min(asked, max(remaining / 2, 3600))
    if remaining > 60:
        assert wait < remaining * 0.98


def test_waits_grow_from_seconds_to_hours() -> None:
    """A short break is over in seconds, and a long one must not become a storm."""
    waits = [retry_delay(each, remaining=8 * 3600, life=DAY, chance=0.5) for each in range(1, 9)]
    assert waits[:4] == [2.5, 30.0, 360.0, 4320.0]
    assert waits == sorted(waits)
    assert retry_delay(9, remaining=8 * 3600, life=DAY, chance=0.0) == 1.0
    # After the end it goes on, more often.
    assert retry_delay(9, remaining=-1, life=DAY, chance=0.5) == 1800


def test_a_busy_ca_s_wish_is_the_least() -> None:
    """Who comes earlier than asked keeps the CA busy; who is told by all at once must still not come all at once."""
    for chance in (0.0, 0.5, 0.99):
        assert retry_delay(1, remaining=8 * 3600, life=DAY, chance=chance, asked=120) >= 120
    assert retry_delay(1, remaining=600, life=DAY, chance=0.0, asked=10**6) <= 301


@given(chance=chances)
def test_a_period_counts_from_the_beginning(chance: float) -> None:
    """An agent that is restarted each hour must still renew each eighth."""
    assert 8 * 3600 * 0.95 - 1e-6 <= periodic_moment(0.0, period=8 * 3600, chance=chance) <= 8 * 3600
