"""Single values of a plan, read with their dotted key."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from shared import names
from shared.strict import Table

_LONGEST_TEXT = 64


def text(table: Table, key: str) -> str:
    """Return a text of 1 to 64 visible characters.

    Raises:
        RequestRejected: ``plan.*``.
    """
    value = table.required(key, str)
    if not 1 <= len(value) <= _LONGEST_TEXT or value != value.strip() or names.printable(value) != value:
        raise table.refuse(key, f"1 to {_LONGEST_TEXT} visible characters are wanted")
    return value


def moment(table: Table, key: str) -> datetime:
    """Return a moment: RFC 3339 with a zone and whole seconds, as text.

    Raises:
        RequestRejected: ``plan.*``.
    """
    value = table.required(key, str)
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None or found.microsecond:
        raise table.refuse(key, "a time such as 2026-12-01T10:00:00Z is wanted")
    return found.astimezone(UTC)


def name_of(table: Table, key: str, pattern: re.Pattern[str], reserved: frozenset[str]) -> str:
    """Return a name that can stand in a file name.

    Raises:
        RequestRejected: ``plan.*``.
    """
    value = table.required(key, str)
    if not pattern.fullmatch(value) or value in reserved:
        raise table.refuse(key, "lower-case letters, digits and hyphens are wanted, and no reserved name")
    return value
