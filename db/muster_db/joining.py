"""What a worker and a database must have before a study's trials may run there."""

from __future__ import annotations

from muster.errors import UserError
from muster_db.database import Database
from muster_db.datasets import list_datasets
from muster_db.study import Study


def check_version(study: Study, *, code_version: str) -> None:
    """Raise UserError where this muster is not the one that the contract names."""
    wanted = study.contract.code_version
    if code_version != wanted:
        raise UserError(
            f"study {study.name!r} is a study of muster {wanted}, this is muster {code_version}: "
            f"their trials would not compare; install muster {wanted} here, or create a new study"
        )


def check_dataset(engine: Database, study: Study) -> None:
    """Raise UserError where the study's dataset is not in the database any more."""
    fingerprint = study.contract.dataset_fingerprint
    if not any(each.fingerprint == fingerprint for each in list_datasets(engine, fingerprint)):
        raise UserError(
            f"study {study.name!r}: its dataset {study.contract.dataset_name!r} (fingerprint "
            f"{fingerprint}) is gone from this database; store it again with `muster data add`"
        )
