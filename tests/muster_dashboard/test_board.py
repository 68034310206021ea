from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine

from muster.errors import MusterError
from muster_dashboard.board import ANY, Board
from muster_db import trials
from muster_db.engine import connect
from muster_db.study import delete_study
from samples import make_study, take
from searches import tell
from shows import NAME, Show

HOUR = 3600.0


def test_fifty_readers_cost_one_look(show_engine: Engine, show: Show) -> None:
    board = Board(show_engine, every_seconds=HOUR)
    with ThreadPoolExecutor(50) as pool:
        sights = list(pool.map(lambda _: board.look(NAME), range(200)))
    assert board.looks == 1
    assert len({id(sight) for sight in sights}) == 1
    assert len(sights[0].studies[NAME].trials) == 10


def test_a_later_look_reads_what_has_changed_and_keeps_the_rest(lite: Engine) -> None:
    study = make_study(lite)
    told, held = take(lite, study), take(lite, study)
    tell(lite, told)
    board = Board(lite, every_seconds=0)
    first = board.look(ANY).studies["study"]
    trials.report(lite, held, [(0, 0.5)])
    second = board.look("study").studies["study"]
    assert first.trials[0] is second.trials[0]
    assert (dict(first.trials[1].reports), dict(second.trials[1].reports)) == ({}, {0: 0.5})
    tell(lite, held, 0.75)
    third = board.look("study").studies["study"]
    assert (third.trials[1].value, third.trials[1].is_told) == (0.75, True)
    assert third.head.told == 2


def test_a_study_that_is_deleted_and_made_again_is_another_one(lite: Engine) -> None:
    study = make_study(lite)
    tell(lite, take(lite, study))
    board = Board(lite, every_seconds=0)
    assert len(board.look("study").studies["study"].trials) == 1
    delete_study(lite, study)
    assert board.look("study").studies == {}
    make_study(lite, budget=7)
    again = board.look("study").studies["study"]
    assert (len(again.trials), again.study.budget) == (0, 7)


def test_a_database_that_is_away_is_asked_once_for_all_readers(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path}/none/muster.db", patience_seconds=0.1)
    board = Board(engine, every_seconds=HOUR)
    for _ in range(3):
        with pytest.raises(MusterError):
            board.look(NAME)
    assert (board.looks, board.errors) == (1, 1)
    assert not board.is_reachable()
