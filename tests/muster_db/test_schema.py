from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import optuna
import pytest
from sqlalchemy import Engine, text

from muster.errors import UserError
from muster_db import schema
from muster_db.claims import Claim
from muster_db.engine import connect
from muster_db.study import open_study
from samples import make_study, take


def test_sixteen_workers_initialise_an_empty_database_at_once(database_url: str) -> None:
    start = threading.Barrier(16)

    def work(_: int) -> None:
        engine = connect(database_url)
        start.wait()
        schema.initialise(engine)
        schema.check(engine)
        engine.dispose()

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))
    storage = optuna.storages.RDBStorage(database_url)
    assert storage.get_current_version() == storage.get_head_version()
    storage.remove_session()
    storage.engine.dispose()
    engine = connect(database_url)
    take(engine, make_study(engine))
    engine.dispose()


def test_initialising_again_changes_nothing(engine: Engine) -> None:
    take(engine, make_study(engine))
    schema.initialise(engine)
    assert len(optuna.load_study(
        study_name="study", storage=engine.url.render_as_string(hide_password=False)
    ).trials) == 1  # fmt: skip


def test_missing_tables_are_named_with_the_command_that_makes_them(database_url: str) -> None:
    engine = connect(database_url)
    with pytest.raises(UserError, match="muster db init"):
        schema.check(engine)
    engine.dispose()


@pytest.mark.parametrize(
    ("table", "version", "message"),
    [
        ("muster_alembic_version", "9999", "a newer muster made"),
        ("alembic_version", "v2.6.0.a", "optuna storage upgrade"),
        ("alembic_version", "v99.0.0", "a newer Optuna made"),
    ],
)
def test_another_schema_version_is_refused(
    engine: Engine, table: str, version: str, message: str
) -> None:
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {table} SET version_num = :v"), {"v": version})
    for verb in (schema.check, schema.initialise):
        with pytest.raises(UserError, match=message):
            verb(engine)


def test_outdated_tables_are_refused_until_upgraded(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM muster_alembic_version"))
    with pytest.raises(UserError, match=r"have version none.*muster db init"):
        schema.check(engine)


def test_studies_of_the_first_tables_are_kept_when_upgraded(engine: Engine) -> None:
    study = make_study(engine, budget=3)
    with engine.begin() as connection:
        for column in ("asked", "limit_seconds", "limits_from"):
            connection.execute(text(f"ALTER TABLE muster_studies DROP COLUMN {column}"))
        connection.execute(text("UPDATE muster_alembic_version SET version_num = '0001'"))
    with pytest.raises(UserError, match=r"version 0001.*muster db upgrade"):
        schema.check(engine)
    schema.initialise(engine)
    assert open_study(engine, study.name) == study
    assert isinstance(take(engine, study, worker_id=1), Claim)


def test_names_differ_by_their_bytes(engine: Engine) -> None:
    make_study(engine, name="pain")
    make_study(engine, name="Pain")
    with pytest.raises(UserError, match="there is a study 'pain' already"):
        make_study(engine, name="pain")
