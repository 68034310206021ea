from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState

from muster_db.history import History, Row
from muster_db.local import NAME, STUDY_ID, LocalStorage
from muster_db.tpe import ColumnTPE

STATES = [TrialState.COMPLETE] * 5 + [TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING]


def mixed(trial: Any) -> None:
    """Groups of parameters that occur together, of every kind of distribution."""
    for index in range(3):
        trial.suggest_float(f"x{index}", -5, 5)
    trial.suggest_float("rate", 1e-5, 1e-1, log=True)
    trial.suggest_float("part", 0, 1, step=0.25)
    kind = trial.suggest_categorical("kind", ["gru", "cnn", "mlp"])
    if kind == "gru":
        trial.suggest_int("gru.layers", 1, 4)
        trial.suggest_int("gru.hidden", 8, 256, log=True)
    elif kind == "cnn":
        trial.suggest_float("cnn.gamma", 0.5, 4.0)


def make_trials(count: int, *, seed: int, pruned_only: bool = False) -> list[FrozenTrial]:
    """Trials of all states, the complete ones with ties, the pruned ones with and without NaN."""
    rng = np.random.default_rng(seed)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    for _ in range(count):
        mixed(study.ask())
    trials = study.get_trials()
    for trial in trials:
        trial.state = STATES[int(rng.integers(len(STATES)))]
        if pruned_only and trial.state == TrialState.COMPLETE:
            trial.state = TrialState.PRUNED
        reports = {step: float(rng.normal()) for step in range(int(rng.integers(4)))}
        if trial.state == TrialState.PRUNED:
            trial.intermediate_values = {**reports, **({9: np.nan} if rng.random() < 0.2 else {})}
        if trial.state == TrialState.COMPLETE:
            trial.values = [round(float(rng.normal()), 1)]
        trial.datetime_complete = trial.datetime_start if trial.state.is_finished() else None
    return trials


def column_study(trials: list[FrozenTrial], direction: str, sampler: Any) -> optuna.Study:
    history = sampler._history
    for trial in trials:
        params = [(name, each) for name, each in trial.distributions.items()]
        history.put(
            Row(
                number=trial.number,
                state=trial.state,
                distributions=tuple(params),
                values=tuple(each.to_internal_repr(trial.params[name]) for name, each in params),
                value=trial.value,
                reports=trial.intermediate_values,
                params_hash=hashlib.sha256(repr(trial.params).encode()).hexdigest(),
            )
        )
    return optuna.Study(NAME, LocalStorage(direction, history), sampler=sampler)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize(
    ("count", "pruned_only"), [(6, False), (60, False), (60, True), (400, False)]
)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_it_proposes_what_plain_optuna_proposes(
    direction: str, count: int, pruned_only: bool
) -> None:
    trials = make_trials(count, seed=count, pruned_only=pruned_only)
    for seed in range(5):
        plain = optuna.create_study(
            direction=direction,
            sampler=TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True),
        )
        plain.add_trials(trials)
        theirs = plain.ask()
        mixed(theirs)
        sampler = ColumnTPE(seed, History())
        ours = Trial(
            study := column_study(trials, direction, sampler),
            study._storage.create_new_trial(STUDY_ID),
        )
        mixed(ours)
        assert ours.params == theirs.params
