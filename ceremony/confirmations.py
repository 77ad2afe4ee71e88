"""What people confirmed, on its way to the record.

An act asks people before its transcript is open, too: what they said then is kept, and recorded as the act opens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ceremony.records import Facts, Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """One thing that somebody confirmed; the record says when."""

    kind: Kind
    """``digest-confirmed``, ``fact-confirmed`` or ``step-confirmed``."""
    facts: Facts


Listener = Callable[[Confirmation], None]


class Confirmations:
    """Keeps what is confirmed until somebody listens."""

    def __init__(self) -> None:
        """Begin with nobody listening."""
        self._kept: list[Confirmation] = []
        self._listener: Listener | None = None

    def listen(self, listener: Listener) -> None:
        """Hand over what was kept, and from now on everything at once."""
        self._listener = listener
        kept, self._kept = self._kept, []
        for each in kept:
            listener(each)

    def add(self, kind: Kind, facts: Facts) -> None:
        """Take one confirmation."""
        confirmation = Confirmation(kind=kind, facts=facts)
        if self._listener is not None:
            self._listener(confirmation)
        else:
            self._kept.append(confirmation)
