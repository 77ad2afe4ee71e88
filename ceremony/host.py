"""Is this machine fit for a ceremony? Questions to the Linux kernel, asked from Python without privileges.

Invariants:

* a check never raises: what cannot be found out is ``unknown``, and unknown counts as a breach;
* the checks decide on what ``Probes`` report, so each verdict can be tested anywhere;
* interfaces are asked of the kernel, not of ``/sys/class/net``, which shows another namespace's devices.

Call ``harden_process`` first: it takes away what ``check_host`` then looks at (core dumps, tracing).
"""

from __future__ import annotations

import ctypes
import os
import resource
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from shared.clock import Clock, SystemClock, rfc3339

BUILT = datetime(2026, 11, 24, tzinfo=UTC)
"""This version was made then: a clock that shows an earlier time is wrong."""

_PR_GET_DUMPABLE = 3
_PR_SET_DUMPABLE = 4
_MCL_CURRENT_FUTURE_ONFAULT = 1 | 2 | 4


class Status(StrEnum):
    """The outcome of one check."""

    PASS = "pass"  # noqa: S105 (a verdict, not a password)
    FAIL = "fail"
    UNKNOWN = "unknown"


class Check(StrEnum):
    """What is looked at."""

    INTERFACES = "interfaces"
    ROUTES = "routes"
    SWAP = "swap"
    CORE_DUMPS = "core-dumps"
    PTRACE = "ptrace"
    CLOCK = "clock"
    MEMORY_LOCK = "memory-lock"


_AIR_GAP = frozenset({Check.INTERFACES, Check.ROUTES})


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFinding:
    """What one check found, in one line."""

    check: Check
    status: Status
    detail: str

    def to_json(self) -> dict[str, str]:
        """Return the finding for a transcript record."""
        return {"check": self.check.value, "status": self.status.value, "detail": self.detail}


class Probes(Protocol):
    """Raw facts about the machine and this process. Each may raise ``OSError`` or ``ValueError``: unknown then."""

    def interfaces(self) -> tuple[str, ...]:
        """Return the names of all network interfaces of this network namespace."""
        ...

    def routes(self) -> tuple[str, ...]:
        """Return the interface of every route, IPv4 and IPv6."""
        ...

    def swap_areas(self) -> tuple[str, ...]:
        """Return the names of all active swap areas."""
        ...

    def core_limit(self) -> int:
        """Return this process's limit for core dumps in bytes, -1 for none."""
        ...

    def core_pattern(self) -> str:
        """Return where the kernel sends core dumps; a leading ``|`` means a program."""
        ...

    def dumpable(self) -> bool:
        """Tell whether this process can be dumped, and traced by its own user."""
        ...

    def tracer(self) -> int:
        """Return the process id of the debugger of this process, 0 for none."""
        ...


class LinuxProbes:
    """The facts, from system calls and ``/proc``."""

    def interfaces(self) -> tuple[str, ...]:
        """See ``Probes``."""
        return tuple(name for _, name in socket.if_nameindex())

    def routes(self) -> tuple[str, ...]:
        """See ``Probes``: the first column of the IPv4 table, the last one of the IPv6 table."""
        ipv4 = [line.split()[0] for line in _lines("/proc/net/route")[1:]]
        # A kernel without IPv6 has no such file, and no such routes.
        ipv6 = [line.split()[-1] for line in _lines("/proc/net/ipv6_route", missing_is_empty=True)]
        return tuple(ipv4 + ipv6)

    def swap_areas(self) -> tuple[str, ...]:
        """See ``Probes``: zram counts too, it is where secrets would be copied to."""
        return tuple(line.split()[0] for line in _lines("/proc/swaps")[1:])

    def core_limit(self) -> int:
        """See ``Probes``: the hard limit, which this process cannot raise again."""
        return resource.getrlimit(resource.RLIMIT_CORE)[1]

    def core_pattern(self) -> str:
        """See ``Probes``."""
        return Path("/proc/sys/kernel/core_pattern").read_text(encoding="utf-8").strip()

    def dumpable(self) -> bool:
        """See ``Probes``: prctl(2), PR_GET_DUMPABLE."""
        return _prctl(_PR_GET_DUMPABLE) != 0

    def tracer(self) -> int:
        """See ``Probes``."""
        for line in _lines("/proc/self/status"):
            if line.startswith("TracerPid:"):
                return int(line.split()[1])
        raise ValueError("no TracerPid")


def check_host(
    *, probes: Probes | None = None, clock: Clock | None = None, not_before: datetime = BUILT
) -> tuple[HostFinding, ...]:
    """Look at the machine and at this process; every check gives one finding, in a fixed order.

    Args:
        probes: where the facts come from; by default this Linux machine.
        clock: by default the system's.
        not_before: a clock before this moment is wrong: the build date, or the last record of a transcript.
    """
    facts = probes or LinuxProbes()
    now = (clock or SystemClock()).now()
    return (
        _ask(Check.INTERFACES, lambda: _interfaces(facts)),
        _ask(Check.ROUTES, lambda: _routes(facts)),
        _ask(Check.SWAP, lambda: _swap(facts)),
        _ask(Check.CORE_DUMPS, lambda: _core_dumps(facts)),
        _ask(Check.PTRACE, lambda: _ptrace(facts)),
        _ask(Check.CLOCK, lambda: _clock(now, max(not_before, BUILT))),
    )


def breaches(findings: Iterable[HostFinding]) -> tuple[HostFinding, ...]:
    """Return what a real ceremony must not start with: every finding that is not a pass.

    A missing memory lock is left out: without swap, which is its own check, nothing can be swapped out.
    """
    return tuple(each for each in findings if each.status is not Status.PASS and each.check is not Check.MEMORY_LOCK)


def air_gap_breaches(findings: Iterable[HostFinding]) -> tuple[HostFinding, ...]:
    """Return the breaches that concern the network; unknown counts as one."""
    return tuple(each for each in breaches(findings) if each.check in _AIR_GAP)


def harden_process() -> tuple[HostFinding, ...]:
    """Keep this process's memory off the disk and out of other processes' reach, as far as the system lets us.

    1. No core file: RLIMIT_CORE is 0 for good.
    2. Not dumpable: no core goes to a crash-report program either (those ignore the limit), and other processes
       of the same user cannot attach.
    3. Memory stays out of swap. Only where there is no limit on locked memory: with one, later allocations
       would fail in the middle of a ceremony.
    """
    return (
        _ask(Check.CORE_DUMPS, _forbid_core_files),
        _ask(Check.PTRACE, _forbid_dumping),
        _ask(Check.MEMORY_LOCK, _lock_memory),
    )


_Verdict = tuple[bool, str]


def _ask(check: Check, question: Callable[[], _Verdict]) -> HostFinding:
    try:
        good, detail = question()
    except (OSError, ValueError, IndexError) as error:
        return HostFinding(
            check=check, status=Status.UNKNOWN, detail=f"cannot be found out on this system ({type(error).__name__})"
        )
    return HostFinding(check=check, status=Status.PASS if good else Status.FAIL, detail=detail)


def _interfaces(facts: Probes) -> _Verdict:
    others = sorted(set(facts.interfaces()) - {"lo"})
    if others:
        return False, f"network interfaces are present: {_few(others)}"
    return True, "no network interface but loopback"


def _routes(facts: Probes) -> _Verdict:
    others = sorted(set(facts.routes()) - {"lo"})
    if others:
        return False, f"there are routes over {_few(others)}"
    return True, "no route leads off this machine"


def _swap(facts: Probes) -> _Verdict:
    areas = sorted(facts.swap_areas())
    if areas:
        return False, f"swap is on ({_few(areas)}): memory can be written to a disk; run swapoff -a"
    return True, "no swap"


def _core_dumps(facts: Probes) -> _Verdict:
    if not facts.dumpable():
        return True, "this process cannot be dumped"
    if facts.core_pattern().startswith("|"):
        return False, "core dumps go to a program, which no limit stops"
    if facts.core_limit() != 0:
        return False, "core dumps are allowed"
    return True, "core dumps are limited to nothing"


def _ptrace(facts: Probes) -> _Verdict:
    tracer = facts.tracer()
    if tracer:
        return False, f"process {tracer} is tracing this one"
    if facts.dumpable():
        return False, "other processes of this user may trace this one"
    return True, "nobody traces this process"


def _clock(now: datetime, not_before: datetime) -> _Verdict:
    if now < not_before:
        return False, f"the clock says {rfc3339(now)}, which is before {rfc3339(not_before)}: it is wrong"
    return True, f"the clock says {rfc3339(now)}: compare it with another one"


def _forbid_core_files() -> _Verdict:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return True, "core files are limited to nothing"


def _forbid_dumping() -> _Verdict:
    _prctl(_PR_SET_DUMPABLE, 0)
    return True, "this process is closed to dumping and to tracing by its own user"


def _lock_memory() -> _Verdict:
    _, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if hard != resource.RLIM_INFINITY and os.geteuid() != 0:
        return False, f"memory is not locked: the system allows {hard} bytes only"
    if _libc().mlockall(_MCL_CURRENT_FUTURE_ONFAULT) != 0:
        return False, f"memory is not locked: {os.strerror(ctypes.get_errno())}"
    return True, "memory is locked in place"


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int = 0) -> int:
    # prctl(2) takes unsigned longs; without the wrapping a 64-bit call would read garbage above an int.
    outcome = int(_libc().prctl(option, *(ctypes.c_ulong(each) for each in (value, 0, 0, 0))))
    if outcome < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return outcome


def _lines(path: str, *, missing_is_empty: bool = False) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        if missing_is_empty:
            return []
        raise


def _few(names: list[str]) -> str:
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"  # noqa: PLR2004 (as many as fit a line)
