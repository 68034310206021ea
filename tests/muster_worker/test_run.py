from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import replace
from threading import Event

import numpy as np
import optuna
import pytest
import torch
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Engine

from attempts import attempt
from muster.evaluation import EpochReport, Evaluation
from muster.metrics import score
from muster_db import blobs, trials
from muster_db.claims import Claim
from muster_db.names import CHECKPOINT
from muster_db.study import Study
from muster_worker import readings
from muster_worker.outbox import Outbox
from muster_worker.readings import Reading, Reporter
from muster_worker.run import Context, run_trial, steps

MakeStudy = Callable[..., Study]
MakeContext = Callable[[Study], Context]
Take = Callable[..., Claim]


class StopAfter(Event):
    """A stop request that comes while that many epochs have been trained."""

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self.left = epochs

    def is_set(self) -> bool:
        self.left -= 1
        return self.left < 0


def told(engine: Engine, context: Context) -> list[FrozenTrial]:
    url = engine.url.render_as_string(hide_password=False)
    return optuna.load_study(study_name=context.study.name, storage=url).trials


class Full(Context):
    """A context on a device that has no memory left."""

    def evaluate(self, claim: Claim, resume: bytes | None) -> Evaluation:
        """Fails, as one on a GPU whose memory other slots hold."""
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 bytes.")


def out_of_fold(engine: Engine, claim: Claim) -> str:
    return trials.blob_names(engine, claim.trial_id)["oof"]


def test_complete_trial_leaves_value_reports_attributes_and_blobs(
    engine: Engine, make_study: MakeStudy, context: MakeContext, claim: Take
) -> None:
    held = context(make_study())
    taken = claim(held)
    assert attempt(engine, held, taken, stop=Event()) == "complete"
    (trial,) = told(engine, held)
    assert trial.state == TrialState.COMPLETE
    assert 0.0 <= (trial.value or -1.0) <= 1.0
    assert sorted(trial.intermediate_values) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert set(trial.user_attrs) == {"seconds", "device", "versions", "attempt", "fold_scores"}
    assert len(trial.user_attrs["fold_scores"]) == 2
    names = trials.blob_names(engine, taken.trial_id)
    assert set(names) == {"oof", "test", "curves", "fold0", "fold1"}
    stored = np.load(io.BytesIO(blobs.get(engine, names["oof"])), allow_pickle=False)
    assert stored.dtype == np.float16
    known = held.folds >= 0
    assert score("macro_f1", held.dataset.labels[known], stored[known]) == trial.value


def test_released_trial_is_resumed_by_another_worker_to_the_same_bits(
    engine: Engine, make_study: MakeStudy, context: MakeContext, claim: Take
) -> None:
    whole = context(make_study(name="whole"))
    taken = claim(whole)
    assert attempt(engine, whole, taken, stop=Event()) == "complete"
    held = context(make_study(name="cut"))
    for worker_id in (1, 2):
        cut = claim(held, worker_id=worker_id)
        assert cut.params == taken.params
        assert attempt(engine, held, cut, stop=StopAfter(1)) == "released"
        assert told(engine, held)[0].state == TrialState.WAITING
        assert CHECKPOINT in trials.blob_names(engine, cut.trial_id)
        held = context(held.study)
    resumed = claim(held, worker_id=3)
    assert (resumed.number, resumed.attempt) == (0, 3)
    assert attempt(engine, held, resumed, stop=Event()) == "complete"
    assert out_of_fold(engine, resumed) == out_of_fold(engine, taken)
    assert told(engine, held)[0].value == told(engine, whole)[0].value
    assert told(engine, held)[0].intermediate_values == told(engine, whole)[0].intermediate_values


def test_damaged_checkpoint_lets_the_trial_start_anew(
    engine: Engine,
    make_study: MakeStudy,
    context: MakeContext,
    claim: Take,
    caplog: pytest.LogCaptureFixture,
) -> None:
    held = context(make_study())
    taken = claim(held)
    digest = blobs.put(engine, b"no checkpoint")
    trials.attach(engine, taken, {CHECKPOINT: digest})
    assert attempt(engine, held, taken, stop=Event()) == "complete"
    assert "trial 0: a checkpoint is passed over: the checkpoint is damaged" in caplog.text


def test_non_finite_loss_is_pruned_with_its_reason(
    engine: Engine, make_study: MakeStudy, context: MakeContext, claim: Take
) -> None:
    held = context(make_study(learning_rate=1e38, optimizer="adam", gradient_clip=1e30))
    assert attempt(engine, held, claim(held), stop=Event()) == "pruned"
    (trial,) = told(engine, held)
    assert trial.state == TrialState.PRUNED
    assert "became" in trial.user_attrs["pruned_because"]


def test_trial_worse_than_the_others_at_the_same_step_is_pruned(
    engine: Engine, make_study: MakeStudy, context: MakeContext, claim: Take
) -> None:
    held = context(make_study(budget=9))
    for worker_id in range(5):
        better = claim(held, worker_id=worker_id)
        trials.report(engine, better, [(step, 2.0) for step in range(8)])
        trials.tell(engine, better, state=TrialState.COMPLETE, value=2.0, attributes={}, blobs={})
    taken = claim(held)
    assert attempt(engine, held, taken, stop=Event()) == "pruned"
    trial = told(engine, held)[5]
    assert trial.state == TrialState.PRUNED
    assert 0 < len(trial.intermediate_values) < 8
    assert "seconds" in trial.user_attrs
    unpruned = context(make_study(name="unpruned", pruner="none"))
    assert attempt(engine, unpruned, claim(unpruned), stop=Event()) == "complete"


def test_supervisor_of_a_slot_hears_of_epochs_and_of_want_of_memory(
    make_study: MakeStudy, context: MakeContext, claim: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readings, "LINE_SECONDS", 0.0)
    reader, writer = os.pipe()
    reporter, held = Reporter(writer), context(make_study())
    full = Full(**vars(held))
    first, second = claim(held), claim(held, worker_id=2)
    for where, taken in ((held, first), (full, second)):
        ending = run_trial(where, Outbox(taken), checkpoints=[], stop=Event(), reporter=reporter)
        assert ending.outcome == ("failed" if where is full else "complete")
    os.close(writer)
    with os.fdopen(reader, "rb") as lines:
        said = [Reading.from_line(line) for line in lines]
    # Three epochs of each of two folds, then the other trial.
    assert [each.trial for each in said] == [first.trial_id] * 6 + [-1]
    assert all(each.epochs == 1 and each.seconds > 0.0 for each in said[:6])
    assert [each.ran_out for each in said] == [None] * 6 + [second.number]


def test_failed_trial_keeps_its_traceback_and_is_told_after_the_last_attempt(
    engine: Engine, make_study: MakeStudy, context: MakeContext, claim: Take
) -> None:
    held = context(make_study(budget=1, max_attempts=2, pruner="axe"))
    assert attempt(engine, held, claim(held), stop=Event()) == "failed"
    assert told(engine, held)[0].state == TrialState.WAITING
    assert attempt(engine, held, claim(held, worker_id=2), stop=Event()) == "failed"
    (trial,) = told(engine, held)
    assert trial.state == TrialState.FAIL
    assert trial.user_attrs["error"].startswith("Traceback")
    assert "KeyError: 'axe'" in trial.user_attrs["error"]


def test_trials_seed_follows_from_the_studys_and_its_number(
    engine: Engine, make_study: MakeStudy, context: MakeContext, claim: Take
) -> None:
    found = []
    for name, seed in [("a", 1), ("b", 1), ("c", 2)]:
        held = context(make_study(name=name, seed=seed, learning_rate=0.01))
        taken = claim(held)
        taken = replace(taken, params=taken.params | {"architecture.gru.hidden": 4})
        assert attempt(engine, held, taken, stop=Event()) == "complete"
        found.append(out_of_fold(engine, taken))
    assert found[0] == found[1] != found[2]


def test_end_of_a_fold_reports_its_epoch_and_the_mean_of_the_folds() -> None:
    report = EpochReport(
        fold=1,
        epoch=3,
        train_loss=0.1,
        score=0.8,
        seconds=0.0,
        fold_ended=True,
        fold_scores=(0.4, 0.8),
        kept=4,
    )
    assert steps(report, 11) == [(14, 0.8), (21, pytest.approx(0.6))]
    assert steps(replace(report, fold_ended=False), 11) == [(14, 0.8)]
