"""What the authority is, for nodes that have it from their database."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0004"
down_revision = "0003"

_SERVER: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}
_TEXT = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "authority_document",
        sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
        sa.Column("changed_by", sa.String(300), nullable=False),
        sa.Column("document", _TEXT, nullable=False),
        **_SERVER,
    )
