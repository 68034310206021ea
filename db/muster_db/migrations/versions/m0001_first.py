"""The first tables: studies, trials, workers, blobs, artifacts, datasets."""

from __future__ import annotations

from typing import Any

from alembic import op
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Integer,
    LargeBinary,
    String,
    Text,
)
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

MOMENT = DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
LONG_TEXT = Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
CHUNK = LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb")
# Names differ where their bytes do; a case-insensitive collation takes `a` for `A`.
BINARY: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}

# Whoever deletes a study through a connection without foreign keys (the dashboard on SQLite)
# must not leave our rows behind: SQLite gives the freed ids to the next trials.
TRIGGERS = (
    """CREATE TRIGGER muster_forget_trial AFTER DELETE ON trials BEGIN
         DELETE FROM muster_trial_blobs WHERE trial_id = OLD.trial_id;
         DELETE FROM muster_trials WHERE trial_id = OLD.trial_id;
       END""",
    """CREATE TRIGGER muster_forget_study AFTER DELETE ON studies BEGIN
         DELETE FROM muster_workers WHERE study_id = OLD.study_id;
         DELETE FROM muster_studies WHERE study_id = OLD.study_id;
       END""",
)


def upgrade() -> None:
    """Make the tables; Optuna's stand already."""
    _make_studies()
    _make_trials()
    _make_workers()
    _make_blobs()
    if op.get_bind().dialect.name == "sqlite":
        for trigger in TRIGGERS:
            op.execute(trigger)


def _make_studies() -> None:
    op.create_table(
        "muster_studies",
        Column(
            "study_id",
            Integer,
            ForeignKey("studies.study_id", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        Column("contract_hash", String(64), nullable=False),
        Column("contract", LONG_TEXT, nullable=False),
        Column("state", String(16), nullable=False),
        Column("priority", Integer, nullable=False),
        Column("max_attempts", Integer, nullable=False),
        Column("budget", Integer, nullable=False),
        Column("claimed", Integer, nullable=False),
        Column("told", Integer, nullable=False),
        Column("joined", Integer, nullable=False),
        Column("revision", BigInteger, nullable=False),
        Column("created_at", MOMENT, nullable=False),
        Column("ends_at", MOMENT),
        Column("patience", Integer),
        **BINARY,
    )


def _make_trials() -> None:
    op.create_table(
        "muster_trials",
        Column(
            "trial_id",
            Integer,
            ForeignKey("trials.trial_id", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        Column(
            "study_id",
            Integer,
            ForeignKey("muster_studies.study_id", ondelete="CASCADE"),
            nullable=False,
        ),
        Column("number", Integer, nullable=False),
        Column("state", String(16), nullable=False),
        Column("token", String(32), nullable=False),
        Column("worker_id", Integer),
        Column("attempt", Integer, nullable=False),
        Column("failures", Integer, nullable=False),
        Column("expires_at", MOMENT, nullable=False),
        Column("revision", BigInteger, nullable=False),
        Column("params_hash", String(64), nullable=False),
        Column("error", LONG_TEXT),
        **BINARY,
    )
    for name, columns, unique in (
        ("muster_trials_number", ["study_id", "number"], True),
        ("muster_trials_revision", ["study_id", "revision"], False),
        ("muster_trials_state", ["study_id", "state"], False),
        ("muster_trials_params", ["study_id", "params_hash"], False),
    ):
        op.create_index(name, "muster_trials", columns, unique=unique)
    op.create_table(
        "muster_trial_blobs",
        Column(
            "trial_id",
            Integer,
            ForeignKey("muster_trials.trial_id", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        Column("name", String(64), primary_key=True),
        Column("sha", String(64), nullable=False),
        **BINARY,
    )
    op.create_index("muster_trial_blobs_sha", "muster_trial_blobs", ["sha"])


def _make_workers() -> None:
    op.create_table(
        "muster_workers",
        Column("worker_id", Integer, primary_key=True),
        Column(
            "study_id",
            Integer,
            ForeignKey("muster_studies.study_id", ondelete="CASCADE"),
            nullable=False,
        ),
        Column("ordinal", Integer, nullable=False),
        Column("host", String(255), nullable=False),
        Column("device", String(255), nullable=False),
        Column("joined_at", MOMENT, nullable=False),
        Column("seen_at", MOMENT, nullable=False),
        Column("left_at", MOMENT),
        **BINARY,
    )


def _make_blobs() -> None:
    op.create_table(
        "muster_blobs",
        Column("sha", String(64), primary_key=True),
        Column("size", BigInteger, nullable=False),
        Column("is_whole", Boolean, nullable=False),
        Column("used_at", MOMENT, nullable=False),
        **BINARY,
    )
    op.create_table(
        "muster_blob_chunks",
        Column("sha", String(64), primary_key=True),
        Column("position", Integer, primary_key=True, autoincrement=False),
        Column("data", CHUNK, nullable=False),
        **BINARY,
    )
    op.create_table(
        "muster_artifacts",
        Column("artifact_id", String(255), primary_key=True),
        Column("sha", String(64), nullable=False),
        **BINARY,
    )
    op.create_table(
        "muster_datasets",
        Column("fingerprint", String(64), primary_key=True),
        Column("name", String(255), nullable=False),
        Column("sha", String(64), nullable=False),
        Column("sequences", Integer, nullable=False),
        Column("channels", Integer, nullable=False),
        Column("classes", Integer, nullable=False),
        Column("stored_at", MOMENT, nullable=False),
        **BINARY,
    )
