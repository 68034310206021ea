"""A digest of each trial in its row, so that a mirror reads one row a trial."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Text, inspect
from sqlalchemy.dialects import mysql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns. MySQL commits each at once: what a cut-off run made stays."""
    known = {each["name"] for each in inspect(op.get_bind()).get_columns("muster_trials")}
    for name in ("params", "outcome"):
        if name not in known:
            text = Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
            op.add_column("muster_trials", Column(name, text))
