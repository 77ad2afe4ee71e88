"""The machine's clock against a person's: a clock that was set wrong looks right to everything on the machine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ceremony.host.finding import Check, HostFinding, Status
from shared.clock import rfc3339
from shared.errors import RequestRejected

TOLERANCE = timedelta(minutes=3)
"""A person reads whole minutes, and takes a while to type them."""


def parse_stated_time(text: str) -> datetime:
    """Read the time that a person read off a clock.

    Args:
        text: UTC as ``2026-11-24T08:30``; a space instead of the T, seconds and a final ``Z`` may be there.

    Raises:
        RequestRejected: ``host.stated-time``.
    """
    try:
        read = datetime.fromisoformat(text.strip().upper().removesuffix("Z"))
    except ValueError:
        read = None
    if read is None or read.tzinfo is not None:
        raise RequestRejected(
            "host.stated-time", "the time is not a date and a time in UTC", hint="write it as 2026-11-24T08:30"
        )
    return read.replace(tzinfo=UTC)


def check_stated_time(now: datetime, stated: datetime) -> HostFinding:
    """Compare the machine's clock with what a person read off another one.

    Args:
        now: of this machine.
        stated: from ``parse_stated_time``, read within the last minute or two.
    """
    apart = abs(now - stated)
    said = f"a person says {rfc3339(stated)}, the machine {rfc3339(now)}"
    if apart > TOLERANCE:
        return HostFinding(check=Check.STATED_TIME, status=Status.FAIL, detail=f"{said}: one of the two is wrong")
    return HostFinding(check=Check.STATED_TIME, status=Status.PASS, detail=said)
