"""Members, and as whom each worker joined."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, DateTime, Integer, String, inspect
from sqlalchemy.dialects import mysql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

MOMENT = DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


def upgrade() -> None:
    """Add a table and columns. MySQL commits each at once: what a cut-off run made stays."""
    known = {each["name"] for each in inspect(op.get_bind()).get_columns("muster_workers")}
    # Nullable, so that a backup which was made before restores.
    for name, characters in (("account", 64), ("address", 255)):
        if name not in known:
            op.add_column("muster_workers", Column(name, String(characters)))
    if not inspect(op.get_bind()).has_table("muster_members"):
        op.create_table(
            "muster_members",
            Column("member_id", Integer, primary_key=True),
            Column("name", String(64), nullable=False),
            Column("role", String(16), nullable=False),
            Column("study", String(255)),
            Column("account", String(64), nullable=False, unique=True),
            Column("invited_at", MOMENT, nullable=False),
            Column("expires_at", MOMENT),
            Column("locked_at", MOMENT),
            Column("revoked_at", MOMENT),
            mysql_engine="InnoDB",
            mysql_charset="utf8mb4",
            mysql_collate="utf8mb4_bin",
        )
