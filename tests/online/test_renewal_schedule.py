"""When a certificate is due: a pure function, so every edge can be asked."""

from __future__ import annotations

from datetime import timedelta

import pytest
from fakes.step_ca import FakeCa
from hypothesis import given, settings
from hypothesis import strategies as st

from online.renewal.schedule import needs_renewal, parse_expires_in
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
