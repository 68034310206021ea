from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event

import pytest
from sqlalchemy import Engine, update

from commands import wait_until
from muster.errors import UserError
from muster.settings import Settings
from muster_db import trials, workers
from muster_db.engine import connect
from muster_db.names import CHECKPOINT
from muster_db.progress import StudyProgress, progress
from muster_db.study import Study, delete_study, stop_study
from muster_db.tables import trials as table
from muster_worker.courier import Courier
from muster_worker.loop import Ended, work
from muster_worker.machine import Machine
from muster_worker.streak import FAILURES_IN_A_ROW

MakeStudy = Callable[..., Study]
Start = Callable[[str | None], tuple[Event, Future[Ended]]]


@pytest.fixture
def run(engine: Engine, settings: Settings, machine: Machine) -> Callable[[str | None], Ended]:
    """Works until nothing is left."""
    return lambda name: work(
        engine, study_name=name, machine=machine, settings=settings, stop=Event()
    )


@pytest.fixture
def start(engine: Engine, settings: Settings, machine: Machine) -> Iterator[Start]:
    """Starts workers in threads; those that still work at the end are asked to stop."""
    stops: list[Event] = []
    with ThreadPoolExecutor(4) as pool:

        def begin(name: str | None) -> tuple[Event, Future[Ended]]:
            stops.append(stop := Event())
            own = connect(engine.url.render_as_string(hide_password=False))
            return stop, pool.submit(
                work, own, study_name=name, machine=machine, settings=settings, stop=stop
            )

        yield begin
        for stop in stops:
            stop.set()


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


def test_worker_says_what_it_found_and_how_quickly_it_trains(
    engine: Engine,
    make_study: MakeStudy,
    settings: Settings,
    machine: Machine,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", logger="muster_worker")
    study = make_study(budget=1)
    probing = settings.model_copy(update={"probe_seconds": 5.0})
    work(engine, study_name=None, machine=machine, settings=probing, stop=Event())
    (said,) = [line for line in caplog.messages if line.startswith("this machine: ")]
    for part in ("CPU, 1 thread", "training steps a second", "ms to the database and back"):
        assert part in said
    (worker,) = workers.list_workers(engine, study)
    assert worker.equipment.steps_per_second is not None
    assert worker.equipment.round_trip_seconds is not None
    assert worker.pace.epochs >= 1


def test_worker_without_a_study_serves_the_open_ones_alone(
    engine: Engine, make_study: MakeStudy, run: Callable[[str | None], Ended]
) -> None:
    one, stopped, two = (make_study(name=name, budget=1) for name in ("one", "stopped", "two"))
    stop_study(engine, stopped)
    assert run(None).counts == Counter(complete=2)
    assert [progress(engine, study).told for study in (one, stopped, two)] == [1, 0, 1]


def test_stopped_study_drains_a_worker_in_mid_trial_which_leaves(
    engine: Engine, make_study: MakeStudy, start: Start
) -> None:
    study = make_study(budget=5, epochs=100_000)
    _, working = start("study")
    wait_until(lambda: progress(engine, study).ahead == 1)
    stop_study(engine, study)
    assert working.result(timeout=60).counts == Counter(released=1)
    # The one in its middle, and the next one, which was claimed ahead.
    assert progress(engine, study) == StudyProgress(5, 0, 0, 2, "stopped")
    assert CHECKPOINT in trials.blob_names(engine, 1)


def test_worker_gives_up_after_three_failures_in_a_row(
    engine: Engine, make_study: MakeStudy, run: Callable[[str | None], Ended]
) -> None:
    study = make_study(budget=9, max_attempts=1, pruner="axe")
    ended = run("study")
    assert ended.counts == Counter(failed=FAILURES_IN_A_ROW)
    assert "3 trials in a row failed" in ended.gave_up
    assert progress(engine, study) == StudyProgress(9, 3, 0, 1, "open")


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


def test_next_trial_is_claimed_while_one_trains_and_given_back_by_a_worker_that_stops(
    engine: Engine, make_study: MakeStudy, start: Start
) -> None:
    study = make_study(budget=5, epochs=100_000)
    stop, working = start("study")
    wait_until(lambda: progress(engine, study).ahead == 1)
    stop.set()
    assert working.result(timeout=60).counts == Counter(released=1)
    assert progress(engine, study) == StudyProgress(5, 0, 0, 2, "open")


def test_idle_worker_begins_what_a_busy_one_has_claimed_ahead(
    engine: Engine, make_study: MakeStudy, start: Start
) -> None:
    study = make_study(budget=2, epochs=100_000)
    first_stop, first = start("study")
    wait_until(lambda: progress(engine, study).ahead == 1)
    second_stop, second = start("study")
    wait_until(lambda: [each.running for each in workers.list_workers(engine, study)] == [1, 1])
    first_stop.set()
    second_stop.set()
    first.result(timeout=60)
    second.result(timeout=60)
    assert progress(engine, study) == StudyProgress(2, 0, 0, 2, "open")


def test_attempt_whose_lease_another_worker_took_is_dropped_and_changes_nothing(
    engine: Engine, make_study: MakeStudy, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    study = make_study(budget=1, epochs=100_000)
    stop, working = start("study")
    wait_until(lambda: progress(engine, study).running == 1)
    with engine.begin() as connection:
        connection.execute(update(table).values(token="another worker's"))
    wait_until(lambda: "another worker holds it by now" in caplog.text)
    stop.set()
    assert working.result(timeout=60).counts == Counter(lost=1)
    assert progress(engine, study).running == 1


def test_deleted_study_ends_a_worker_that_serves_it_alone_and_no_other(
    engine: Engine, make_study: MakeStudy, start: Start
) -> None:
    gone = make_study(name="gone", budget=1, epochs=100_000, priority=1)
    other = make_study(name="other", budget=1)
    _, alone = start("gone")
    wait_until(lambda: progress(engine, gone).running == 1)
    delete_study(engine, gone)
    with pytest.raises(UserError, match="'gone'"):
        alone.result(timeout=60)
    again = make_study(name="gone", budget=1, epochs=100_000, priority=1)
    _, fleet = start(None)
    wait_until(lambda: progress(engine, again).running == 1)
    delete_study(engine, again)
    assert fleet.result(timeout=60).counts == Counter(lost=1, complete=1)
    assert progress(engine, other).told == 1


def test_next_trial_that_is_asked_for_twice_is_claimed_once(
    engine: Engine, make_study: MakeStudy, machine: Machine, settings: Settings
) -> None:
    study = make_study(budget=9)
    stop = Event()
    courier = Courier(engine, study_name="study", machine=machine, settings=settings, stop=stop)
    done = Event()
    with courier:
        assert courier.next() is not None
        wait_until(lambda: courier._ahead.ready is not None)
        courier._ask(courier._claim)
        courier._ask(done.set)
        assert done.wait(timeout=60)
        assert progress(engine, study).ahead == 1
        stop.set()
