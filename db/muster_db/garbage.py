"""What nothing refers to: found and deleted, in short transactions beside running workers."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import (
    Connection,
    Engine,
    and_,
    delete,
    exists,
    literal,
    select,
)

from muster_db import blobs as store
from muster_db import tables
from muster_db.clock import clock
from muster_db.engine import transact
from muster_db.study import list_studies
from muster_db.tables import artifacts, blobs, datasets, verbs

# A blob that was just stored is not named by anything until its trial is told.
GRACE_SECONDS = 3600.0
# Optuna's key of the attribute by which a study or a trial names an artifact.
ARTIFACT_KEY = "artifacts:"
ATTRIBUTES = tuple(
    tables.OPTUNA.tables[name] for name in ("study_system_attributes", "trial_system_attributes")
)


@dataclass(frozen=True)
class Collected:
    """How many went; blob_bytes: of the blobs together."""

    blobs: int
    blob_bytes: int
    artifacts: int
    datasets: int

    def __str__(self) -> str:
        size = f"{self.blobs} blobs ({self.blob_bytes / 1e6:.1f} MB)"
        return f"{size}, {self.artifacts} artifacts, {self.datasets} datasets removed"


def collect(
    engine: Engine, *, unused_datasets: bool = False, grace_seconds: float = GRACE_SECONDS
) -> Collected:
    """Delete artifacts that no study or trial names, then blobs that nothing names.

    unused_datasets: datasets that no study uses as well. What was stored within grace_seconds
    stays: a trial that is about to be told may name it.
    """
    datasets_gone = _drop_datasets(engine, grace_seconds) if unused_datasets else 0
    artifacts_gone = transact(
        engine, lambda connection: _drop_artifacts(connection, grace_seconds)
    )
    found = transact(
        engine, lambda connection: _unnamed(connection, grace_seconds), read_only=True
    )
    transact(
        engine,
        lambda connection: connection.execute(
            delete(verbs).where(verbs.c.done_at < clock(-grace_seconds))
        ),
    )
    gone = [size for sha, size in found if _drop_blob(engine, sha, grace_seconds)]
    return Collected(len(gone), sum(gone), artifacts_gone, datasets_gone)


def _drop_datasets(engine: Engine, grace_seconds: float) -> int:
    used = {study.contract.dataset_fingerprint for study in list_studies(engine)}
    is_unused = and_(
        datasets.c.stored_at < clock(-grace_seconds), datasets.c.fingerprint.not_in(used)
    )
    return transact(
        engine, lambda connection: connection.execute(delete(datasets).where(is_unused)).rowcount
    )


def _drop_artifacts(connection: Connection, grace_seconds: float) -> int:
    key = literal(ARTIFACT_KEY).concat(artifacts.c.artifact_id)
    unnamed = [~exists().where(table.c.key == key) for table in ATTRIBUTES]
    is_old = exists().where(
        blobs.c.sha == artifacts.c.sha, blobs.c.used_at < clock(-grace_seconds)
    )
    return connection.execute(delete(artifacts).where(is_old, *unnamed)).rowcount


def _unnamed(connection: Connection, grace_seconds: float) -> list[tuple[str, int]]:
    is_old = blobs.c.used_at < clock(-grace_seconds)
    query = select(blobs.c.sha, blobs.c.size).where(is_old, *store.nothing_names_it())
    return [(sha, size) for sha, size in connection.execute(query)]


def _drop_blob(engine: Engine, sha: str, grace_seconds: float) -> bool:
    """Whether the blob went; one that a worker stored again meanwhile stays."""
    is_old = blobs.c.used_at < clock(-grace_seconds)
    return transact(engine, lambda connection: store.drop(connection, sha, is_old))
