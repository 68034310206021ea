"""The current ensemble of each study, and patience that goes by its estimate."""

from __future__ import annotations

from alembic import op
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Integer,
    String,
    Text,
    inspect,
)
from sqlalchemy.dialects import mysql

revision = "0006"
down_revision = "0004"
branch_labels = None
depends_on = None

MOMENT = DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
LONG_TEXT = Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
# As for muster_workers: connections without foreign keys leave no row behind either.
TRIGGER = """CREATE TRIGGER IF NOT EXISTS muster_forget_ensemble AFTER DELETE ON studies BEGIN
  DELETE FROM muster_ensembles WHERE study_id = OLD.study_id;
END"""


def upgrade() -> None:
    """Add a column and a table. MySQL commits each at once: what a cut-off run made stays."""
    found = inspect(op.get_bind())
    if "patience_on" not in {each["name"] for each in found.get_columns("muster_studies")}:
        op.add_column("muster_studies", Column("patience_on", String(16)))
    if not found.has_table("muster_ensembles"):
        op.create_table(
            "muster_ensembles",
            Column(
                "study_id",
                Integer,
                ForeignKey("muster_studies.study_id", ondelete="CASCADE"),
                primary_key=True,
                autoincrement=False,
            ),
            Column("snapshot", LONG_TEXT),
            Column("recorded_at", MOMENT),
            Column("revision", BigInteger),
            Column("judged", BigInteger),
            Column("best", Float(53)),
            Column("best_revision", BigInteger),
            Column("held_until", MOMENT),
            Column("rests_until", MOMENT),
            mysql_engine="InnoDB",
            mysql_charset="utf8mb4",
            mysql_collate="utf8mb4_bin",
        )
    if op.get_bind().dialect.name == "sqlite":
        op.execute(TRIGGER)
