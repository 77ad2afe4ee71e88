"""What the list of issued certificates looks like: a table for people, CSV for spreadsheets, JSON for programs.

Invariants: names and reasons come from whoever asked for a certificate, so no cell can move a cursor, forge a line or
be a spreadsheet's formula; all three forms say the same; a serial number can be pasted into ``online revoke``.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from online.store.search import Found, Status, Withdrawal
from shared.clock import rfc3339
from shared.names import printable

COLUMNS = (
    "serial", "serial_hex", "status", "kind", "subject", "sans", "not_before", "not_after", "provisioner",
    "renewed_from", "renewed_to", "revoked_at", "reason_code", "reason",
)  # fmt: skip
"""Of the CSV form. ``serial_hex`` is for spreadsheets, which round long decimal numbers."""

_HEADINGS = ("STATUS", "ENDS", "NAMES", "PROVISIONER", "KIND", "SERIAL", "LINEAGE")
_MOST_NAMES = 3
_LONGEST_NAME = 60
_LONGEST_CELL = 4000
_GAP = "  "
# What spreadsheets take for the beginning of a formula, also after the full-width forms of these characters.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")

Paint = Callable[[str, Status], str]
"""Colours a cell by the status of its row."""


def table(found: Sequence[Found], *, now: datetime, paint: Paint) -> str:
    """Return an aligned table with a line of headings.

    Args:
        found: the rows, in their order.
        now: aware UTC; ends are told as spans from it, too.
        paint: colours the first cell.
    """
    rows = [_cells(each, now) for each in found]
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *rows, strict=True)]
    lines = [_GAP.join(cell.ljust(width) for cell, width in zip(_HEADINGS, widths, strict=True)).rstrip()]
    for each, row in zip(found, rows, strict=True):
        # Painted after it was padded: the codes have no width.
        first, *others = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append(_GAP.join((paint(first, each.status), *others)).rstrip())
    return "\n".join(lines)


def csv_lines(found: Iterable[Found]) -> Iterator[str]:
    """Yield a line of headings and a line for each row, without their ends (RFC 4180)."""
    yield _csv_line(COLUMNS)
    for each in found:
        yield _csv_line([_harmless(cell) for cell in _values(each)])


def json_lines(found: Iterable[Found], following: str) -> Iterator[str]:
    """Yield the lines of one JSON object: ``certificates``, one to a line, and ``next``.

    Args:
        found: the rows.
        following: where the next page begins; empty when there is none.
    """
    yield '{"certificates": ['
    separator = ""
    for each in found:
        # Only ASCII is written: no character of a name can disturb a terminal.
        yield separator + json.dumps(_object(each))
        separator = ","
    yield f'], "next": {json.dumps(following or None)}}}'


def short_serial(serial: int) -> str:
    """Write a serial as step's short form does: its first and last four digits."""
    digits = str(serial)
    return digits if len(digits) <= 9 else f"{digits[:4]}…{digits[-4:]}"  # noqa: PLR2004 (4 and 4 digits and the mark)


def remaining(end: datetime, now: datetime) -> str:
    """Say in one unit how far away a moment is: ``in 3h``, ``5d ago``."""
    span = end - now
    distance = abs(span)
    for unit, length in (("d", timedelta(days=1)), ("h", timedelta(hours=1)), ("m", timedelta(minutes=1))):
        # A day and a half is better told in hours.
        if distance >= 2 * length or unit == "m":
            amount = f"{distance // length}{unit}"
            break
    return f"in {amount}" if span >= timedelta(0) else f"{amount} ago"


def _cells(each: Found, now: datetime) -> tuple[str, ...]:
    names = each.sans or (each.subject,)
    shown = " ".join(printable(name, limit=_LONGEST_NAME) for name in names[:_MOST_NAMES])
    more = f" +{len(names) - _MOST_NAMES}" if len(names) > _MOST_NAMES else ""
    return (
        each.status.value,
        f"{rfc3339(each.not_after)} {remaining(each.not_after, now)}",
        shown + more,
        printable(each.provisioner) or "-",
        each.kind.value,
        str(each.serial),
        _lineage(each) or "-",
    )


def _lineage(each: Found) -> str:
    before = [f"from {short_serial(each.renewed_from)}"] if each.renewed_from is not None else []
    after = [f"to {', '.join(map(short_serial, each.renewed_to))}"] if each.renewed_to else []
    return " ".join(before + after)


def _object(each: Found) -> dict[str, object]:
    withdrawal = each.withdrawal
    return {
        "serial": str(each.serial),
        "serial_hex": hex(each.serial),
        "status": each.status.value,
        "kind": each.kind.value,
        "subject": each.subject,
        "sans": list(each.sans),
        "not_before": rfc3339(each.not_before),
        "not_after": rfc3339(each.not_after),
        "provisioner": each.provisioner or None,
        "renewed_from": None if each.renewed_from is None else str(each.renewed_from),
        "renewed_to": [str(serial) for serial in each.renewed_to],
        "revocation": None
        if withdrawal is None
        else {
            "at": rfc3339(withdrawal.at),
            "reason_code": withdrawal.reason_code,
            "reason": withdrawal.reason,
        },
    }


def _values(each: Found) -> tuple[str, ...]:
    withdrawal = each.withdrawal
    return (
        str(each.serial),
        hex(each.serial),
        each.status.value,
        each.kind.value,
        each.subject,
        " ".join(each.sans),
        rfc3339(each.not_before),
        rfc3339(each.not_after),
        each.provisioner,
        "" if each.renewed_from is None else str(each.renewed_from),
        " ".join(map(str, each.renewed_to)),
        *(("", "", "") if withdrawal is None else _withdrawn(withdrawal)),
    )


def _withdrawn(withdrawal: Withdrawal) -> tuple[str, str, str]:
    return rfc3339(withdrawal.at), str(withdrawal.reason_code), withdrawal.reason


def _harmless(cell: str) -> str:
    """Return a cell that is text to a terminal and to a spreadsheet."""
    shown = printable(cell, limit=_LONGEST_CELL)
    # A spreadsheet shows what follows the apostrophe, and computes nothing.
    return f"'{shown}" if cell.lstrip(" ").startswith(_FORMULA) else shown


def _csv_line(cells: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()
