"""What a move brings along: findings line by line, in the order of the files."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Fate(StrEnum):
    """What becomes of a part of the old installation."""

    CARRIES = "carries"
    """It is used as it is, where it is."""
    CHANGES = "changes"
    """It is used in another form."""
    DROPS = "drops"
    """It has no place here."""
    TO_DO = "to do"
    """A person must see to it."""
    STOPS = "stops"
    """With it, there is no move."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One part of the old installation."""

    fate: Fate
    what: str
    """A dotted path of ca.json, or a file."""
    detail: str
    """For people: why, or what to do. Not yet made safe for a terminal."""
