"""prctl(2) and mlockall(2), which Python does not offer."""

from __future__ import annotations

import ctypes
import os

_PR_GET_DUMPABLE = 3
_PR_SET_DUMPABLE = 4
_MCL_CURRENT_FUTURE_ONFAULT = 1 | 2 | 4


def is_dumpable() -> bool:
    """Tell whether this process can be dumped, and traced by its own user.

    Raises:
        OSError: the kernel does not say.
    """
    return _prctl(_PR_GET_DUMPABLE) != 0


def forbid_dumping() -> None:
    """Close this process to dumping, and to tracing by its own user.

    Raises:
        OSError: the kernel refuses.
    """
    _prctl(_PR_SET_DUMPABLE, 0)


def lock_memory() -> None:
    """Keep all pages of this process, present and future, in memory once they are touched.

    Raises:
        OSError: the kernel refuses.
    """
    if _libc().mlockall(_MCL_CURRENT_FUTURE_ONFAULT) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int = 0) -> int:
    # prctl(2) takes unsigned longs; without the wrapping a 64-bit call would read garbage above an int.
    outcome = int(_libc().prctl(option, *(ctypes.c_ulong(each) for each in (value, 0, 0, 0))))
    if outcome < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return outcome
