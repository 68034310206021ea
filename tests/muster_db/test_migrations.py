from __future__ import annotations

from alembic import command
from sqlalchemy import Connection, Engine, inspect, select, text

from muster_db import schema, tables
from muster_db.claims import claim
from muster_db.clock import clock
from muster_db.engine import connect, transact
from muster_db.progress import StudyProgress, progress
from muster_db.study import list_studies
from muster_db.trials import reap
from muster_db.workers import list_workers, register
from samples import make_contract, proposer, take

OLD_TRIAL = {
    "study_id": 1, "token": "t", "worker_id": 1, "attempt": 1, "revision": 0, "params_hash": "h"
}  # fmt: skip


def make_first_tables(connection: Connection) -> None:
    """The tables of version 0001, as the first muster left them."""
    schema._make_optuna_tables(connection)
    command.upgrade(schema._config(schema.MIGRATIONS, connection), "0001")


def fill(connection: Connection) -> None:
    """A study with a worker, a trial that expired once, one told and one given back."""
    contract = make_contract()
    study = {
        "study_id": 1, "contract_hash": contract.hash, "contract": contract.canonical,
        "state": "open", "priority": 0, "max_attempts": 3, "budget": 4, "claimed": 3, "told": 1,
        "joined": 1, "revision": 3, "created_at": clock(),
    }  # fmt: skip
    connection.execute(tables.optuna_studies.insert().values(study_id=1, study_name="study"))
    connection.execute(
        tables.optuna_directions.insert().values(study_id=1, objective=0, direction="MAXIMIZE")
    )
    connection.execute(tables.studies.insert().values(**study))
    moments = {"joined_at": clock(), "seen_at": clock()}
    worker = {"worker_id": 1, "study_id": 1, "ordinal": 0, "host": "h", "device": "cpu"}
    connection.execute(tables.workers.insert().values(**worker, **moments))
    found = (("expired", "WAITING", 1), ("told", "COMPLETE", 0), ("released", "WAITING", 2))
    for number, (state, shown, failures) in enumerate(found):
        connection.execute(
            tables.optuna_trials.insert().values(
                trial_id=number + 1, study_id=1, number=number, state=shown
            )
        )
        row = {"trial_id": number + 1, "number": number, "state": state, "failures": failures}
        connection.execute(
            tables.trials.insert().values(**OLD_TRIAL, **row, expires_at=clock(-1.0))
        )


def test_a_database_of_the_first_version_goes_on_where_it_was(database_url: str) -> None:
    engine = connect(database_url)
    transact(engine, make_first_tables)
    transact(engine, fill)
    schema.initialise(engine)
    schema.check(engine)
    (study,) = list_studies(engine)
    assert progress(engine, study) == StudyProgress(4, 1, 0, 2, "open")
    assert failures(engine) == [0, 0, 2]
    assert [each.failed for each in list_workers(engine, study)] == [0]
    assert register(engine, study, host="h", device="cpu").ordinal == 1
    assert reap(engine) == 0
    assert [take(engine, study, worker_id=2).number for _ in range(3)] == [0, 2, 3]
    assert failures(engine) == [1, 0, 2, 0]
    assert isinstance(
        claim(engine, study, worker_id=2, lease_seconds=60, propose=proposer()), StudyProgress
    )
    engine.dispose()


def test_an_upgrade_that_was_cut_off_goes_on(database_url: str) -> None:
    engine = connect(database_url)
    transact(engine, make_first_tables)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE muster_trials ADD COLUMN lease_seconds FLOAT"))
    schema.initialise(engine)
    schema.check(engine)
    engine.dispose()


def test_the_migrations_make_the_tables_that_muster_knows(engine: Engine) -> None:
    for table in tables.metadata.sorted_tables:
        made = {
            each["name"]: each["nullable"]
            for each in inspect(engine).get_columns(table.name)
            if each["name"] not in table.primary_key.columns
        }
        known = {
            column.name: column.nullable for column in table.columns if not column.primary_key
        }
        assert made == known, table.name


def failures(engine: Engine) -> list[int]:
    query = select(tables.trials.c.failures).order_by(tables.trials.c.number)
    with engine.connect() as connection:
        return list(connection.execute(query).scalars())
