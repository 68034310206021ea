"""Optuna's artifacts in the database's blob store."""

from __future__ import annotations

import io
from typing import BinaryIO

from optuna.artifacts.exceptions import ArtifactNotFound
from sqlalchemy import Connection, Engine, delete, select

from muster_db import blobs, records
from muster_db.engine import transact
from muster_db.tables import artifacts


class DatabaseArtifactStore:
    """Optuna's ArtifactStore protocol over muster_db.blobs: no shared disk, no S3."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """The artifact's bytes, checked; raises ArtifactNotFound."""
        return io.BytesIO(blobs.get(self._engine, self._sha(artifact_id)))

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Store an artifact whole, over one of the same name."""
        sha = blobs.put(self._engine, content_body.read())
        row = {"artifact_id": artifact_id, "sha": sha}
        transact(
            self._engine,
            lambda connection: records.upsert(connection, artifacts, [row], keys=("artifact_id",)),
        )

    def remove(self, artifact_id: str) -> None:
        """Remove an artifact; raises ArtifactNotFound."""
        sha = self._sha(artifact_id)

        def verb(connection: Connection) -> None:
            connection.execute(delete(artifacts).where(artifacts.c.artifact_id == artifact_id))

        transact(self._engine, verb)
        blobs.forget(self._engine, [sha])

    def _sha(self, artifact_id: str) -> str:
        query = select(artifacts.c.sha).where(artifacts.c.artifact_id == artifact_id)
        sha: str | None = transact(
            self._engine, lambda connection: connection.execute(query).scalar(), read_only=True
        )
        if sha is None:
            raise ArtifactNotFound(f"artifact {artifact_id} is not in this database")
        return sha
