"""When does a certificate need renewal? The rule of ``step certificate needs-renewal``: a share of its life has passed.

Mind the difference to ``online.renewal.schedule``: there, as in ``step ca renew``, a percentage is what *remains*.
Pure: the time is an argument.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

from cryptography import x509

from shared.durations import parse_duration
from shared.errors import RequestRejected
from shared.issue import lifetime

_PERCENT = re.compile(r"([0-9]{1,3})%", re.ASCII)
_WHOLE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """The moment in a certificate's life from which on it needs renewal. One of the two is set."""

    passed: Fraction | None = None
    """Share of the life that has passed, from 0 to 1."""
    remaining: timedelta | None = None
    """Time before the end."""

    def reached(self, certificate: x509.Certificate, now: datetime) -> bool:
        """Tell whether a certificate needs renewal.

        Args:
            certificate: in use.
            now: aware UTC.
        """
        left = certificate.not_valid_after_utc - now
        if self.remaining is not None:
            return left <= self.remaining
        assert self.passed is not None
        life = lifetime(certificate)
        return (life - left) * self.passed.denominator >= life * self.passed.numerator


DEFAULT = Threshold(passed=Fraction(66, 100))


def parse_threshold(text: str) -> Threshold:
    """Read ``--expires-in``: ``75%`` of the life have passed, or less than ``1h15m`` remain.

    Raises:
        RequestRejected: ``renew.expires-in`` or ``duration.*``.
    """
    percent = _PERCENT.fullmatch(text)
    if percent is None:
        return Threshold(remaining=parse_duration(text))
    if int(percent[1]) > _WHOLE:
        raise RequestRejected("renew.expires-in", f"--expires-in {text} is more than the whole life")
    return Threshold(passed=Fraction(int(percent[1]), _WHOLE))
