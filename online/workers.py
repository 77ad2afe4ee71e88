"""How many workers a node has."""

from __future__ import annotations

import os

MOST_WORKERS = 64


def default_workers() -> int:
    """Return how many there are unless somebody says otherwise: one fewer than there are cores, at least one.

    The recorder, or the database server, and whatever else the machine does need a core as well. A worker that has to
    share its own with them finds its caches emptied: measured, it then adds more to the cost of each answer than to
    their number.
    """
    # What this process may run on; a service manager can leave it fewer than the machine has.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores - 1, MOST_WORKERS))
