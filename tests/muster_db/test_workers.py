from __future__ import annotations

from optuna.trial import TrialState
from sqlalchemy import Engine

from muster_db import trials, workers
from muster_db.workers import Worker, register
from samples import make_study, run_out, take


def test_workers_have_ordinals_and_counts(engine: Engine) -> None:
    study = make_study(engine)
    joined = [register(engine, study, host=f"h{n}", device="cpu") for n in range(2)]
    assert [worker.ordinal for worker in joined] == [0, 1]
    held = take(engine, study, worker_id=joined[0].worker_id)
    take(engine, study, worker_id=joined[1].worker_id)
    trials.tell(engine, held, state=TrialState.COMPLETE, value=1.0, attributes={}, blobs={})
    workers.leave(engine, joined[0])
    first, second = workers.list_workers(engine, study)
    assert (first.worker, second.worker) == tuple(joined)
    assert (first.told, first.running, second.told, second.running) == (1, 0, 0, 1)
    assert first.left_at is not None
    assert second.left_at is None


def test_a_failed_attempt_stays_with_the_worker_that_it_failed_on(engine: Engine) -> None:
    study = make_study(engine, budget=1)
    sick, sound = (register(engine, study, host=name, device="cpu") for name in ("a", "b"))
    elsewhere = make_study(engine, name="other")
    stranger = register(engine, elsewhere, host="c", device="cpu")
    trials.fail_attempt(engine, take(engine, elsewhere, worker_id=stranger.worker_id), "error")

    def failures() -> list[int]:
        return [each.failed for each in workers.list_workers(engine, study)]

    def blamed(worker: Worker) -> bool:
        return not workers.has_failed_elsewhere(engine, worker)

    trials.fail_attempt(engine, take(engine, study, worker_id=sick.worker_id), "error")
    held = take(engine, study, worker_id=sound.worker_id)
    assert failures() == [1, 0]
    assert blamed(sick)
    assert not blamed(sound)
    run_out(engine, held)
    trials.reap(engine, study)
    assert blamed(sick)
    trials.fail_attempt(engine, held, "error")
    assert failures() == [1, 1]
    assert not blamed(sick)
