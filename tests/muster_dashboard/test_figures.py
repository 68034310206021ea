from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import Engine, update

from muster_dashboard import figures
from muster_dashboard.board import Board, StudySight
from muster_dashboard.dataset import dataset, lengths
from muster_dashboard.metrics import text
from muster_db import overview
from muster_db.outline import read_outline
from muster_db.study import stop_study
from muster_db.tables import optuna_trials
from samples import make_study, take
from searches import tell
from shows import NAME, Show


def seen(engine: Engine, name: str) -> tuple[StudySight, datetime]:
    sight = Board(engine).look(name)
    return sight.studies[name], sight.at


def test_search_counts_trials_by_state_and_architecture(show_engine: Engine, show: Show) -> None:
    found = figures.search(*seen(show_engine, NAME))
    counts = {"complete": 6, "pruned": 1, "failed": 1, "running": 1, "waiting": 1, "next": 0}
    assert found["states"] == counts
    assert found["architectures"] == [{"name": "gru", "best": 0.85, **counts}]
    assert found["best"] == {"value": 0.85, "number": 5, "architecture": "gru"}
    assert [step[2] for step in found["steps"]] == list(range(6))
    assert found["epochs"] == 6 * 20 + 2 + 3
    assert (found["told"], found["budget"], found["state"]) == (8, 20, "open")


def test_where_smaller_is_better_the_best_falls(lite: Engine) -> None:
    study = make_study(lite, direction="minimize", metric="log_loss")
    for value in (0.5, 0.7, 0.3):
        tell(lite, take(lite, study), value)
    found = figures.search(*seen(lite, "study"))
    assert [step[1] for step in found["steps"]] == [0.5, 0.3]
    assert found["best"]["value"] == 0.3


def test_time_left_follows_from_the_last_trials(lite: Engine) -> None:
    study = make_study(lite, budget=10)
    for _ in range(4):
        tell(lite, take(lite, study))
    sight, at = seen(lite, "study")
    assert figures.seconds_left(sight, at) is None
    take(lite, study)
    with lite.begin() as connection:
        for number in range(4):
            ended = at - timedelta(seconds=100 - 25 * number)
            connection.execute(
                update(optuna_trials)
                .where(optuna_trials.c.number == number)
                .values(datetime_complete=ended)
            )
    sight, _ = seen(lite, "study")
    # Four in the last 100 s, six to go.
    assert figures.seconds_left(sight, at) == pytest.approx(150)
    stop_study(lite, study)
    assert figures.seconds_left(seen(lite, "study")[0], at) is None


def test_workers_say_what_they_train_and_who_has_left(show_engine: Engine, show: Show) -> None:
    sight, _ = seen(show_engine, NAME)
    found = figures.crew(sight, sight.workers[1].seen_at)
    (here,) = found["here"]
    assert (here["host"], here["told"]) == ("gpu-box", 8)
    (training,) = here["training"]
    assert training["number"] == show.held.number
    assert (training["fold"], training["epoch"], training["score"]) == (0, 2, 0.58)
    assert [each["host"] for each in found["gone"]] == ["laptop"]


def test_a_worker_that_is_silent_is_no_longer_here(show_engine: Engine, show: Show) -> None:
    sight, at = seen(show_engine, NAME)
    found = figures.crew(sight, at + timedelta(seconds=overview.SILENT_SECONDS + 1))
    assert found["here"] == []
    assert {each["host"]: each["has_left"] for each in found["gone"]} == {
        "gpu-box": False,
        "laptop": True,
    }


def test_the_ensemble_is_the_recorded_one(show_engine: Engine, lite: Engine) -> None:
    found = figures.ensemble(*seen(show_engine, NAME))
    assert found["ensemble"]["nested"] == 0.81
    assert [each["number"] for each in found["ensemble"]["members"]] == [5, 0]
    make_study(lite)
    assert figures.ensemble(*seen(lite, "study"))["ensemble"] is None


def test_the_dataset_is_described_by_what_the_database_knows(
    show_engine: Engine, show: Show
) -> None:
    outline = read_outline(show_engine, show.study.contract.dataset_fingerprint)
    found = dataset(show.study, outline)
    assert (found["sequences"], found["steps"], found["test"]) == (6, 33, 0)
    assert found["lengths"]["counts"] == [1] * 6
    assert found["classes"] == [
        {"name": "a", "train": 3, "test": 0},
        {"name": "b", "train": 3, "test": 0},
    ]
    assert [fold["classes"] for fold in found["folds"]] == [[3, 0], [0, 3]]
    assert found["groups"] is None


def test_lengths_that_are_all_the_same_make_one_column() -> None:
    assert lengths(np.full(4, 7))["counts"] == [4]
    assert lengths(np.zeros(0, dtype=np.int64))["counts"] == []


def test_dots_are_thinned_and_the_last_one_stays(show_engine: Engine, show: Show) -> None:
    sight, _ = seen(show_engine, NAME)
    assert [each.number for each in figures.thin(sight.trials, 3)] == [0, 4, 9]
    assert len(figures.thin(sight.trials, 50)) == 10


def test_what_is_no_number_in_json_becomes_null() -> None:
    given = {"a": [float("nan"), 1.5], "b": (float("-inf"), "x")}
    assert figures.plain_numbers(given) == {"a": [None, 1.5], "b": [None, "x"]}


def test_labels_of_metrics_are_escaped() -> None:
    shown = text([("muster_workers", {"study": 'a"b\\c\nd'}, 2.0)])
    assert shown.splitlines()[-1] == r'muster_workers{study="a\"b\\c\nd"} 2'
