"""What a worker and a database must have before a study's trials may run there."""

from __future__ import annotations

from sqlalchemy import Engine, select

from muster.errors import UserError
from muster_db.engine import transact
from muster_db.study import Study
from muster_db.tables import datasets


def check_version(study: Study, *, code_version: str) -> None:
    """Raise UserError where this muster is not the one that the contract names."""
    wanted = study.contract.code_version
    if code_version != wanted:
        raise UserError(
            f"study {study.name!r} is a study of muster {wanted}, this is muster {code_version}: "
            f"their trials would not compare; install muster {wanted} here, or create a new study"
        )


def check_dataset(engine: Engine, study: Study) -> None:
    """Raise UserError where the study's dataset is not in the database any more."""
    fingerprint = study.contract.dataset_fingerprint
    query = select(datasets.c.sha).where(datasets.c.fingerprint == fingerprint)
    found = transact(engine, lambda connection: connection.execute(query).first(), read_only=True)
    if found is None:
        raise UserError(
            f"study {study.name!r}: its dataset {study.contract.dataset_name!r} (fingerprint "
            f"{fingerprint}) is gone from this database; store it again with `muster data add`"
        )
