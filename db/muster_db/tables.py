"""The tables that muster adds, and Optuna's own, as SQLAlchemy Core sees them."""

from __future__ import annotations

from typing import Final

from optuna.storages._rdb import models
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.dialects import mysql

OPTUNA: Final[MetaData] = models.BaseModel.metadata
optuna_studies: Final = OPTUNA.tables["studies"]
optuna_directions: Final = OPTUNA.tables["study_directions"]
optuna_study_facts: Final = OPTUNA.tables["study_system_attributes"]
optuna_trials: Final = OPTUNA.tables["trials"]
optuna_params: Final = OPTUNA.tables["trial_params"]
optuna_values: Final = OPTUNA.tables["trial_values"]
optuna_reports: Final = OPTUNA.tables["trial_intermediate_values"]
optuna_attributes: Final = OPTUNA.tables["trial_user_attributes"]

metadata: Final = MetaData()

MICROSECONDS: Final = DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
LONG_TEXT: Final = Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
CHUNK: Final = LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb")

# claimed: slots taken, and the next trial's number. revision: grows by one with each change of
# a trial, under this row's lock, so that readers see the changes in the order of the commits.
# asked: the budget before a limit cut it. limits_from: the revision that patience counts from.
# patience_on: whose better value renews the patience; NULL, in older rows, is the best trial's.
studies = Table(
    "muster_studies",
    metadata,
    Column("study_id", Integer, primary_key=True),
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
    Column("created_at", MICROSECONDS, nullable=False),
    Column("ends_at", MICROSECONDS),
    Column("patience", Integer),
    Column("asked", Integer),
    Column("limit_seconds", Float(53)),
    Column("limits_from", BigInteger),
    Column("patience_on", String(16)),
)

# One row a trial. state: reserved (leased, not begun), running (leased), expired (lease ran out),
# released (given back), told. expires_at: the end of the lease; of an expired one the end of the
# grace in which its worker may come back to a last attempt. failed_by: whose attempt failed last.
# params, outcome: what mirrors read, as digest.py writes it; NULL in rows of before revision 0004.
trials = Table(
    "muster_trials",
    metadata,
    Column("trial_id", Integer, primary_key=True),
    Column("study_id", Integer, nullable=False),
    Column("number", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("token", String(32), nullable=False),
    Column("worker_id", Integer),
    Column("attempt", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("expires_at", MICROSECONDS, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("params_hash", String(64), nullable=False),
    Column("error", LONG_TEXT),
    Column("lease_seconds", Float),
    Column("failed_by", Integer),
    Column("params", LONG_TEXT),
    Column("outcome", LONG_TEXT),
)

trial_blobs = Table(
    "muster_trial_blobs",
    metadata,
    Column("trial_id", Integer, primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("sha", String(64), nullable=False),
)

# failures: attempts that this worker reported as failed. slot: its number where its machine trains
# several trials at once. memory_bytes: the device's. steps_per_second: by a probe on joining.
# epochs, epochs_per_second: trained for this study so far, and of late, as of seen_at.
# account, address: as whom and from where it joined, as the server sees it; NULL on SQLite.
workers = Table(
    "muster_workers",
    metadata,
    Column("worker_id", Integer, primary_key=True),
    Column("study_id", Integer, nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("host", String(255), nullable=False),
    Column("device", String(255), nullable=False),
    Column("joined_at", MICROSECONDS, nullable=False),
    Column("seen_at", MICROSECONDS, nullable=False),
    Column("left_at", MICROSECONDS),
    Column("failures", Integer),
    Column("slot", Integer),
    Column("memory_bytes", BigInteger),
    Column("steps_per_second", Float(53)),
    Column("round_trip_seconds", Float(53)),
    Column("epochs", BigInteger),
    Column("epochs_per_second", Float(53)),
    Column("account", String(64)),
    Column("address", String(255)),
)

# One row an invitation; the account is the server's, and so is its password. locked_at: when
# muster found it expired.
members = Table(
    "muster_members",
    metadata,
    Column("member_id", Integer, primary_key=True),
    Column("name", String(64), nullable=False),
    Column("role", String(16), nullable=False),
    Column("study", String(255)),
    Column("account", String(64), nullable=False, unique=True),
    Column("invited_at", MICROSECONDS, nullable=False),
    Column("expires_at", MICROSECONDS),
    Column("locked_at", MICROSECONDS),
    Column("revoked_at", MICROSECONDS),
)

blobs = Table(
    "muster_blobs",
    metadata,
    Column("sha", String(64), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("is_whole", Boolean, nullable=False),
    Column("used_at", MICROSECONDS, nullable=False),
)

chunks = Table(
    "muster_blob_chunks",
    metadata,
    Column("sha", String(64), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("data", CHUNK, nullable=False),
)

artifacts = Table(
    "muster_artifacts",
    metadata,
    Column("artifact_id", String(255), primary_key=True),
    Column("sha", String(64), nullable=False),
)

datasets = Table(
    "muster_datasets",
    metadata,
    Column("fingerprint", String(64), primary_key=True),
    Column("name", String(255), nullable=False),
    Column("sha", String(64), nullable=False),
    Column("sequences", Integer, nullable=False),
    Column("channels", Integer, nullable=False),
    Column("classes", Integer, nullable=False),
    Column("stored_at", MICROSECONDS, nullable=False),
)

# What the trials of a study are worth together. revision: of the study, up to which the snapshot
# looked. judged: the same of the newest estimate that patience goes by; best: the best such, made
# at best_revision. held_until: somebody makes an estimate; rests_until: none is due before.
ensembles = Table(
    "muster_ensembles",
    metadata,
    Column("study_id", Integer, primary_key=True),
    Column("snapshot", LONG_TEXT),
    Column("recorded_at", MICROSECONDS),
    Column("revision", BigInteger),
    Column("judged", BigInteger),
    Column("best", Float(53)),
    Column("best_revision", BigInteger),
    Column("held_until", MICROSECONDS),
    Column("rests_until", MICROSECONDS),
)

# What muster_db.once has done: so many numbers, as JSON.
verbs = Table(
    "muster_verbs",
    metadata,
    Column("token", String(32), primary_key=True),
    Column("result", Text),
    Column("done_at", MICROSECONDS, nullable=False),
)
