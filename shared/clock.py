"""Time as a parameter: aware UTC for certificates, never read inside the pure core."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the wall-clock time."""

    def now(self) -> datetime:
        """Return the present moment, aware, in UTC."""
        ...


class SystemClock:
    """The clock of the operating system."""

    def now(self) -> datetime:
        """Return the system's time, aware, in UTC."""
        return datetime.now(UTC)


def whole_seconds(moment: datetime) -> datetime:
    """Drop the fraction of a second: X.509 times have none (RFC 5280 §4.1.2.5)."""
    return moment.replace(microsecond=0)


def rfc3339(moment: datetime) -> str:
    """Format an aware moment as RFC 3339 in UTC with whole seconds, for example ``2026-11-24T06:00:00Z``."""
    return whole_seconds(moment.astimezone(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")
