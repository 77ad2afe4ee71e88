"""Single values of a plan, read with their dotted key."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime

from shared import names
from shared.strict import Table

_LONGEST_TEXT = 64
# RFC 5280 §4.1.2.5: certificates have no years before 1950 and none of five digits; an end lies up to decades behind.
_FIRST_YEAR, _LAST_YEAR = 1950, 9900


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
    """Return a moment that a certificate can begin with: RFC 3339 with a zone and whole seconds, as text.

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
    # First as written: a zone can move the first and the last year out of the calendar.
    if not _FIRST_YEAR < found.year < _LAST_YEAR:
        raise table.refuse(key, f"a time between the years {_FIRST_YEAR} and {_LAST_YEAR} is wanted")
    return found.astimezone(UTC)


def person(table: Table, key: str, value: str) -> str:
    """Return the name of somebody who takes part, without blanks around it.

    Raises:
        RequestRejected: ``plan.*``.
    """
    if not value or value != value.strip() or names.printable(value) != value:
        raise table.refuse(key, "a visible name of at most 100 characters is wanted, without blanks around it")
    return value


def alike(name: str) -> str:
    """Return what all spellings of a name have in common: nobody gets a second role by a capital letter."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def name_of(table: Table, key: str, pattern: re.Pattern[str], reserved: frozenset[str]) -> str:
    """Return a name that can stand in a file name.

    Raises:
        RequestRejected: ``plan.*``.
    """
    value = table.required(key, str)
    if not pattern.fullmatch(value) or value in reserved:
        raise table.refuse(key, "lower-case letters, digits and hyphens are wanted, and no reserved name")
    return value
