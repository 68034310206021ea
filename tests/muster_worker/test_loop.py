from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from sqlalchemy import Engine

from commands import wait_until
from muster.errors import UserError
from muster.settings import Settings
from muster_db import workers
from muster_db.study import Study, StudyProgress, progress, stop_study
from muster_worker.loop import FAILURES_IN_A_ROW, Ended, work
from muster_worker.machine import Machine

MakeStudy = Callable[..., Study]


@pytest.fixture
def run(engine: Engine, settings: Settings, machine: Machine) -> Callable[[str | None], Ended]:
    """Works until nothing is left."""
    return lambda name: work(
        engine, study_name=name, machine=machine, settings=settings, stop=Event()
    )


def test_worker_runs_exactly_the_budget_and_signs_off(
    engine: Engine, make_study: MakeStudy, run: Callable[[str | None], Ended]
) -> None:
    study = make_study(budget=3)
    assert run("study") == Ended(counts=Counter(complete=3))
    assert progress(engine, study) == StudyProgress(3, 3, 0, 0, "open")
    assert run("study") == Ended()
    first, second = workers.list_workers(engine, study)
    assert (first.told, second.told) == (3, 0)
    assert (first.worker.ordinal, second.worker.ordinal) == (0, 1)
    assert None not in (first.left_at, second.left_at)


def test_worker_without_a_study_serves_the_open_ones_alone(
    engine: Engine, make_study: MakeStudy, run: Callable[[str | None], Ended]
) -> None:
    one, stopped, two = (make_study(name=name, budget=1) for name in ("one", "stopped", "two"))
    stop_study(engine, stopped)
    assert run(None).counts == Counter(complete=2)
    assert [progress(engine, study).told for study in (one, stopped, two)] == [1, 0, 1]


def test_stopped_study_drains_a_worker_in_mid_trial_which_leaves(
    engine: Engine, make_study: MakeStudy, run: Callable[[str | None], Ended]
) -> None:
    study = make_study(budget=5, epochs=100_000)
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(run, "study")
        wait_until(lambda: progress(engine, study).running == 1)
        stop_study(engine, study)
        assert working.result(timeout=60).counts == Counter(released=1)
    assert progress(engine, study) == StudyProgress(5, 0, 0, 1, "stopped")


def test_worker_gives_up_after_three_failures_in_a_row(
    engine: Engine, make_study: MakeStudy, run: Callable[[str | None], Ended]
) -> None:
    study = make_study(budget=9, max_attempts=1, pruner="axe")
    ended = run("study")
    assert ended.counts == Counter(failed=FAILURES_IN_A_ROW)
    assert "3 trials in a row failed" in ended.gave_up
    assert progress(engine, study) == StudyProgress(9, 3, 0, 0, "open")


def test_worker_that_is_asked_to_stop_before_it_starts_claims_nothing(
    engine: Engine, make_study: MakeStudy, settings: Settings, machine: Machine
) -> None:
    study = make_study()
    stop = Event()
    stop.set()
    ended = work(engine, study_name="study", machine=machine, settings=settings, stop=stop)
    assert ended == Ended()
    assert progress(engine, study) == StudyProgress(4, 0, 0, 0, "open")


def test_unknown_study_is_refused_with_the_known_ones(
    make_study: MakeStudy, run: Callable[[str | None], Ended]
) -> None:
    make_study()
    with pytest.raises(UserError, match="no study 'nope'; the studies here: study"):
        run("nope")
