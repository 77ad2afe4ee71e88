"""What happens inside one transaction, as functions of a connection.

Each operation decides by *inserting*: a unique key lets one of any number of rivals through, and no look before
the leap can be out of date. The looks that there are (is the parent revoked, is the key compromised) run under
the same write lock as the insert that they guard.

An operation *returns* a refusal instead of raising it: what it wrote up to there is then committed and the
refusal delivered after the commit. What it raises rolls everything back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from online.store.protocol import MOST_COUNTED, CertificateRow, Lineage, Revocation, RevocationProof, TokenUse
from online.store.rows import (
    certificate_values,
    names_of,
    revocation_values,
    seconds,
    serial_text,
    token_values,
)
from online.store.schema import CERTIFICATE, CERTIFICATE_NAME, COMPROMISED_KEY, NAME, REVOCATION, USED_TOKEN
from online.store.sqlite_file import driver_of
from online.store.sqlite_ready import Ready
from shared.errors import ColdrootError, PolicyDenied, RequestRejected, Unauthenticated

Operation = Callable[[sa.Connection], "ColdrootError | int"]
"""Runs inside a transaction; returns a refusal, or how many rows it is about."""

_Value = str | int | bytes | None
_MOST_FORGOTTEN = 250
"""Rows a transaction, each of them on another page: certificates wait meanwhile."""

_ONE: sa.ColumnElement[int] = sa.literal_column("1")
_IS_REVOKED = Ready(sa.select(_ONE).where(REVOCATION.c.serial == sa.bindparam("serial")))
_IS_COMPROMISED = Ready(sa.select(_ONE).where(COMPROMISED_KEY.c.key_digest == sa.bindparam("key_digest")))
_OLDER_SUCCESSORS = Ready(
    sa.select(sa.func.count()).select_from(
        sa.select(_ONE)
        .where(CERTIFICATE.c.parent == sa.bindparam("parent"), CERTIFICATE.c.not_before < sa.bindparam("before"))
        .suffix_with(f"LIMIT {MOST_COUNTED}")  # .limit would ask for a value of its own
        .subquery()
    )
)
_USE_TOKEN = Ready(
    insert(USED_TOKEN).values({each.name: sa.bindparam(each.name) for each in USED_TOKEN.c}).on_conflict_do_nothing()
)
_RECORD_CERTIFICATE = Ready(
    sa.insert(CERTIFICATE).values(
        {each.name: sa.bindparam(each.name) for each in CERTIFICATE.c if each.name != "number"}
    )
)
_ADD_NAME = Ready(insert(NAME).values(text=sa.bindparam("text")).on_conflict_do_nothing())
_LINK_NAME = Ready(
    sa.insert(CERTIFICATE_NAME).from_select(
        ["name_id", "number"],
        sa.select(NAME.c.id, sa.bindparam("number", type_=sa.Integer)).where(NAME.c.text == sa.bindparam("text")),
    )
)
_RECORD_REVOCATION = insert(REVOCATION).on_conflict_do_nothing().returning(REVOCATION.c.revoked_at)
_BAR_KEY = insert(COMPROMISED_KEY).on_conflict_do_nothing()
_OLD_TOKENS = (
    sa.select(USED_TOKEN.c.provisioner_id, USED_TOKEN.c.digest)
    .where(USED_TOKEN.c.expires < sa.bindparam("horizon"))
    .limit(_MOST_FORGOTTEN)
)
_SUCCESSOR = sa.alias(CERTIFICATE)
_IS_SUPERSEDED = sa.and_(
    CERTIFICATE.c.not_after > sa.bindparam("now", type_=sa.BigInteger),
    sa.exists().where(_SUCCESSOR.c.parent == CERTIFICATE.c.serial, _SUCCESSOR.c.not_before < sa.bindparam("before")),
    ~sa.exists().where(REVOCATION.c.serial == CERTIFICATE.c.serial),
)
SUPERSEDED = sa.select(CERTIFICATE.c.serial).where(_IS_SUPERSEDED).limit(sa.bindparam("limit"))
"""Serials of certificates that live and have a successor in use; it reads all that live."""
_SUPERSEDED_REASON = 4
_REVOKE_SUPERSEDED = sa.insert(REVOCATION).from_select(
    ["serial", "revoked_at", "reason_code", "reason", "proof", "provisioner_id"],
    sa.select(
        CERTIFICATE.c.serial,
        sa.bindparam("now", type_=sa.BigInteger),
        sa.literal(_SUPERSEDED_REASON),
        sa.literal("its successor is in use"),
        sa.literal(RevocationProof.SUCCESSION.value),
        sa.literal(""),
    ).where(CERTIFICATE.c.serial.in_(sa.bindparam("serials", expanding=True)), _IS_SUPERSEDED),
)
_DROP_CERTIFICATE = Ready(
    sa.delete(CERTIFICATE)
    .where(CERTIFICATE.c.serial == sa.bindparam("serial"))
    .where(~sa.exists().where(REVOCATION.c.serial == CERTIFICATE.c.serial))
    .returning(CERTIFICATE.c.number)
)
_NAME_ID = sa.select(NAME.c.id).where(NAME.c.text == sa.bindparam("text")).scalar_subquery()
_UNLINK_NAME = Ready(
    sa.delete(CERTIFICATE_NAME)
    .where(CERTIFICATE_NAME.c.number == sa.bindparam("number"))
    .where(CERTIFICATE_NAME.c.name_id == _NAME_ID)
)
_DROP_NAME = Ready(
    sa.delete(NAME)
    .where(NAME.c.text == sa.bindparam("text"))
    .where(~sa.exists().where(CERTIFICATE_NAME.c.name_id == NAME.c.id))
)
_FORGET_TOKENS = sa.delete(USED_TOKEN).where(
    sa.tuple_(USED_TOKEN.c.provisioner_id, USED_TOKEN.c.digest).in_(_OLD_TOKENS)
)


@dataclass(frozen=True, slots=True)
class CertificateRecord:
    """A certificate, and the use of its token, ready to be written: nothing in it but texts, numbers and bytes.

    As an operation it returns 1, and how many older successors the certificate's parent has.
    """

    certificate: tuple[_Value, ...]
    """Values of the row, in the statement's order."""
    use: tuple[_Value, ...] | None
    """The same of the token's use, if there was a token."""
    key_digest: str
    parent: str | None
    """Serial of the certificate that is renewed."""
    before: int | None
    """Seconds since 1970: a successor of the parent that begins earlier makes a fork; ``None`` when nobody looks."""
    newest_only: bool
    """Whether a fork is refused."""
    names: tuple[str, ...]
    """That it is searched by."""

    def fields(self) -> tuple[object, ...]:
        """Return what makes the same record again, in order."""
        return (
            self.certificate, self.use, self.key_digest, self.parent, self.before, self.newest_only, self.names
        )  # fmt: skip

    def __call__(self, connection: sa.Connection) -> ColdrootError | int:
        """Write.

        1. A renewal's parent must not be revoked, nor superseded where that counts; the key must not be known as
           compromised.
        2. The token is used, if nobody was quicker.
        3. The certificate is recorded, and the names that it is searched by.
        """
        cursor = driver_of(connection).cursor()
        # 1.
        if self.parent is not None and _finds(cursor, _IS_REVOKED, (self.parent,)):
            return Unauthenticated("certificate.revoked", "the certificate is revoked")
        if _finds(cursor, _IS_COMPROMISED, (self.key_digest,)):
            return PolicyDenied("key.compromised", "the public key was revoked as compromised")
        others = 0
        if self.before is not None:
            others = int(cursor.execute(_OLDER_SUCCESSORS.text, (self.parent, self.before)).fetchall()[0][0])
            if others and self.newest_only:
                return PolicyDenied("renew.superseded", "the certificate was renewed before: only its successor may be")
        # 2.
        if self.use is not None and not cursor.execute(_USE_TOKEN.text, self.use).rowcount:
            return _used()
        # 3.
        number = cursor.execute(_RECORD_CERTIFICATE.text, self.certificate).lastrowid
        cursor.executemany(_ADD_NAME.text, [(each,) for each in self.names])
        cursor.executemany(_LINK_NAME.text, [(number, each) for each in self.names])
        return 1 + others


def record_certificate(
    token: TokenUse | None, certificate: CertificateRow, lineage: Lineage | None = None
) -> CertificateRecord:
    """Make the record of a certificate and of the use of its token."""
    parent = None if certificate.parent is None else serial_text(certificate.parent)
    return CertificateRecord(
        certificate=_RECORD_CERTIFICATE.values(certificate_values(certificate)),
        use=None if token is None else _USE_TOKEN.values(token_values(token)),
        key_digest=certificate.key_digest,
        parent=parent,
        # Both were backdated alike, so their beginnings are as far apart as they were issued.
        before=None if lineage is None or parent is None else seconds(certificate.not_before - lineage.grace),
        newest_only=lineage is not None and lineage.newest_only,
        names=names_of(certificate),
    )


def record_revocation(token: TokenUse | None, revocation: Revocation) -> Operation:
    """Record a revocation and the use of its token.

    1. The token is used, if nobody was quicker.
    2. The revocation is recorded, if there is none; the token stays used either way.
    3. A compromised key is barred.
    """
    values = revocation_values(revocation)

    def run(connection: sa.Connection) -> ColdrootError | int:
        # 1.
        if token is not None and not _use(connection, token):
            return _used()
        # 2.
        if connection.execute(_RECORD_REVOCATION, values).first() is None:
            return already_revoked(revocation.serial)
        # 3.
        if revocation.compromised_key is not None:
            connection.execute(_BAR_KEY, {"key_digest": revocation.compromised_key})
        return 1

    return run


def revoke_superseded(serials: Sequence[str], before: int, now: int) -> Operation:
    """Revoke those of some certificates that live and have a successor in use.

    Args:
        serials: as the table has them.
        before: seconds since 1970; a successor that begins later does not count yet.
        now: seconds since 1970.
    """
    values = {"serials": serials, "before": before, "now": now}

    def run(connection: sa.Connection) -> ColdrootError | int:
        return connection.execute(_REVOKE_SUPERSEDED, values).rowcount

    return run


def drop_certificates(certificates: Sequence[CertificateRow]) -> Operation:
    """Drop certificates, as far as none was revoked.

    1. The row goes; one that was revoked stays, for whoever lists revocations asks when it ends.
    2. Its names go where no other certificate has them.
    """
    known = [(serial_text(each.serial), names_of(each)) for each in certificates]

    def run(connection: sa.Connection) -> ColdrootError | int:
        cursor = driver_of(connection).cursor()
        dropped = 0
        for serial, names in known:
            # 1.
            found = cursor.execute(_DROP_CERTIFICATE.text, (serial,)).fetchall()
            # 2.
            for (number,) in found:
                cursor.executemany(_UNLINK_NAME.text, [(number, each) for each in names])
                cursor.executemany(_DROP_NAME.text, [(each,) for each in names])
            dropped += len(found)
        return dropped

    return run


def forget_tokens(expired_before: datetime) -> Operation:
    """Drop uses of tokens that expired before a moment, a bounded number."""
    horizon = seconds(expired_before)

    def run(connection: sa.Connection) -> ColdrootError | int:
        return connection.execute(_FORGET_TOKENS, {"horizon": horizon}).rowcount

    return run


def nothing(connection: sa.Connection) -> ColdrootError | int:
    """Take a turn and write nothing: shows that a write would get through."""
    del connection
    return 0


def already_revoked(serial: int) -> RequestRejected:
    """Return the refusal to revoke twice, in step-ca's words."""
    return RequestRejected(
        "certificate.already-revoked", f"certificate with serial number '{serial}' is already revoked"
    )


def _used() -> Unauthenticated:
    return Unauthenticated("token.used", "the token was used before")


def _use(connection: sa.Connection, token: TokenUse) -> bool:
    cursor = driver_of(connection).cursor()
    return bool(cursor.execute(_USE_TOKEN.text, _USE_TOKEN.values(token_values(token))).rowcount)


def _finds(cursor: sqlite3.Cursor, statement: Ready, values: tuple[str, ...]) -> bool:
    # All of it: a statement that is left half-read keeps the transaction from ending.
    return bool(cursor.execute(statement.text, values).fetchall())
