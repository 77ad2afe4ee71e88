"""The first tables on a database server; SQLite's files of this version were made whole."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0003"
down_revision = None

_SERVER: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}
_SERIAL = sa.String(40)
_DIGEST = sa.String(64)
_PROVISIONER = sa.String(600)
_PROVISIONER_NAME = sa.String(300)
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TEXT = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql")
_DER = sa.LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql")
_LIST = sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql")
_NAME = sa.Text().with_variant(sa.String(500), "mysql")


def upgrade() -> None:
    """Make the tables."""
    _create_certificates()
    _create_withdrawals()
    op.create_table(
        "coldroot_schema",
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        **_SERVER,
    )


def _create_certificates() -> None:
    op.create_table(
        "used_token",
        sa.Column("provisioner_id", _PROVISIONER, primary_key=True),
        sa.Column("digest", _DIGEST, primary_key=True),
        sa.Column("expires", sa.BigInteger, nullable=False),
        **_SERVER,
    )
    op.create_index("ix_used_token_expires", "used_token", ["expires"])
    op.create_table(
        "certificate",
        sa.Column("number", _NUMBER, primary_key=True),
        sa.Column("serial", _SERIAL, nullable=False, unique=True),
        sa.Column("der", _DER, nullable=False),
        sa.Column("subject", _TEXT, nullable=False),
        sa.Column("sans", _TEXT, nullable=False),
        sa.Column("not_before", sa.BigInteger, nullable=False),
        sa.Column("not_after", sa.BigInteger, nullable=False),
        sa.Column("key_digest", _DIGEST, nullable=False),
        sa.Column("provisioner_id", _PROVISIONER, nullable=False),
        sa.Column("provisioner_name", _PROVISIONER_NAME, nullable=False),
        sa.Column("parent", _SERIAL, nullable=True),
        sa.Column("kind", sa.String(16), nullable=False),
        **_SERVER,
    )
    op.create_index("ix_certificate_not_after", "certificate", ["not_after"])
    op.create_index("ix_certificate_provisioner", "certificate", ["provisioner_name", "number"])
    op.create_index("ix_certificate_kind", "certificate", ["kind", "number"])
    op.create_index("ix_certificate_parent", "certificate", ["parent", "not_before"])
    op.create_table(
        "name",
        sa.Column("id", _NUMBER, primary_key=True),
        sa.Column("text", _NAME, nullable=False, unique=True),
        **_SERVER,
    )
    op.create_table(
        "certificate_name",
        sa.Column("name_id", _NUMBER, primary_key=True, autoincrement=False),
        sa.Column("number", _NUMBER, primary_key=True, autoincrement=False),
        **_SERVER,
    )


def _create_withdrawals() -> None:
    op.create_table(
        "revocation",
        sa.Column("serial", _SERIAL, primary_key=True),
        sa.Column("revoked_at", sa.BigInteger, nullable=False),
        sa.Column("reason_code", sa.Integer, nullable=False),
        sa.Column("reason", _TEXT, nullable=False),
        sa.Column("proof", sa.String(16), nullable=False),
        sa.Column("provisioner_id", _PROVISIONER, nullable=False),
        sa.Column("compromised_key", _DIGEST, nullable=True),
        **_SERVER,
    )
    op.create_table("compromised_key", sa.Column("key_digest", _DIGEST, primary_key=True), **_SERVER)
    op.create_table(
        "crl",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("issuer", _DIGEST, nullable=False),
        sa.Column("url", _TEXT, nullable=False),
        sa.Column("this_update", sa.BigInteger, nullable=False),
        sa.Column("next_update", sa.BigInteger, nullable=False),
        sa.Column("revocations", sa.Integer, nullable=False),
        sa.Column("der", _LIST, nullable=False),
        **_SERVER,
    )
    op.create_table(
        "crl_number",
        sa.Column("only", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("given_out", sa.BigInteger, nullable=False),
        sa.CheckConstraint(sa.column("only") == 1, name="ck_crl_number_only"),
        **_SERVER,
    )
