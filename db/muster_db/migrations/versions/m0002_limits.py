"""What a study was asked for before a limit ended it, and from when its limits count."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Float, Integer

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; empty ones mean what there was before."""
    op.add_column("muster_studies", Column("asked", Integer))
    op.add_column("muster_studies", Column("limit_seconds", Float(53)))
    op.add_column("muster_studies", Column("limits_from", BigInteger))
