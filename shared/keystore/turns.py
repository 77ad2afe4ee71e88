"""One process at a time opens a token.

A module whose tokens are files rewrites them at each login: SoftHSM does, and a process that lists its tokens, or
looks for a key, in that instant finds a file half written, and with it no token. A node opens its key in several
processes at once. So all processes of a machine that open a token of one module do so in turn, by a kernel lock on
the module's own file, which every one of them can read and which goes with a process that dies.

The turn is a courtesy and no protection: whoever may read the module could keep it for ever. Therefore nobody waits
longer than ``PATIENCE_SECONDS``; then the token is opened all the same, as it is without this.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

PATIENCE_SECONDS = 10.0
_LOOK_SECONDS = 0.005


@contextlib.contextmanager
def turn(module: Path) -> Iterator[None]:
    """Have a module's tokens for oneself during the block, as far as others keep to it.

    Args:
        module: the file of the PKCS#11 module. Where it cannot be opened or locked the block runs without a turn.
    """
    descriptor = _open(module)
    if descriptor is None:
        yield
        return
    try:
        _wait(descriptor)
        yield
    finally:
        os.close(descriptor)


def _open(module: Path) -> int | None:
    # A descriptor of its own each time: one that a fork handed on would be the same lock in both processes.
    try:
        return os.open(module, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def _wait(descriptor: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOOK_SECONDS)
        except OSError:
            return
        else:
            return
