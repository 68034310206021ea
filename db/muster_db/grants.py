"""What each role may do with each table: a table without a decision here is refused to all."""

from __future__ import annotations

from typing import Final

READ: Final = "SELECT"
CHANGE: Final = "SELECT, UPDATE"
WRITE: Final = "SELECT, INSERT, UPDATE"
REPLACE: Final = "SELECT, INSERT, UPDATE, DELETE"
NOTHING: Final = ""

# What a worker needs; a viewer reads what a worker reads. None of both may DROP, ALTER, CREATE or
# GRANT anywhere: all rights are on single tables.
WORKER: Final[dict[str, str]] = {
    # Optuna's.
    "alembic_version": READ,
    "version_info": READ,
    "studies": READ,
    "study_directions": READ,
    "study_user_attributes": READ,
    # The note, with the ensemble that workers judge.
    "study_system_attributes": WRITE,
    "trials": WRITE,
    "trial_user_attributes": WRITE,
    "trial_system_attributes": READ,
    # A configuration that is drawn anew replaces the one before.
    "trial_params": REPLACE,
    "trial_values": WRITE,
    "trial_intermediate_values": WRITE,
    "trial_heartbeats": READ,
    # Ours.
    "muster_alembic_version": READ,
    "muster_studies": CHANGE,
    "muster_trials": WRITE,
    "muster_trial_blobs": REPLACE,
    "muster_workers": WRITE,
    "muster_ensembles": WRITE,
    "muster_members": NOTHING,
    "muster_blobs": REPLACE,
    "muster_blob_chunks": REPLACE,
    "muster_artifacts": READ,
    "muster_datasets": READ,
    "muster_verbs": WRITE,
}


def of_worker() -> dict[str, str]:
    """Rights of a worker, by table."""
    return {table: rights for table, rights in WORKER.items() if rights}


def of_viewer() -> dict[str, str]:
    """Rights of a viewer, by table."""
    return dict.fromkeys(of_worker(), READ)


ROLES: Final = {"worker": of_worker, "viewer": of_viewer}
