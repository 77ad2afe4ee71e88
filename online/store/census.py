"""Counting certificates in one pass over those that are still valid."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from online.store.protocol import Census, CertificateKind
from online.store.rows import seconds
from online.store.schema import CERTIFICATE, REVOCATION

HORIZONS = {"1h": timedelta(hours=1), "8h": timedelta(hours=8), "24h": timedelta(hours=24)}
# A third of its life remains when a certificate is due; when a sixth does, nobody is about to renew it.
_OVERDUE_SHARE = 6


def census_statement(now: datetime, *, joined: bool = False) -> sa.Select[*tuple[Any, ...]]:
    """Return the statement; it yields one row: live, expiring within each of ``HORIZONS``, overdue.

    A certificate that has a successor is left to end in peace. A successor of a live certificate is live itself, for
    it was issued later and for the same duration, so both are looked for among the valid ones: one range of the
    index on the end, whatever the number of old rows.

    Args:
        now: aware UTC.
        joined: whether successors are joined to what they succeed, which servers do by one table in memory; SQLite
            looks each of them up in a list, and is quicker so.
    """
    moment = seconds(now)
    certificate = CERTIFICATE.c
    successor = sa.alias(CERTIFICATE)
    superseded = sa.select(successor.c.parent).where(successor.c.not_after > moment, successor.c.parent.is_not(None))
    open_ended = certificate.serial.not_in(superseded)
    revoked: sa.ColumnElement[bool] = sa.exists().where(REVOCATION.c.serial == certificate.serial)
    rows: sa.FromClause = CERTIFICATE
    if joined:
        heirs = superseded.distinct().subquery()
        rows = sa.outerjoin(CERTIFICATE, heirs, heirs.c.parent == certificate.serial)
        rows = sa.outerjoin(rows, REVOCATION, REVOCATION.c.serial == certificate.serial)
        open_ended, revoked = heirs.c.parent.is_(None), REVOCATION.c.serial.is_not(None)
    revoked = (
        REVOCATION.c.serial.is_not(None) if joined else sa.exists().where(REVOCATION.c.serial == certificate.serial)
    )
    remaining = certificate.not_after - moment
    life = certificate.not_after - certificate.not_before
    late = sa.and_(open_ended, certificate.parent.is_not(None), remaining * _OVERDUE_SHARE < life)
    counted = sa.select(
        sa.func.count(),
        *(
            sa.func.count(sa.case((sa.and_(open_ended, remaining <= int(each.total_seconds())), 1)))
            for each in HORIZONS.values()
        ),
        sa.func.count(sa.case((late, 1))),
    )
    return counted.select_from(rows).where(
        certificate.not_after > moment, certificate.kind != CertificateKind.OWN.value, ~revoked
    )


def census_of(row: sa.Row[*tuple[Any, ...]]) -> Census:
    """Read the row of ``census_statement``."""
    live, *expiring, overdue = row
    return Census(live=live, expiring=dict(zip(HORIZONS, expiring, strict=True)), overdue=overdue)
