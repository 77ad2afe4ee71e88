"""Checks of a certificate before its real signature: each rule a function, each finding with its source."""

from __future__ import annotations

from shared.lint.finding import Finding, Severity
from shared.lint.rules import lint_certificate

__all__ = ["Finding", "Severity", "lint_certificate"]
