"""The raw facts that the checks decide on, as one interface: so each verdict can be tested on any machine."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Radio:
    """A transmitter the kernel knows: Wi-Fi, Bluetooth, mobile."""

    name: str
    blocked: bool
    """Whether a switch, in hardware or in the kernel, keeps it silent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A mounted file system."""

    source: str
    """A device's path, or what the file system calls its source."""
    path: str
    kind: str
    """The file system's name: ``ext4``, ``tmpfs``, ``nfs4``."""
    writable: bool
    removable: bool
    """Whether it lies on a medium that people carry away: a stick, a card, whatever is attached by USB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsbDevice:
    """A USB device that is plugged in, or built in."""

    name: str
    """What it calls itself, or its vendor and product number."""
    talks: bool
    """Whether one of its interfaces is a radio, a modem or a network adapter."""


class Probes(Protocol):
    """Raw facts about machine, process and installation.

    Each may raise ``OSError`` or ``ValueError``: unknown then.
    """

    def interfaces(self) -> tuple[str, ...]:
        """Return the names of all network interfaces of this network namespace."""
        ...

    def routes(self) -> tuple[str, ...]:
        """Return the interface of every route, IPv4 and IPv6."""
        ...

    def radios(self) -> tuple[Radio, ...]:
        """Return every radio."""
        ...

    def usb_devices(self) -> tuple[UsbDevice, ...]:
        """Return every USB device but the machine's own hubs."""
        ...

    def swap_areas(self) -> tuple[str, ...]:
        """Return the names of all active swap areas."""
        ...

    def hibernates_to(self) -> str:
        """Return where memory would be written in hibernation, empty for nowhere."""
        ...

    def mounts(self) -> tuple[Mount, ...]:
        """Return the mounted file systems that lie on a disk or on another machine."""
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

    def suid_dumpable(self) -> int:
        """Return the kernel's rule for dumps of privileged programs: 0 none, 1 all, 2 as root (proc(5))."""
        ...

    def tracer(self) -> int:
        """Return the process id of the debugger of this process, 0 for none."""
        ...

    def ptrace_scope(self) -> int:
        """Return the rule of the Yama security module: 0 anybody of the same user may trace, 3 nobody."""
        ...

    def hardware_clock(self) -> datetime:
        """Return the time of the battery-backed clock, taken as UTC."""
        ...

    def installation_faults(self) -> tuple[str, ...]:
        """Return what is not as it was installed, each in a few words; see ``installed``."""
        ...
