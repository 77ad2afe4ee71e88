"""What a rule says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a finding weighs: an error stops the signature, a notice is recorded."""

    ERROR = "error"
    NOTICE = "notice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One breach of one rule."""

    code: str
    """Stable and dotted, for example ``serial.too-long``."""
    severity: Severity
    message: str
    """One line, safe to show."""
    citation: str
    """The clause that the rule comes from."""
