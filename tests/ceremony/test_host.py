"""Host checks: every verdict, once by given facts and once on this very machine."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fakes.clock import NOON, FakeClock

from ceremony.host import (
    BUILT,
    Check,
    HostFinding,
    LinuxProbes,
    Mount,
    Radio,
    Status,
    UsbDevice,
    air_gap_breaches,
    breaches,
    check_host,
    check_stated_time,
    parse_stated_time,
)
from shared.errors import RequestRejected


@dataclass(frozen=True)
class Told:
    """Facts as the test tells them: by default those of a machine that is fit."""

    told_interfaces: tuple[str, ...] = ("lo",)
    told_routes: tuple[str, ...] = ("lo", "lo")
    told_swap: tuple[str, ...] = ()
    told_limit: int = 0
    told_pattern: str = "core"
    told_dumpable: bool = False
    told_tracer: int = 0
    told_radios: tuple[Radio, ...] = ()
    told_usb: tuple[UsbDevice, ...] = (UsbDevice(name="Reader (1050:0030)", talks=False),)
    told_resume: str = ""
    told_mounts: tuple[Mount, ...] = (
        Mount(source="/dev/sdb1", path="/media/stick", kind="vfat", writable=True, removable=True),
    )
    told_suid: int = 0
    told_scope: int = 3
    told_hardware_clock: datetime = NOON + timedelta(seconds=30)
    told_faults: tuple[str, ...] = ()

    def interfaces(self) -> tuple[str, ...]:
        return self.told_interfaces

    def routes(self) -> tuple[str, ...]:
        return self.told_routes

    def swap_areas(self) -> tuple[str, ...]:
        return self.told_swap

    def core_limit(self) -> int:
        return self.told_limit

    def core_pattern(self) -> str:
        return self.told_pattern

    def dumpable(self) -> bool:
        return self.told_dumpable

    def tracer(self) -> int:
        return self.told_tracer

    def radios(self) -> tuple[Radio, ...]:
        return self.told_radios

    def usb_devices(self) -> tuple[UsbDevice, ...]:
        return self.told_usb

    def hibernates_to(self) -> str:
        return self.told_resume

    def mounts(self) -> tuple[Mount, ...]:
        return self.told_mounts

    def suid_dumpable(self) -> int:
        return self.told_suid

    def ptrace_scope(self) -> int:
        return self.told_scope

    def hardware_clock(self) -> datetime:
        return self.told_hardware_clock

    def installation_faults(self) -> tuple[str, ...]:
        return self.told_faults


AIR_GAP = {Check.INTERFACES, Check.ROUTES, Check.RADIOS, Check.USB}


def built_in(*, path: str, writable: bool = True) -> Mount:
    return Mount(source="/dev/nvme0n1p2", path=path, kind="ext4", writable=writable, removable=False)


class Silent:
    """A system that tells nothing."""

    def interfaces(self) -> tuple[str, ...]:
        raise PermissionError

    def routes(self) -> tuple[str, ...]:
        raise FileNotFoundError

    def swap_areas(self) -> tuple[str, ...]:
        raise FileNotFoundError

    def core_limit(self) -> int:
        raise OSError

    def core_pattern(self) -> str:
        raise UnicodeDecodeError("utf-8", b"", 0, 1, "")

    def dumpable(self) -> bool:
        raise OSError

    def tracer(self) -> int:
        raise ValueError

    def radios(self) -> tuple[Radio, ...]:
        raise FileNotFoundError

    def usb_devices(self) -> tuple[UsbDevice, ...]:
        raise FileNotFoundError

    def hibernates_to(self) -> str:
        raise FileNotFoundError

    def mounts(self) -> tuple[Mount, ...]:
        raise ValueError

    def suid_dumpable(self) -> int:
        raise ValueError

    def ptrace_scope(self) -> int:
        raise FileNotFoundError

    def hardware_clock(self) -> datetime:
        raise OverflowError

    def installation_faults(self) -> tuple[str, ...]:
        raise PermissionError


def one(check: Check, findings: tuple[HostFinding, ...]) -> HostFinding:
    (found,) = (each for each in findings if each.check is check)
    assert "\n" not in found.detail
    return found


def test_fit_machine_passes_everything() -> None:
    """A check that fails on a fit machine teaches people to ignore it."""
    findings = check_host(probes=Told(), clock=FakeClock())
    assert {each.check for each in findings} == set(Check) - {Check.STATED_TIME, Check.MEMORY_LOCK}
    assert len(findings) == len(set(findings))
    assert {each.status for each in findings} == {Status.PASS}
    assert breaches(findings) == ()


@pytest.mark.parametrize(
    ("facts", "check", "detail"),
    [
        (Told(told_interfaces=("lo", "wlan0", "eth0")), Check.INTERFACES, "eth0, wlan0"),
        (Told(told_interfaces=tuple(f"if{n}" for n in range(9))), Check.INTERFACES, "and 5 more"),
        (Told(told_routes=("lo", "eth0")), Check.ROUTES, "over eth0"),
        (Told(told_swap=("/dev/zram0",)), Check.SWAP, "/dev/zram0"),
        (Told(told_dumpable=True, told_limit=-1), Check.CORE_DUMPS, "allowed"),
        (Told(told_dumpable=True, told_pattern="|/usr/bin/apport"), Check.CORE_DUMPS, "program"),
        (Told(told_dumpable=True), Check.PTRACE, "may trace"),
        (Told(told_tracer=77), Check.PTRACE, "process 77"),
        (Told(told_radios=(Radio(name="phy0", blocked=False),)), Check.RADIOS, "phy0"),
        (Told(told_usb=(UsbDevice(name="1234:5678", talks=True),)), Check.USB, "1234:5678"),
        (Told(told_resume="259:2"), Check.HIBERNATION, "259:2"),
        (Told(told_mounts=(built_in(path="/home"),)), Check.DISKS, "/home"),
        (Told(told_suid=2), Check.SUID_DUMPS, "fs.suid_dumpable is 2"),
        (Told(told_scope=0), Check.PTRACE_SCOPE, "ptrace_scope=3"),
        (Told(told_hardware_clock=NOON - timedelta(hours=1)), Check.HARDWARE_CLOCK, "in UTC"),
        (Told(told_faults=("coldroot: ceremony/root.py was changed",)), Check.INSTALLATION, "ceremony/root.py"),
    ],
)
def test_each_breach_is_found(facts: Told, check: Check, detail: str) -> None:
    """Each fact that endangers the ceremony must fail its own check, and say what was seen."""
    findings = check_host(probes=facts, clock=FakeClock())
    found = one(check, findings)
    assert found.status is Status.FAIL
    assert detail in found.detail
    assert found in breaches(findings)
    assert bool(air_gap_breaches(findings)) is (check in AIR_GAP)


def test_no_core_limit_is_needed_where_nothing_can_be_dumped() -> None:
    """PR_SET_DUMPABLE outranks limit and pattern; failing anyway would make a real ceremony impossible."""
    findings = check_host(probes=Told(told_limit=-1, told_pattern="|x"), clock=FakeClock())
    assert one(Check.CORE_DUMPS, findings).status is Status.PASS
    findings = check_host(probes=Told(told_dumpable=True), clock=FakeClock())
    assert one(Check.CORE_DUMPS, findings).status is Status.PASS


def test_unknown_is_a_breach() -> None:
    """What cannot be found out is not good news: a machine that hides its interfaces is not air-gapped."""
    findings = check_host(probes=Silent(), clock=FakeClock())
    unknown = {each.check for each in findings if each.status is Status.UNKNOWN}
    assert unknown == set(Check) - {Check.STATED_TIME, Check.MEMORY_LOCK, Check.CLOCK}
    assert {each.check for each in breaches(findings)} == unknown
    assert {each.check for each in air_gap_breaches(findings)} == AIR_GAP


def test_what_is_silent_or_read_only_is_no_breach() -> None:
    """A blocked radio and a disk that is only read endanger nothing; failing over them would stop every laptop."""
    facts = Told(told_radios=(Radio(name="phy0", blocked=True),), told_mounts=(built_in(path="/", writable=False),))
    assert breaches(check_host(probes=facts, clock=FakeClock())) == ()


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (f"{NOON:%Y-%m-%dT%H:%M}", Status.PASS),
        (f"{NOON + timedelta(minutes=3):%Y-%m-%d %H:%M}z", Status.PASS),
        (f"{NOON - timedelta(minutes=4):%Y-%m-%dT%H:%M:%SZ}", Status.FAIL),
        (f"{NOON + timedelta(hours=1):%Y-%m-%dT%H:%M}", Status.FAIL),
        (f"{NOON + timedelta(days=366):%Y-%m-%dT%H:%M}", Status.FAIL),
    ],
)
def test_a_persons_watch(text: str, status: Status) -> None:
    """A machine whose two clocks were set wrong together is found out by nobody but a person."""
    found = check_stated_time(NOON, parse_stated_time(text))
    assert found.status is status
    assert (found in breaches([found])) is (status is Status.FAIL)


@pytest.mark.parametrize(
    "text", ["", "08:30", "2026-13-01T00:00", "2026-11-24T08:30+01:00", "yesterday", "2026-11-24T8"]
)
def test_a_time_that_is_not_one(text: str) -> None:
    """A local time taken for UTC is wrong by hours and looks right."""
    with pytest.raises(RequestRejected) as refused:
        parse_stated_time(text)
    assert refused.value.code == "host.stated-time"


@pytest.mark.parametrize(
    ("now", "not_before", "status"),
    [
        (BUILT, BUILT, Status.PASS),
        (BUILT - timedelta(seconds=1), BUILT, Status.FAIL),
        (datetime(1970, 1, 1, tzinfo=UTC), datetime(1960, 1, 1, tzinfo=UTC), Status.FAIL),
        (NOON, NOON + timedelta(seconds=1), Status.FAIL),
    ],
    ids=["the day it was built", "before", "1970, and nobody asked", "before the last record"],
)
def test_clock(now: datetime, not_before: datetime, status: Status) -> None:
    """A dead battery dates a root to 1970; nothing later would trust it."""
    found = one(Check.CLOCK, check_host(probes=Told(), clock=FakeClock(now), not_before=not_before))
    assert found.status is status
    assert now.strftime("%Y-%m-%dT%H:%M:%SZ") in found.detail


def test_findings_are_recordable() -> None:
    """The host report goes into the transcript, which takes plain JSON only."""
    found = one(Check.PTRACE, check_host(probes=Told(told_tracer=1), clock=FakeClock()))
    assert json.loads(json.dumps(found.to_json())) == {
        "check": "ptrace",
        "status": "fail",
        "detail": "process 1 is tracing this one",
    }


def test_probes_answer_here() -> None:
    """A probe that guesses wrong about Linux's files would be unknown on every machine."""
    probes = LinuxProbes()
    assert "lo" in probes.interfaces()
    assert isinstance(probes.routes(), tuple)
    assert isinstance(probes.swap_areas(), tuple)
    assert probes.core_limit() >= -1
    assert probes.core_pattern() is not None
    assert probes.tracer() >= 0
    assert isinstance(probes.dumpable(), bool)


PROGRAM = """
import json, sys
sys.path.insert(0, sys.argv[1])
from ceremony import host
hardened = host.harden_process()
print(json.dumps([[each.to_json() for each in found] for found in (hardened, host.check_host())]))
"""


def elsewhere(*before: str) -> tuple[dict[str, str], dict[str, str]]:
    """Harden and check in a process of its own; return check → status of both."""
    root = str(Path(__file__).parents[2])
    command = [*before, sys.executable, "-c", PROGRAM, root]
    hardened, checked = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return ({each["check"]: each["status"] for each in hardened}, {each["check"]: each["status"] for each in checked})


def test_hardening_holds() -> None:
    """What harden_process claims must be what the kernel then reports."""
    hardened, checked = elsewhere()
    assert hardened["core-dumps"] == hardened["ptrace"] == "pass"
    assert hardened["memory-lock"] in {"pass", "fail"}
    assert checked["core-dumps"] == "pass"
    assert checked["ptrace"] == "pass"


def _may_unshare() -> bool:
    unshare = shutil.which("unshare")
    return (
        unshare is not None
        and subprocess.run([unshare, "-n", "true"], capture_output=True, check=False).returncode == 0
    )


@pytest.mark.skipif(not _may_unshare(), reason="this user may not make a network namespace")
def test_network_namespace_is_an_air_gap() -> None:
    """The check must see this process's own namespace, not the host's devices in /sys."""
    _, checked = elsewhere("unshare", "-n")
    assert checked["interfaces"] == "pass"
    assert checked["routes"] == "pass"


@pytest.mark.skipif(set(LinuxProbes().interfaces()) == {"lo"}, reason="this machine has no network at all")
def test_networked_machine_is_no_air_gap() -> None:
    """The machine that runs the tests has a network: a pass here would be a blind check."""
    _, checked = elsewhere()
    assert checked["interfaces"] == "fail"


def test_memory_lock_alone_is_no_breach() -> None:
    """Without swap nothing can be swapped out; refusing over it would stop every unprivileged ceremony."""
    hardened = (HostFinding(check=Check.MEMORY_LOCK, status=Status.FAIL, detail="not locked"),)
    assert breaches(hardened) == ()
    assert breaches([replace(hardened[0], check=Check.SWAP)]) != ()
