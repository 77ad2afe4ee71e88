"""When a certificate is due for renewal: a pure function of the certificate, the time and a draw of chance.

Invariant: the same arguments give the same decision; nothing is read here, neither a clock nor randomness.

The rules themselves are functions of numbers, seconds since 1970 and draws from 0 up to 1, so that
``scripts/simulate-fleet`` runs the very rules that the agent runs, some millions of times.
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
# Retries: from seconds to the rest of the life, in few steps. Each step is one more crowd of certificates that
# comes at the same time when a CA returns, so they are few; docs/renewal.md has the figures.
_FIRST_WAIT = 5.0
_GROWTH = 12.0
_SHORTEST_WAIT = 1.0
_LONGEST_WAIT = 12 * 3600.0
# What is left over of a life, and of what remains of it: the last attempts take time too, and clocks are never right.
_SPARED = 0.03
_SPARED_OF_LIFE = 100
_LAST_WAIT = 120.0
_ENDED_SHARE = 24
_ENDED_WAIT = (60.0, 3600.0)
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
    window = window_of(certificate, expires_in)
    remaining = certificate.not_valid_after_utc - now
    due_in = remaining - window - window / _JITTER * chance
    return Need(due=due_in <= timedelta(0), remaining=remaining, due_in=due_in)


def renewal_moment(begin: float, end: float, now: float, *, window: float, chance: float) -> float:
    """Return when an agent that watches a certificate renews it; a moment in the past means now.

    It is the beginning of the window, brought forward by up to a twentieth of the life, as in ``step ca renew``: a
    fleet that was installed in one minute does not come back in one. An agent that starts within that last twentieth
    draws from what is left of it.

    Args:
        begin: notBefore.
        end: notAfter.
        now: when the agent begins to watch it.
        window: seconds before the end.
        chance: drawn once a certificate.
    """
    moment = end - window
    room = min(max(moment - now, 0.0), (end - begin) / _JITTER)
    return moment - room * chance


def periodic_moment(begin: float, *, period: float, chance: float) -> float:
    """Return when a certificate is renewed that is to be replaced each period, whatever life is left.

    Args:
        begin: notBefore.
        period: seconds.
        chance: brings it forward by up to a twentieth of the period.
    """
    return begin + period - period / _JITTER * chance


def retry_delay(failures: int, *, remaining: float, life: float, chance: float, asked: float = 0.0) -> float:
    """Return how long to wait after a failure: exponential, with full jitter.

    The k-th wait is drawn from 0 up to five seconds times twelve to the power of k-1, but never nearly up to the end of
    the certificate: whatever is drawn, there is another attempt while it lives. The nearer the end, the closer the
    attempts. After the end they go on, at the pace of a twenty-fourth of the life, at most an hour.

    Args:
        failures: how many attempts in a row failed; at least 1.
        remaining: seconds until the end; negative after it.
        life: seconds from notBefore to notAfter.
        chance: drawn for this failure.
        asked: the CA's wish (``Retry-After``) in seconds. It is the least, but for the second half of what remains.
    """
    if remaining > 0:
        usable = remaining * (1 - _SPARED)
        cap = min(max(usable - life / _SPARED_OF_LIFE, min(usable, _LAST_WAIT)), _LONGEST_WAIT)
        asked = min(asked, remaining / 2)
    else:
        least, most = _ENDED_WAIT
        cap = min(max(life / _ENDED_SHARE, least), most)
        asked = min(asked, most)
    # The exponent is bounded: a number too large for a float would be an error after a year of failures.
    window = min(_FIRST_WAIT * _GROWTH ** min(failures - 1, 10), cap)
    wait = max(window * chance, _SHORTEST_WAIT)
    # Everybody was told the same number: chance comes on top of it.
    return asked + min(wait, max(cap - asked, _SHORTEST_WAIT))


def window_of(certificate: x509.Certificate, expires_in: timedelta | None) -> timedelta:
    """Return how long before its end a certificate becomes due: as asked, or a third of its life."""
    return expires_in if expires_in is not None else lifetime(certificate) / _REMAINING


def check_expires_in(text: str) -> None:
    """Insist that a text can be read as ``--expires-in``, whatever certificate it is held against.

    Raises:
        RequestRejected: ``duration.*``.
    """
    if not _PERCENT.fullmatch(text):
        parse_duration(text)


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
