"""Leases that keep their length, failures that name their worker, verbs that happen once."""

from __future__ import annotations

from typing import Any

from alembic import op
from sqlalchemy import Column, DateTime, Float, Integer, String, Text, inspect
from sqlalchemy.dialects import mysql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

MOMENT = DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
BINARY: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}


def upgrade() -> None:
    """Add columns and a table. MySQL commits each at once: what a cut-off run made stays."""
    # Nullable, so that a backup which was made before restores.
    _add("muster_trials", Column("lease_seconds", Float))
    _add("muster_trials", Column("failed_by", Integer))
    _add("muster_workers", Column("failures", Integer))
    if not inspect(op.get_bind()).has_table("muster_verbs"):
        op.create_table(
            "muster_verbs",
            Column("token", String(32), primary_key=True),
            Column("result", Text),
            Column("done_at", MOMENT, nullable=False),
            **BINARY,
        )
    # An expired lease was a failure at once; now it is one when the trial is taken over.
    op.execute("UPDATE muster_trials SET failures = failures - 1 WHERE state = 'expired'")


def _add(table: str, column: Column[Any]) -> None:
    if column.name not in {each["name"] for each in inspect(op.get_bind()).get_columns(table)}:
        op.add_column(table, column)
