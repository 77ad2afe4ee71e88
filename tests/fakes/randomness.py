"""Randomness that a test can repeat."""

from __future__ import annotations

import random
from collections.abc import Callable


def seeded(seed: int) -> Callable[[int], bytes]:
    """Return a generator of bytes that gives the same stream for the same seed."""
    return random.Random(seed).randbytes  # noqa: S311 (repeatable on purpose)
