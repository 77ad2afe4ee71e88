"""The facts, from system calls, ``/proc`` and ``/sys`` of this Linux machine.

Invariant: interfaces are asked of the kernel, not of ``/sys/class/net``, which shows another namespace's devices.
"""

from __future__ import annotations

import resource
import socket
from datetime import UTC, datetime
from pathlib import Path

from ceremony.host.installed import faults
from ceremony.host.prctl import is_dumpable
from ceremony.host.probes import Mount, Radio, UsbDevice

_SYS = Path("/sys")
_PROC = Path("/proc")

# USB class codes (usb.org, defined class codes): communications, wireless controller.
_TALKING_CLASSES = frozenset({"02", "e0"})
_HUB_CLASS = "09"
_REMOTE_KINDS = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "glusterfs", "afs", "virtiofs", "fuse.sshfs"})


class LinuxProbes:
    """The facts of this machine. See ``Probes`` for each of them."""

    def __init__(self, *, sys: Path = _SYS, proc: Path = _PROC) -> None:
        """Begin.

        Args:
            sys: where sysfs is mounted.
            proc: where procfs is mounted.
        """
        self._sys = sys
        self._proc = proc

    def interfaces(self) -> tuple[str, ...]:
        """See ``Probes``."""
        return tuple(name for _, name in socket.if_nameindex())

    def routes(self) -> tuple[str, ...]:
        """See ``Probes``: the first column of the IPv4 table, the last one of the IPv6 table."""
        ipv4 = [line.split()[0] for line in _lines(self._proc / "net/route")[1:]]
        # A kernel without IPv6 has no such file, and no such routes.
        ipv6 = [line.split()[-1] for line in _lines(self._proc / "net/ipv6_route", missing_is_empty=True)]
        return tuple(ipv4 + ipv6)

    def radios(self) -> tuple[Radio, ...]:
        """See ``Probes``: rfkill's switches, and every Wi-Fi or Bluetooth device that has none."""
        switches = {
            _text(each / "name"): "1" in {_text(each / "soft"), _text(each / "hard")} for each in self._class("rfkill")
        }
        devices = [
            each.name for kind in ("ieee80211", "bluetooth") for each in self._class(kind) if ":" not in each.name
        ]
        return tuple(Radio(name=name, blocked=switches.get(name, False)) for name in sorted({*switches, *devices}))

    def usb_devices(self) -> tuple[UsbDevice, ...]:
        """See ``Probes``."""
        directory = self._sys / "bus/usb/devices"
        if not directory.is_dir():
            # No USB controller at all, as long as sysfs is there to say so.
            (self._sys / "bus").stat()
            return ()
        # An interface's name has a colon, a root hub's begins with "usb".
        devices = [each for each in sorted(directory.iterdir()) if ":" not in each.name and each.name[:3] != "usb"]
        return tuple(_usb(each) for each in devices if _text(each / "bDeviceClass") != _HUB_CLASS)

    def swap_areas(self) -> tuple[str, ...]:
        """See ``Probes``: zram counts too, it is where secrets would be copied to."""
        return tuple(line.split()[0] for line in _lines(self._proc / "swaps")[1:])

    def hibernates_to(self) -> str:
        """See ``Probes``: the device that ``/sys/power/resume`` names, unless the kernel cannot hibernate."""
        power = self._sys / "power"
        power.stat()
        if not (power / "resume").exists() or "disk" not in _text(power / "state").split():
            return ""
        device = _text(power / "resume")
        return "" if device == "0:0" else device

    def mounts(self) -> tuple[Mount, ...]:
        """See ``Probes``."""
        found = []
        for line in _lines(self._proc / "self/mounts"):
            source, path, kind, options = line.split()[:4]
            if source.startswith("/dev/") or kind in _REMOTE_KINDS:
                writable = "rw" in options.split(",")
                found.append(
                    Mount(source=source, path=path, kind=kind, writable=writable, removable=self._removable(source))
                )
        return tuple(found)

    def core_limit(self) -> int:
        """See ``Probes``: the hard limit, which this process cannot raise again."""
        return resource.getrlimit(resource.RLIMIT_CORE)[1]

    def core_pattern(self) -> str:
        """See ``Probes``."""
        return _text(self._proc / "sys/kernel/core_pattern")

    def dumpable(self) -> bool:
        """See ``Probes``."""
        return is_dumpable()

    def suid_dumpable(self) -> int:
        """See ``Probes``."""
        return int(_text(self._proc / "sys/fs/suid_dumpable"))

    def tracer(self) -> int:
        """See ``Probes``."""
        for line in _lines(self._proc / "self/status"):
            if line.startswith("TracerPid:"):
                return int(line.split()[1])
        raise ValueError("no TracerPid")

    def ptrace_scope(self) -> int:
        """See ``Probes``."""
        return int(_text(self._proc / "sys/kernel/yama/ptrace_scope"))

    def hardware_clock(self) -> datetime:
        """See ``Probes``: the first one, which is the one the system starts from."""
        return datetime.fromtimestamp(int(_text(self._sys / "class/rtc/rtc0/since_epoch")), tz=UTC)

    def installation_faults(self) -> tuple[str, ...]:
        """See ``Probes``."""
        return faults()

    def _class(self, name: str) -> list[Path]:
        directory = self._sys / "class"
        # Without sysfs nothing is known; without the class's directory the kernel has no such device.
        return sorted(each for each in directory.iterdir() if each.name == name for each in each.iterdir())

    def _removable(self, source: str) -> bool:
        device = self._sys / "class/block" / Path(source).name
        if not device.exists():
            return False
        # A partition's own directory lies in its disk's; a disk behind USB often calls itself fixed.
        real = device.resolve()
        flags = [each / "removable" for each in (real, real.parent)]
        return any("usb" in part for part in real.parts) or any(each.is_file() and _text(each) == "1" for each in flags)


def _usb(device: Path) -> UsbDevice:
    classes = {_text(each / "bInterfaceClass") for each in device.glob(f"{device.name}:*")}
    number = f"{_text(device / 'idVendor')}:{_text(device / 'idProduct')}"
    product = _text(device / "product") if (device / "product").is_file() else ""
    # A device can call itself anything; what is shown stays on one line.
    shown = ascii(product[:40])[1:-1]
    talks = bool((classes | {_text(device / "bDeviceClass")}) & _TALKING_CLASSES)
    return UsbDevice(name=f"{shown} ({number})" if shown else number, talks=talks)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").strip()


def _lines(path: Path, *, missing_is_empty: bool = False) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        if missing_is_empty:
            return []
        raise
