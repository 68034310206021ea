"""Alembic's entry: runs the migrations on the connection that muster_db.schema hands over."""

from __future__ import annotations

from alembic import context

VERSION_TABLE = "muster_alembic_version"

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
with context.begin_transaction():
    context.run_migrations()
