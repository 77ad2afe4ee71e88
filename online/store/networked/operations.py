"""What is done in one transaction beside recording certificates: revocations, lists, tidying up.

They are rare, so they are plain statements, written once for all kinds of server. Each decides by inserting, as in
``online.store.operations``, whose words and limits these are; each says behind which gate it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError

from online.store.crls import PublishedCrl, crl_values
from online.store.networked import refusals
from online.store.networked.engine import Gate, Recorded
from online.store.networked.rows import searchable
from online.store.operations import already_revoked
from online.store.protocol import CertificateRow, Revocation, RevocationProof, TokenUse
from online.store.rows import revocation_values, seconds, serial_text, token_values
from online.store.schema import (
    CERTIFICATE,
    CERTIFICATE_NAME,
    COMPROMISED_KEY,
    CRL,
    CRL_NUMBER,
    NAME,
    REVOCATION,
    USED_TOKEN,
)
from shared.errors import RequestRejected

_MOST_FORGOTTEN = 1000
"""Rows a transaction: other nodes wait for their locks."""
_MOST_REVOKED = 200
# CRLReason, RFC 5280 §5.3.1.
_SUPERSEDED = 4
_CESSATION = 5


@dataclass(frozen=True, slots=True)
class Operation:
    """Something to do inside a transaction; it returns a refusal, or how many rows it is about."""

    gate: Gate
    run: Callable[[sa.Connection], Recorded]


def record_revocation(token: TokenUse | None, revocation: Revocation) -> Operation:
    """Record a revocation and the use of its token.

    1. The token is used, if nobody was quicker.
    2. The revocation is recorded, if there is none; the token stays used either way.
    3. A compromised key is barred.
    """
    values = revocation_values(revocation)

    def run(connection: sa.Connection) -> Recorded:
        # 1.
        if token is not None and not _insert_new(connection, USED_TOKEN, token_values(token)):
            return refusals.used()
        # 2.
        if not _insert_new(connection, REVOCATION, values):
            return already_revoked(revocation.serial)
        # 3.
        if revocation.compromised_key is not None:
            _insert_new(connection, COMPROMISED_KEY, {"key_digest": revocation.compromised_key})
        return 1

    return Operation(Gate.EXCLUSIVE, run)


def revoke_superseded(renewed_before: datetime, now: datetime) -> Operation:
    """Revoke certificates that live and have a successor in use, a bounded number."""
    successor = sa.alias(CERTIFICATE)
    found = (
        sa.select(CERTIFICATE.c.serial)
        .where(
            CERTIFICATE.c.not_after > seconds(now),
            sa.exists().where(
                successor.c.parent == CERTIFICATE.c.serial, successor.c.not_before < seconds(renewed_before)
            ),
            ~sa.exists().where(REVOCATION.c.serial == CERTIFICATE.c.serial),
        )
        .limit(_MOST_REVOKED)
    )

    def run(connection: sa.Connection) -> Recorded:
        # Read first and sorted: rows of several nodes are locked in one order.
        serials = sorted(connection.execute(found).scalars())
        rows = [
            {
                "serial": serial,
                "revoked_at": seconds(now),
                "reason_code": _SUPERSEDED,
                "reason": "its successor is in use",
                "proof": RevocationProof.SUCCESSION.value,
                "provisioner_id": "",
                "compromised_key": None,
            }
            for serial in serials
        ]
        if rows:
            connection.execute(sa.insert(REVOCATION), rows)
        return len(rows)

    return Operation(Gate.EXCLUSIVE, run)


def forget_tokens(expired_before: datetime) -> Operation:
    """Drop uses of tokens that expired before a moment, a bounded number."""
    key = (USED_TOKEN.c.provisioner_id, USED_TOKEN.c.digest)
    old = sa.select(*key).where(USED_TOKEN.c.expires < seconds(expired_before)).limit(_MOST_FORGOTTEN)

    def run(connection: sa.Connection) -> Recorded:
        # In two steps, for MySQL deletes by no selection from the same table that has a limit.
        keys = sorted((row[0], row[1]) for row in connection.execute(old))
        if not keys:
            return 0
        return connection.execute(sa.delete(USED_TOKEN).where(sa.tuple_(*key).in_(keys))).rowcount

    return Operation(Gate.SHARED, run)


def drop_ended(certificates: Sequence[CertificateRow]) -> Operation:
    """Drop certificates, as far as none was revoked, and the names that only they had.

    1. The rows go; one that was revoked stays, for whoever lists revocations asks when it ends.
    2. Their names go where no other certificate has them. In a cluster they stay: another server may be about to use
       one, which no lock of this one prevents.
    """
    serials = sorted(serial_text(each.serial) for each in certificates)
    texts = sorted({name for each in certificates for name in searchable(each)})
    doomed = sa.select(CERTIFICATE.c.number).where(
        CERTIFICATE.c.serial.in_(serials), ~sa.exists().where(REVOCATION.c.serial == CERTIFICATE.c.serial)
    )
    named = sa.select(NAME.c.id).where(NAME.c.text.in_(texts))
    idle = sa.select(NAME.c.id).where(
        NAME.c.text.in_(texts), ~sa.exists().where(CERTIFICATE_NAME.c.name_id == NAME.c.id)
    )

    def run(connection: sa.Connection) -> Recorded:
        # 1.
        numbers = sorted(connection.execute(doomed).scalars())
        if not numbers:
            return 0
        # By the names, too, for the key begins with them: the numbers alone would have all links read.
        names = sorted(connection.execute(named).scalars())
        link = CERTIFICATE_NAME.c
        connection.execute(sa.delete(CERTIFICATE_NAME).where(link.name_id.in_(names), link.number.in_(numbers)))
        connection.execute(sa.delete(CERTIFICATE).where(CERTIFICATE.c.number.in_(numbers)))
        # 2.
        unused = [] if _is_clustered(connection) else sorted(connection.execute(idle).scalars())
        if unused:
            connection.execute(sa.delete(NAME).where(NAME.c.id.in_(unused)))
        return len(numbers)

    return Operation(Gate.EXCLUSIVE, run)


def withdraw(certificates: Sequence[CertificateRow]) -> Operation:
    """Revoke what was recorded and will be given to nobody: its parent, or its key, was revoked in the same moment."""

    def run(connection: sa.Connection) -> Recorded:
        for each in sorted(certificates, key=lambda row: row.serial):
            revocation = Revocation(
                serial=each.serial,
                revoked_at=each.not_before,
                reason_code=_CESSATION,
                reason="recorded while it was being forbidden; it was given to nobody",
                proof=RevocationProof.NODE,
                provisioner_id="",
            )
            _insert_new(connection, REVOCATION, revocation_values(revocation))
        return len(certificates)

    return Operation(Gate.EXCLUSIVE, run)


def nothing() -> Operation:
    """Take a turn behind the gate and write nothing: shows that a write would get through."""
    return Operation(Gate.SHARED, lambda _: 0)


def reserve(now: datetime) -> Operation:
    """Give out the number of a revocation list; the outcome is the number."""

    def run(connection: sa.Connection) -> Recorded:
        _insert_new(connection, CRL_NUMBER, {"only": 1, "given_out": 0})
        given_out = connection.execute(sa.select(CRL_NUMBER.c.given_out).with_for_update()).scalar_one()
        number = max(int(given_out) + 1, seconds(now))
        connection.execute(sa.update(CRL_NUMBER).values(given_out=number))
        return number

    return Operation(Gate.EXCLUSIVE, run)


def publish(crl: PublishedCrl) -> Operation:
    """Publish a list.

    1. Its number must still be the newest.
    2. It takes the place of those before; one with a greater number, from another node, stays.
    """

    def run(connection: sa.Connection) -> Recorded:
        # 1.
        if connection.execute(sa.select(CRL_NUMBER.c.given_out).with_for_update()).scalar() != crl.number:
            return RequestRejected("crl.overtaken", "another revocation list was begun meanwhile")
        # 2.
        connection.execute(sa.delete(CRL).where(CRL.c.number < crl.number))
        connection.execute(sa.insert(CRL), crl_values(crl))
        return 1

    # The row of the number is its lock: issuing does not wait for megabytes.
    return Operation(Gate.SHARED, run)


def _insert_new(connection: sa.Connection, table: sa.Table, values: Mapping[str, Any]) -> bool:
    """Insert a row; ``False`` when its key is taken, also by a transaction that was in flight until now."""
    if connection.dialect.name == "postgresql":
        # An error would end the transaction.
        statement = postgresql.insert(table).on_conflict_do_nothing().returning(*table.primary_key)
        return connection.execute(statement, values).first() is not None
    try:
        connection.execute(sa.insert(table), values)
    except IntegrityError:
        # Only the statement was undone.
        return False
    return True


def _is_clustered(connection: sa.Connection) -> bool:
    if connection.dialect.name != "mysql":
        return False
    found = connection.exec_driver_sql("SHOW VARIABLES LIKE 'wsrep_on'").first()
    return found is not None and found[1] == "ON"
