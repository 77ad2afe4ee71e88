"""The tables, in SQLAlchemy Core; the statements live with each database.

Invariants: a serial is text of 40 lower-case hex digits, so that one number has one form and sorts as a number;
a moment is whole seconds since 1970 in UTC; no column can hold a token, a password or a private key; every way of
looking certificates up that ``online.store.search`` offers has an index, for the table only grows.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

VERSION = 4
"""Raised with every change of the tables. A database of another version is refused, never adapted in passing."""

LONGEST_NAME = 500
"""So much of a name is indexed by a database server; SQLite takes any."""

METADATA = sa.MetaData()
_SERIAL = sa.String(40)
_DIGEST = sa.String(64)
# A provisioner's name has up to 256 characters, and its identifier one or two such parts.
_PROVISIONER = sa.String(600)
_PROVISIONER_NAME = sa.String(300)
# SQLite numbers rows by themselves only in a column of this very type.
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TEXT = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql")
_DER = sa.LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql")
_LIST = sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql")
_NAME = sa.Text().with_variant(sa.String(LONGEST_NAME), "mysql")
# Names are compared as they were folded, byte by byte; and rows are locked, tables never.
_SERVER: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}

SCHEMA_VERSION = sa.Table(
    "coldroot_schema",
    METADATA,
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    **_SERVER,
)

USED_TOKEN = sa.Table(
    "used_token",
    METADATA,
    sa.Column("provisioner_id", _PROVISIONER, primary_key=True),
    sa.Column("digest", _DIGEST, primary_key=True),
    sa.Column("expires", sa.BigInteger, nullable=False, index=True),
    sqlite_with_rowid=False,
    **_SERVER,
)

CERTIFICATE = sa.Table(
    "certificate",
    METADATA,
    # In the order of issuance: new rows go to the end of the table, and a page of results continues behind a number.
    sa.Column("number", _NUMBER, primary_key=True),
    sa.Column("serial", _SERIAL, nullable=False, unique=True),
    sa.Column("der", _DER, nullable=False),
    sa.Column("subject", _TEXT, nullable=False),
    sa.Column("sans", _TEXT, nullable=False),
    sa.Column("not_before", sa.BigInteger, nullable=False),
    sa.Column("not_after", sa.BigInteger, nullable=False, index=True),
    sa.Column("key_digest", _DIGEST, nullable=False),
    sa.Column("provisioner_id", _PROVISIONER, nullable=False),
    sa.Column("provisioner_name", _PROVISIONER_NAME, nullable=False),
    sa.Column("parent", _SERIAL, nullable=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Index("ix_certificate_provisioner", "provisioner_name", "number"),
    sa.Index("ix_certificate_kind", "kind", "number"),
    # By age too: only successors that are older than the grace matter, however many others there are.
    sa.Index("ix_certificate_parent", "parent", "not_before", sqlite_where=sa.text("parent IS NOT NULL")),
    **_SERVER,
)

# Each name once, however often its certificate was renewed: a search for a part of a name reads these rows only.
NAME = sa.Table(
    "name",
    METADATA,
    sa.Column("id", _NUMBER, primary_key=True),
    sa.Column("text", _NAME, nullable=False, unique=True),
    **_SERVER,
)

CERTIFICATE_NAME = sa.Table(
    "certificate_name",
    METADATA,
    sa.Column("name_id", _NUMBER, primary_key=True, autoincrement=False),
    sa.Column("number", _NUMBER, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
    **_SERVER,
)

REVOCATION = sa.Table(
    "revocation",
    METADATA,
    sa.Column("serial", _SERIAL, primary_key=True),
    sa.Column("revoked_at", sa.BigInteger, nullable=False),
    sa.Column("reason_code", sa.Integer, nullable=False),
    sa.Column("reason", _TEXT, nullable=False),
    sa.Column("proof", sa.String(16), nullable=False),
    sa.Column("provisioner_id", _PROVISIONER, nullable=False),
    sa.Column("compromised_key", _DIGEST, nullable=True),
    sqlite_with_rowid=False,
    **_SERVER,
)

COMPROMISED_KEY = sa.Table(
    "compromised_key",
    METADATA,
    sa.Column("key_digest", _DIGEST, primary_key=True),
    sqlite_with_rowid=False,
    **_SERVER,
)

# The list that is served. The bytes stand last: whoever wants to know its number does not read them.
CRL = sa.Table(
    "crl",
    METADATA,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("issuer", _DIGEST, nullable=False),
    sa.Column("url", _TEXT, nullable=False),
    sa.Column("this_update", sa.BigInteger, nullable=False),
    sa.Column("next_update", sa.BigInteger, nullable=False),
    sa.Column("revocations", sa.Integer, nullable=False),
    sa.Column("der", _LIST, nullable=False),
    **_SERVER,
)

# One row: the newest number that was given out, whether or not a list came of it.
CRL_NUMBER = sa.Table(
    "crl_number",
    METADATA,
    sa.Column("only", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("given_out", sa.BigInteger, nullable=False),
    sa.CheckConstraint(sa.column("only") == 1, name="ck_crl_number_only"),
    **_SERVER,
)

# What all nodes have from here that do not have it from their ca.json; each version stays.
AUTHORITY_DOCUMENT = sa.Table(
    "authority_document",
    METADATA,
    sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("changed_at", sa.BigInteger, nullable=False),
    sa.Column("changed_by", sa.String(300), nullable=False),
    sa.Column("document", _TEXT, nullable=False),
    **_SERVER,
)
ENDED = (
    sa.select(CERTIFICATE)
    .where(
        CERTIFICATE.c.not_after < sa.bindparam("horizon", type_=sa.BigInteger),
        ~sa.exists().where(REVOCATION.c.serial == CERTIFICATE.c.serial),
    )
    .order_by(CERTIFICATE.c.not_after, CERTIFICATE.c.number)
    .limit(sa.bindparam("limit"))
)
"""So many certificates that ended before a horizon and were never revoked, the oldest first."""
NEWEST_AUTHORITY = sa.select(sa.func.max(AUTHORITY_DOCUMENT.c.version).label("version"))
"""The number of the newest version; no number when there is none."""
