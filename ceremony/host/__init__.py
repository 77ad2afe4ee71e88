"""Is this machine fit for a ceremony? Questions to the Linux kernel and to the installation, without privileges.

Call ``harden_process`` first: it takes away what ``check_host`` then looks at (core dumps, tracing).
"""

from ceremony.host.checks import BUILT, check_host
from ceremony.host.finding import Check, HostFinding, Status, air_gap_breaches, breaches
from ceremony.host.hardening import harden_process
from ceremony.host.human_clock import check_stated_time, parse_stated_time
from ceremony.host.linux import LinuxProbes
from ceremony.host.probes import Mount, Probes, Radio, UsbDevice

__all__ = [
    "BUILT",
    "Check",
    "HostFinding",
    "LinuxProbes",
    "Mount",
    "Probes",
    "Radio",
    "Status",
    "UsbDevice",
    "air_gap_breaches",
    "breaches",
    "check_host",
    "check_stated_time",
    "harden_process",
    "parse_stated_time",
]
