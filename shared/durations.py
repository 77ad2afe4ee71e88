"""Durations in Go's notation (``24h``, ``5m``, ``1h30m``, ``1.5s``), both ways.

step-ca's configuration and wire format carry durations as Go writes them, so an operator's ``ca.json`` and
flags keep their meaning. The grammar is that of Go's ``time.ParseDuration``.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from shared.errors import RequestRejected

# Microseconds a unit; Python's timedelta resolves no finer.
_UNITS = {
    "ns": Fraction(1, 1000),
    "us": Fraction(1),
    "µs": Fraction(1),
    "μs": Fraction(1),
    "ms": Fraction(1000),
    "s": Fraction(1_000_000),
    "m": Fraction(60_000_000),
    "h": Fraction(3_600_000_000),
}
_TERM = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
# Go holds a duration in 64 bits of nanoseconds: about 292 years.
_LONGEST = timedelta(microseconds=(1 << 63) // 1000)


def parse_duration(text: str) -> timedelta:
    """Read a duration in Go's notation.

    Args:
        text: for example ``24h``, ``-5m``, ``1h30m``; ``0`` needs no unit.

    Raises:
        RequestRejected: ``duration.malformed`` or ``duration.too-long``.
    """
    body = text[1:] if text[:1] in {"+", "-"} else text
    if body == "0":
        return timedelta(0)
    total, position = Fraction(0), 0
    for term in _TERM.finditer(body):
        if term.start() != position:
            break
        total += Fraction(term[1].rstrip(".") or "0") * _UNITS[term[2]]
        position = term.end()
    if not body or position != len(body) or len(body) > 64:  # noqa: PLR2004 (no honest duration is longer)
        raise RequestRejected(
            "duration.malformed",
            f"{text[:64]!r} is not a duration",
            hint="write it as 24h, 5m, 90s or 1h30m",
        )
    if total > _LONGEST // timedelta(microseconds=1):
        raise RequestRejected("duration.too-long", f"the duration {text!r} is longer than 292 years")
    span = timedelta(microseconds=round(total))
    return -span if text.startswith("-") else span


def format_duration(span: timedelta) -> str:
    """Write a duration as Go prints it: ``24h0m0s``, ``5m0s``, ``1.5s``, ``0s``."""
    micros = span // timedelta(microseconds=1)
    sign, micros = ("-", -micros) if micros < 0 else ("", micros)
    if micros == 0:
        return "0s"
    if micros < 1000:  # noqa: PLR2004 (microseconds in a millisecond)
        return f"{sign}{micros}µs"
    if micros < 1_000_000:  # noqa: PLR2004 (microseconds in a second)
        return f"{sign}{_decimal(micros, 1000)}ms"
    minutes, rest = divmod(micros, 60_000_000)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{_decimal(rest, 1_000_000)}s"
    if hours:
        return f"{sign}{hours}h{minutes}m{seconds}"
    return f"{sign}{minutes}m{seconds}" if minutes else f"{sign}{seconds}"


def parse_moment(text: str, *, now: datetime) -> datetime | None:
    """Read a moment as step's flags and wire fields give it.

    Args:
        text: an RFC 3339 time, a Go duration relative to ``now``, or the empty string for "not given".
        now: aware UTC.

    Returns:
        The moment, aware UTC; ``None`` for the empty string.

    Raises:
        RequestRejected: ``time.malformed``.
    """
    if not text:
        return None
    if len(text) >= 20 and text[4:5] == "-":  # noqa: PLR2004 (the shortest RFC 3339 date-time)
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            moment = None
        if moment is not None and moment.tzinfo is not None:
            return moment.astimezone(UTC)
    else:
        try:
            return now + parse_duration(text)
        except (RequestRejected, OverflowError):
            pass
    raise RequestRejected(
        "time.malformed",
        f"{text[:64]!r} is neither a time nor a duration",
        hint="write 2026-12-31T23:59:59Z, or 24h to count from now",
    )


def _decimal(amount: int, unit: int) -> str:
    whole, rest = divmod(amount, unit)
    if not rest:
        return str(whole)
    return f"{whole}.{str(rest).zfill(len(str(unit)) - 1).rstrip('0')}"
