"""When a certificate is due for renewal: a pure function of the certificate, the time and a draw of chance.

Invariant: the same arguments give the same decision; nothing is read here, neither a clock nor randomness.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509

from shared.durations import parse_duration
from shared.errors import RequestRejected
from shared.issue import lifetime

# step's rule: renew when a third of the life remains, earlier by up to a twentieth of that at random, so that
# certificates issued in the same minute do not all come back in the same minute.
_REMAINING = 3
_JITTER = 20
_PERCENT = re.compile(r"([0-9]{1,2}|100)%", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Whether a certificate is to be renewed now, and why."""

    due: bool
    remaining: timedelta
    """Time until the certificate ends; negative after it."""
    due_in: timedelta
    """Time until it becomes due; zero or negative when it is."""


def needs_renewal(
    certificate: x509.Certificate, now: datetime, expires_in: timedelta | None = None, *, chance: float = 0.0
) -> Need:
    """Decide whether a certificate is due.

    Args:
        certificate: the one in use.
        now: aware UTC.
        expires_in: how long before its end it becomes due; a third of its life when not given.
        chance: from 0 up to 1, drawn by the caller: brings the moment forward by up to a twentieth of
            ``expires_in``.
    """
    window = expires_in if expires_in is not None else lifetime(certificate) / _REMAINING
    remaining = certificate.not_valid_after_utc - now
    due_in = remaining - window - window / _JITTER * chance
    return Need(due=due_in <= timedelta(0), remaining=remaining, due_in=due_in)


def parse_expires_in(text: str, certificate: x509.Certificate) -> timedelta:
    """Read ``--expires-in``: a Go duration, or a percentage of the certificate's life as ``33%``.

    Raises:
        RequestRejected: ``duration.*``, or ``renew.expires-in`` when it is not positive or longer than the life.
    """
    percent = _PERCENT.fullmatch(text)
    span = lifetime(certificate) * int(percent[1]) / 100 if percent else parse_duration(text)
    if not timedelta(0) < span <= lifetime(certificate):
        raise RequestRejected(
            "renew.expires-in",
            f"--expires-in {text[:32]} is not within the certificate's life",
            hint="give the time before its end, such as 8h, or a share of its life, such as 33%",
        )
    return span
