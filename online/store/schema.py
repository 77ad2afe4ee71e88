"""The tables, in SQLAlchemy Core; the statements live with each database.

Invariants: a serial is text of 40 lower-case hex digits, so that one number has one form and sorts as a number;
a moment is whole seconds since 1970 in UTC; no column can hold a token, a password or a private key; every way of
looking certificates up that ``online.store.search`` offers has an index, for the table only grows.
"""

from __future__ import annotations

import sqlalchemy as sa

VERSION = 3
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
    # In the order of issuance: new rows go to the end of the table, and a page of results continues behind a number.
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("serial", _SERIAL, nullable=False, unique=True),
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
    sa.Index("ix_certificate_provisioner", "provisioner_name", "number"),
    sa.Index("ix_certificate_kind", "kind", "number"),
    sa.Index("ix_certificate_parent", "parent", sqlite_where=sa.text("parent IS NOT NULL")),
)

# Each name once, however often its certificate was renewed: a search for a part of a name reads these rows only.
NAME = sa.Table(
    "name",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("text", sa.Text, nullable=False, unique=True),
)

CERTIFICATE_NAME = sa.Table(
    "certificate_name",
    METADATA,
    sa.Column("name_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
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

# The list that is served. The bytes stand last: whoever wants to know its number does not read them.
CRL = sa.Table(
    "crl",
    METADATA,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("issuer", _DIGEST, nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("this_update", sa.BigInteger, nullable=False),
    sa.Column("next_update", sa.BigInteger, nullable=False),
    sa.Column("revocations", sa.Integer, nullable=False),
    sa.Column("der", sa.LargeBinary, nullable=False),
)

# One row: the newest number that was given out, whether or not a list came of it.
CRL_NUMBER = sa.Table(
    "crl_number",
    METADATA,
    sa.Column("only", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("given_out", sa.BigInteger, nullable=False),
    sa.CheckConstraint("only = 1", name="ck_crl_number_only"),
)
