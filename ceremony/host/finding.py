"""What a check of the host found, and which findings end a real ceremony.

Invariants: a check never raises, and what cannot be found out is ``unknown``, which counts as a breach.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias


class Status(StrEnum):
    """The outcome of one check."""

    PASS = "pass"  # noqa: S105 (a verdict, not a password)
    FAIL = "fail"
    UNKNOWN = "unknown"


class Check(StrEnum):
    """What is looked at."""

    INTERFACES = "interfaces"
    ROUTES = "routes"
    RADIOS = "radios"
    USB = "usb"
    SWAP = "swap"
    HIBERNATION = "hibernation"
    DISKS = "disks"
    CORE_DUMPS = "core-dumps"
    SUID_DUMPS = "suid-dumps"
    PTRACE = "ptrace"
    PTRACE_SCOPE = "ptrace-scope"
    CLOCK = "clock"
    HARDWARE_CLOCK = "hardware-clock"
    STATED_TIME = "stated-time"
    INSTALLATION = "installation"
    MEMORY_LOCK = "memory-lock"


_AIR_GAP = frozenset({Check.INTERFACES, Check.ROUTES, Check.RADIOS, Check.USB})

Verdict: TypeAlias = "tuple[bool, str]"
"""Whether it is well, and what was seen, in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFinding:
    """What one check found, in one line."""

    check: Check
    status: Status
    detail: str

    def to_json(self) -> dict[str, str]:
        """Return the finding for a transcript record."""
        return {"check": self.check.value, "status": self.status.value, "detail": self.detail}


def ask(check: Check, question: Callable[[], Verdict]) -> HostFinding:
    """Put one question; an answer that cannot be had is a finding too."""
    try:
        good, detail = question()
    except (OSError, ValueError, IndexError, OverflowError) as error:
        return HostFinding(
            check=check, status=Status.UNKNOWN, detail=f"cannot be found out on this system ({type(error).__name__})"
        )
    return HostFinding(check=check, status=Status.PASS if good else Status.FAIL, detail=detail)


def breaches(findings: Iterable[HostFinding]) -> tuple[HostFinding, ...]:
    """Return what a real ceremony must not start with: every finding that is not a pass.

    A missing memory lock is left out: without swap, which is its own check, nothing can be swapped out.
    """
    return tuple(each for each in findings if each.status is not Status.PASS and each.check is not Check.MEMORY_LOCK)


def air_gap_breaches(findings: Iterable[HostFinding]) -> tuple[HostFinding, ...]:
    """Return the breaches that concern the network; unknown counts as one."""
    return tuple(each for each in breaches(findings) if each.check in _AIR_GAP)
