"""Keeping this process's memory to itself, as far as the system lets an ordinary process."""

from __future__ import annotations

import os
import resource

from ceremony.host.finding import Check, HostFinding, Verdict, ask
from ceremony.host.prctl import forbid_dumping, lock_memory


def harden_process() -> tuple[HostFinding, ...]:
    """Keep this process's memory off the disk and out of other processes' reach, as far as the system lets us.

    1. No core file: RLIMIT_CORE is 0 for good.
    2. Not dumpable: no core goes to a crash-report program either (those ignore the limit), and other processes
       of the same user cannot attach.
    3. Memory stays out of swap. Only where there is no limit on locked memory: with one, later allocations
       would fail in the middle of a ceremony.
    """
    return (
        ask(Check.CORE_DUMPS, _forbid_core_files),
        ask(Check.PTRACE, _forbid_dumping),
        ask(Check.MEMORY_LOCK, _lock_memory),
    )


def _forbid_core_files() -> Verdict:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return True, "core files are limited to nothing"


def _forbid_dumping() -> Verdict:
    forbid_dumping()
    return True, "this process is closed to dumping and to tracing by its own user"


def _lock_memory() -> Verdict:
    _, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if hard != resource.RLIM_INFINITY and os.geteuid() != 0:
        return False, f"memory is not locked: the system allows {hard} bytes only"
    try:
        lock_memory()
    except OSError as error:
        return False, f"memory is not locked: {error.strerror}"
    return True, "memory is locked in place"
