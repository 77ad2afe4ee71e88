"""The tables, in SQLAlchemy Core; the statements live with each database.

Invariants: a serial is text of 40 lower-case hex digits, so that one number has one form and sorts as a number;
a moment is whole seconds since 1970 in UTC; no column can hold a token, a password or a private key.
"""

from __future__ import annotations

import sqlalchemy as sa

VERSION = 1
"""Raised with every change of the tables. A database of another version is refused, never adapted in passing."""

METADATA = sa.MetaData()
_SERIAL = sa.String(40)
_DIGEST = sa.String(64)

SCHEMA_VERSION = sa.Table(
    "coldroot_schema",
    METADATA,
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
)

USED_TOKEN = sa.Table(
    "used_token",
    METADATA,
    sa.Column("provisioner_id", sa.String(255), primary_key=True),
    sa.Column("digest", _DIGEST, primary_key=True),
    sa.Column("expires", sa.BigInteger, nullable=False, index=True),
    sqlite_with_rowid=False,
)

CERTIFICATE = sa.Table(
    "certificate",
    METADATA,
    sa.Column("serial", _SERIAL, primary_key=True),
    sa.Column("der", sa.LargeBinary, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("sans", sa.Text, nullable=False),
    sa.Column("not_before", sa.BigInteger, nullable=False),
    sa.Column("not_after", sa.BigInteger, nullable=False, index=True),
    sa.Column("key_digest", _DIGEST, nullable=False),
    sa.Column("provisioner_id", sa.String(255), nullable=False),
    sa.Column("provisioner_name", sa.String(255), nullable=False),
    sa.Column("parent", _SERIAL, nullable=True),
    sa.Column("kind", sa.String(16), nullable=False),
)

REVOCATION = sa.Table(
    "revocation",
    METADATA,
    sa.Column("serial", _SERIAL, primary_key=True),
    sa.Column("revoked_at", sa.BigInteger, nullable=False),
    sa.Column("reason_code", sa.Integer, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("proof", sa.String(16), nullable=False),
    sa.Column("provisioner_id", sa.String(255), nullable=False),
    sa.Column("compromised_key", _DIGEST, nullable=True),
    sqlite_with_rowid=False,
)

COMPROMISED_KEY = sa.Table(
    "compromised_key",
    METADATA,
    sa.Column("key_digest", _DIGEST, primary_key=True),
    sqlite_with_rowid=False,
)
