"""Policy: which names and keys the owner of the CA lets be certified, and why each decision fell as it did."""

from __future__ import annotations

from online.policy.engine import Decision, KeyFacts, Policy, Wanted, decide, enforce
from online.policy.load import parse_policy

__all__ = ["Decision", "KeyFacts", "Policy", "Wanted", "decide", "enforce", "parse_policy"]
