"""The checks: what each fact of the machine means for a ceremony.

Invariants: a check never raises; the checks decide on what ``Probes`` report, so each verdict can be tested anywhere;
every check gives one finding, in a fixed order, on every machine.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from ceremony.host.finding import Check, HostFinding, Verdict, ask
from ceremony.host.linux import LinuxProbes
from ceremony.host.probes import Probes
from shared.clock import Clock, SystemClock, rfc3339

BUILT = datetime(2026, 11, 24, tzinfo=UTC)
"""This version was made then: a clock that shows an earlier time is wrong."""

_CLOCKS_AGREE = timedelta(minutes=2)
_NOBODY_TRACES = 1
"""From this ptrace_scope on, only a parent or the administrator can trace."""


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
        ask(Check.INTERFACES, lambda: _interfaces(facts)),
        ask(Check.ROUTES, lambda: _routes(facts)),
        ask(Check.RADIOS, lambda: _radios(facts)),
        ask(Check.USB, lambda: _usb(facts)),
        ask(Check.SWAP, lambda: _swap(facts)),
        ask(Check.HIBERNATION, lambda: _hibernation(facts)),
        ask(Check.DISKS, lambda: _disks(facts)),
        ask(Check.CORE_DUMPS, lambda: _core_dumps(facts)),
        ask(Check.SUID_DUMPS, lambda: _suid_dumps(facts)),
        ask(Check.PTRACE, lambda: _ptrace(facts)),
        ask(Check.PTRACE_SCOPE, lambda: _ptrace_scope(facts)),
        ask(Check.CLOCK, lambda: _clock(now, max(not_before, BUILT))),
        ask(Check.HARDWARE_CLOCK, lambda: _hardware_clock(facts, now)),
        ask(Check.INSTALLATION, lambda: _installation(facts)),
    )


def _interfaces(facts: Probes) -> Verdict:
    others = sorted(set(facts.interfaces()) - {"lo"})
    if others:
        return False, f"network interfaces are present: {_few(others)}"
    return True, "no network interface but loopback"


def _routes(facts: Probes) -> Verdict:
    others = sorted(set(facts.routes()) - {"lo"})
    if others:
        return False, f"there are routes over {_few(others)}"
    return True, "no route leads off this machine"


def _swap(facts: Probes) -> Verdict:
    areas = sorted(facts.swap_areas())
    if areas:
        return False, f"swap is on ({_few(areas)}): memory can be written to a disk; run swapoff -a"
    return True, "no swap"


def _core_dumps(facts: Probes) -> Verdict:
    if not facts.dumpable():
        return True, "this process cannot be dumped"
    if facts.core_pattern().startswith("|"):
        return False, "core dumps go to a program, which no limit stops"
    if facts.core_limit() != 0:
        return False, "core dumps are allowed"
    return True, "core dumps are limited to nothing"


def _ptrace(facts: Probes) -> Verdict:
    tracer = facts.tracer()
    if tracer:
        return False, f"process {tracer} is tracing this one"
    if facts.dumpable():
        return False, "other processes of this user may trace this one"
    return True, "nobody traces this process"


def _clock(now: datetime, not_before: datetime) -> Verdict:
    if now < not_before:
        return False, f"the clock says {rfc3339(now)}, which is before {rfc3339(not_before)}: it is wrong"
    return True, f"the clock says {rfc3339(now)}: compare it with another one"


def _radios(facts: Probes) -> Verdict:
    radios = facts.radios()
    if loud := [each.name for each in radios if not each.blocked]:
        return False, f"radios can transmit ({_few(loud)}): take them out, or run rfkill block all"
    return True, f"every radio is blocked ({_few([each.name for each in radios])})" if radios else "no radio"


def _usb(facts: Probes) -> Verdict:
    devices = facts.usb_devices()
    if talking := [each.name for each in devices if each.talks]:
        return False, f"USB devices that can talk to others: {_few(talking)}"
    if devices:
        return True, f"USB devices: {_few([each.name for each in devices])}: is each of them expected?"
    return True, "no USB device"


def _hibernation(facts: Probes) -> Verdict:
    if device := facts.hibernates_to():
        return False, f"hibernation would write memory to device {device}: write 0:0 to /sys/power/resume"
    return True, "hibernation has nowhere to write memory to"


def _disks(facts: Probes) -> Verdict:
    # What people carry away, they also control; what stays in the machine could keep what nobody noticed.
    writable = sorted({each.path for each in facts.mounts() if each.writable and not each.removable})
    if writable:
        return False, f"built-in disks or other machines are mounted for writing at {_few(writable)}"
    return True, "only removable media can be written"


def _suid_dumps(facts: Probes) -> Verdict:
    if rule := facts.suid_dumpable():
        return (
            False,
            f"fs.suid_dumpable is {rule}: dumps of privileged programs are kept; run sysctl -w fs.suid_dumpable=0",
        )
    return True, "privileged programs are never dumped"


def _ptrace_scope(facts: Probes) -> Verdict:
    scope = facts.ptrace_scope()
    if scope < _NOBODY_TRACES:
        return False, "programs may trace each other: run sysctl -w kernel.yama.ptrace_scope=3"
    return True, f"tracing is restricted (kernel.yama.ptrace_scope is {scope})"


def _hardware_clock(facts: Probes, now: datetime) -> Verdict:
    hardware = facts.hardware_clock()
    if abs(hardware - now) > _CLOCKS_AGREE:
        return False, f"the hardware clock says {rfc3339(hardware)}, the system {rfc3339(now)}: set both, in UTC"
    return True, "the hardware clock agrees with the system's"


def _installation(facts: Probes) -> Verdict:
    if faults := facts.installation_faults():
        return False, f"not as it was installed: {'; '.join(faults)}"
    return True, "every installed file is as it was installed"


def _few(names: Iterable[str]) -> str:
    listed = list(names)
    shown = ", ".join(listed[:4])
    return shown if len(listed) <= 4 else f"{shown} and {len(listed) - 4} more"  # noqa: PLR2004 (as many as fit a line)
