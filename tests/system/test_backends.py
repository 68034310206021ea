"""One search on either server, and workers that share one, with real processes and real kills."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from safetensors import safe_open
from sqlalchemy import Engine, text

from commands import RUN, SPACE, Finished, done, finish, started, wait_until, write_example
from muster_db import blobs, trials, workers
from muster_db.engine import connect, transact
from muster_db.names import CHECKPOINT
from muster_db.progress import progress
from muster_db.study import open_study

pytestmark = pytest.mark.mariadb
QUICK = {
    "MUSTER_LEASE_SECONDS": "2",
    "MUSTER_HEARTBEAT_SECONDS": "0.1",
    "MUSTER_CHECKPOINT_SECONDS": "0.1",
}


@pytest.fixture
def engine(mariadb_url: str) -> Iterator[Engine]:
    """An engine on an empty database, which the commands under test initialise."""
    connected = connect(mariadb_url)
    yield connected
    connected.dispose()


def told(url: str) -> list[Any]:
    study = optuna.load_study(study_name="space", storage=url)
    return [
        (trial.number, trial.state, trial.params, trial.value, trial.intermediate_values)
        for trial in study.trials
    ]


def test_same_run_on_both_servers_finds_the_same_to_the_bit(
    finished: Finished, mariadb_url: str, tmp_path: Path
) -> None:
    write_example(tmp_path)
    done(*RUN, folder=tmp_path, MUSTER_DB_URL=mariadb_url)
    assert repr(told(mariadb_url)) == repr(told(finished.db[1]))
    ours, theirs = tmp_path / "out", finished.folder / "out"
    assert (ours / "predictions.csv").read_bytes() == (theirs / "predictions.csv").read_bytes()
    for row in ("random_guess", "best_single", "ensemble"):
        summaries = (json.loads((out / "summary.json").read_text()) for out in (ours, theirs))
        assert len({repr(summary[row]) for summary in summaries}) == 1
    assert not (ours / "muster.db").exists()


def test_two_workers_share_a_budget_exactly(
    engine: Engine, mariadb_url: str, tmp_path: Path
) -> None:
    write_example(tmp_path)
    done("run", "waves.toml", "--space", "space.toml", "--trials", "9", "--workers", "2",
         "--out", "out", folder=tmp_path, MUSTER_DB_URL=mariadb_url)  # fmt: skip
    study = open_study(engine, "space")
    now = progress(engine, study)
    assert (now.told, now.running, now.waiting) == (9, 0, 0)
    found = told(mariadb_url)
    assert [number for number, *_ in found] == list(range(9))
    assert all(state.is_finished() for _, state, *_ in found)
    assert len({repr(params) for _, _, params, *_ in found}) == 9
    seen = workers.list_workers(engine, study)
    assert len(seen) == 2
    assert sum(each.told for each in seen) == 9
    assert all(each.left_at is not None for each in seen)


def test_killed_workers_trial_is_resumed_under_its_number_from_its_checkpoint(
    engine: Engine, mariadb_url: str, tmp_path: Path
) -> None:
    write_example(tmp_path, space=SPACE.replace("epochs = 3", "epochs = 100000"))
    db = ("--db", mariadb_url)
    done("db", "init", *db, folder=tmp_path)
    done("data", "add", "waves.toml", *db, folder=tmp_path)
    create = ("study", "create", "space", "--data", "waves", "--space", "space.toml")
    done(*create, "--trials", "1", *db, folder=tmp_path)
    study = open_study(engine, "space")
    worker = ("worker", "--study", "space", *db)
    with started(*worker, folder=tmp_path, **QUICK) as first:
        wait_until(lambda: _checkpoint_epochs(engine, tmp_path) > 0)
        first.kill()
        finish(first)
    assert progress(engine, study).running == 1
    epochs = _checkpoint_epochs(engine, tmp_path)
    _execute(engine, "DELETE FROM trial_intermediate_values")
    with started(*worker, folder=tmp_path, **QUICK) as second:
        wait_until(lambda: _execute(engine, "SELECT 1 FROM trial_intermediate_values") == 1)
        second.terminate()
        ended = finish(second)
    assert ended.returncode == 0, ended.stderr
    # Whoever starts anew reports step 0; whoever resumes, the first epoch after the checkpoint.
    assert _execute(engine, "SELECT MIN(step) FROM trial_intermediate_values") == epochs
    ((number, state, *_),) = told(mariadb_url)
    assert (number, state) == (0, TrialState.WAITING)
    assert _execute(engine, "SELECT attempt FROM muster_trials") == 2
    assert _checkpoint_epochs(engine, tmp_path) > epochs


def _execute(engine: Engine, statement: str) -> Any:
    """Run a statement and return the first value it yields, if it yields any."""

    def verb(connection: Any) -> Any:
        result = connection.execute(text(statement))
        return result.scalar() if result.returns_rows else None

    return transact(engine, verb)


def _checkpoint_epochs(engine: Engine, folder: Path) -> int:
    """Finished epochs of the first fold in the stored checkpoint; 0 where there is none."""
    trial_id = _execute(engine, "SELECT trial_id FROM trials")
    names = {} if trial_id is None else trials.blob_names(engine, trial_id)
    if CHECKPOINT not in names:
        return 0
    path = folder / "checkpoint.safetensors"
    path.write_bytes(blobs.get(engine, names[CHECKPOINT]))
    with safe_open(str(path), framework="np") as file:
        epochs: int = json.loads(file.metadata()["muster"])["fit"]["epoch"]
    return epochs
