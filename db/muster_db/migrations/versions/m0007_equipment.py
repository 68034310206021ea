"""What a worker found on its machine, and how quickly it trains, in its row."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Float, Integer, inspect

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns. MySQL commits each at once: what a cut-off run made stays."""
    known = {each["name"] for each in inspect(op.get_bind()).get_columns("muster_workers")}
    for column in (
        Column("slot", Integer),
        Column("memory_bytes", BigInteger),
        Column("steps_per_second", Float(53)),
        Column("round_trip_seconds", Float(53)),
        Column("epochs", BigInteger),
        Column("epochs_per_second", Float(53)),
    ):
        if column.name not in known:
            op.add_column("muster_workers", column)
