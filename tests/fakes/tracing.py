"""Killing a process at a chosen system call, by ptrace(2): the kernel stops it before and after each, and so counts.

What strace's fault injection does, for a function of this process in a forked child: no start of an interpreter, so a
thousand kills take seconds.
"""

from __future__ import annotations

import ctypes
import os
import signal
import warnings
from collections.abc import Callable

_TRACEME, _CONT, _SYSCALL, _SETOPTIONS = 0, 7, 24, 0x4200
# Bit 7 of the signal tells a stop at a system call from a real SIGTRAP; and no tracee outlives its tracer.
_TRACESYSGOOD, _EXITKILL = 0x1, 0x100000
_AT_CALL = signal.SIGTRAP | 0x80


def killed_at_call(number: int, action: Callable[[], object]) -> bool:
    """Run an action in a child that dies of SIGKILL just before its n-th system call, counted from 0.

    Args:
        number: which call.
        action: touches files only; threads of other tests do not matter to it.

    Returns:
        Whether there was such a call; without one the action ran to its end.
    """
    child = _forked(action)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
    libc.ptrace.restype = ctypes.c_long
    os.waitpid(child, 0)
    libc.ptrace(_SETOPTIONS, child, None, _TRACESYSGOOD | _EXITKILL)
    entered, inside = 0, False
    while True:
        libc.ptrace(_SYSCALL, child, None, None)
        status = os.waitpid(child, 0)[1]
        if not os.WIFSTOPPED(status):
            assert os.waitstatus_to_exitcode(status) == 0, "the action failed"
            return False
        if os.WSTOPSIG(status) != _AT_CALL:
            continue
        inside = not inside
        if inside:
            if entered == number:
                # A process that is killed at the entry of a call never does it.
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return True
            entered += 1


def can_trace() -> bool:
    """Tell whether this machine lets a process trace its own child."""
    try:
        return killed_at_call(0, os.getppid)
    except (OSError, AssertionError):
        return False


def _forked(action: Callable[[], object]) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        return child
    status = 1
    try:
        ctypes.CDLL(None).ptrace(_TRACEME, 0, None, None)
        os.kill(os.getpid(), signal.SIGSTOP)
        action()
        status = 0
    finally:
        os._exit(status)
