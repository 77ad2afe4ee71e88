"""Rows in the form in which a database server takes them, where that is not SQLite's."""

from __future__ import annotations

from online.store.protocol import CertificateRow, Lineage
from online.store.rows import names_of, seconds
from online.store.schema import LONGEST_NAME


def searchable(row: CertificateRow) -> tuple[str, ...]:
    """Return the names under which a certificate is found. A server's index takes no more than so much of each."""
    return tuple(dict.fromkeys(name[:LONGEST_NAME] for name in names_of(row)))


def older_than(row: CertificateRow, lineage: Lineage | None) -> int | None:
    """Return the moment before which another successor of the parent is no lost answer; ``None`` to look for none."""
    if lineage is None or row.parent is None:
        return None
    # Both were backdated alike, so their beginnings are as far apart as they were issued.
    return seconds(row.not_before - lineage.grace)
