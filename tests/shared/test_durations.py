"""Durations are Go's: an operator's ca.json must mean the same to both programs."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.durations import format_duration, parse_duration, parse_moment
from shared.errors import RequestRejected

NOW = datetime(2026, 11, 24, 6, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("24h", timedelta(hours=24)),
        ("24h0m0s", timedelta(hours=24)),
        ("1h30m", timedelta(minutes=90)),
        ("1.5s", timedelta(seconds=1.5)),
        (".5h", timedelta(minutes=30)),
        ("1.h", timedelta(hours=1)),
        ("-5m", timedelta(minutes=-5)),
        ("+5m", timedelta(minutes=5)),
        ("0", timedelta(0)),
        ("100ms", timedelta(milliseconds=100)),
        ("3us", timedelta(microseconds=3)),
        ("3µs", timedelta(microseconds=3)),
        ("1000ns", timedelta(microseconds=1)),
    ],
)
def test_go_notation(text: str, span: timedelta) -> None:
    """Without this a lifetime from a step-ca configuration would be read as another one."""
    assert parse_duration(text) == span


@pytest.mark.parametrize(
    "text", ["", "h", "5", "1d", "5 m", "5m ", "1h-5m", "--5m", "1e3s", "٣m", "0x5m", "5mm", "9" * 60 + "h" * 9]
)
def test_nonsense_is_refused(text: str) -> None:
    """A typo in a lifetime must not become some lifetime."""
    with pytest.raises(RequestRejected) as refused:
        parse_duration(text)
    assert refused.value.code == "duration.malformed"


def test_longer_than_go_holds() -> None:
    """Go's own parser overflows at 292 years; accepting more would make the two programs differ."""
    with pytest.raises(RequestRejected) as refused:
        parse_duration("9999999h")
    assert refused.value.code == "duration.too-long"


@given(st.timedeltas(min_value=timedelta(days=-90000), max_value=timedelta(days=90000)))
def test_what_is_written_reads_back(span: timedelta) -> None:
    """A configuration that we write must load again with the same meaning."""
    assert parse_duration(format_duration(span)) == span


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    """A parser that raises anything else would turn a bad request into a server error."""
    with contextlib.suppress(RequestRejected):
        parse_duration(text)


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(hours=24), "24h0m0s"),
        (timedelta(minutes=5), "5m0s"),
        (timedelta(milliseconds=1500), "1.5s"),
        (timedelta(milliseconds=2), "2ms"),
        (timedelta(microseconds=7), "7µs"),
        (timedelta(0), "0s"),
    ],
)
def test_written_as_go_prints(span: timedelta, text: str) -> None:
    """Tools that compare configurations as text would report a difference that is none."""
    assert format_duration(span) == text


def test_moments() -> None:
    """step sends times, durations or nothing in one field; each must keep its meaning."""
    assert parse_moment("", now=NOW) is None
    assert parse_moment("2h", now=NOW) == NOW + timedelta(hours=2)
    assert parse_moment("2026-11-24T07:00:00+01:00", now=NOW) == NOW
    assert parse_moment("2026-11-24T06:00:00Z", now=NOW) == NOW


@pytest.mark.parametrize("text", ["tomorrow", "2026-11-24", "2026-11-24T06:00:00", "2562047h99999999h", " 2h"])
def test_moments_without_meaning(text: str) -> None:
    """A time without a zone would be read in the server's zone, silently."""
    with pytest.raises(RequestRejected) as refused:
        parse_moment(text, now=NOW)
    assert refused.value.code == "time.malformed"
