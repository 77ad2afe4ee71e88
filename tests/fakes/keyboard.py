"""A keyboard on which a test types: each time it is opened, the next of the given texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


def types(text_for: Callable[[int], str]) -> Any:
    """Return a keyboard for ``AtTerminal``: what is typed at the first opening, the second, and so on, from 1."""
    opened = [0]

    @contextmanager
    def keyboard() -> Iterator[Iterator[str]]:
        opened[0] += 1
        yield iter(text_for(opened[0]))

    return keyboard


def typed(words: tuple[str, ...]) -> str:
    """Return the keys that enter a share: four letters and a space a word."""
    return " ".join(word[:4] for word in words) + " "
