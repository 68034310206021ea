"""Every sampler keeps the same contract, on a database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from sqlalchemy import Engine

from databases import sqlite_with_tables
from muster_db import trials
from muster_db.mirror import Mirror
from muster_db.records import Proposal
from muster_db.samplers import SAMPLERS
from muster_db.study import Study
from samples import make_study, take

# Told trials: past the ten that TPE and the Gaussian process draw at random.
TOLD = 13
# Those that follow one sequence, so that a worker's ordinal changes nothing; those that spread.
SHARED = {"qmc", "grid"}
SPREAD = {"tpe", "random", "cmaes"}


def mixed(trial: Any) -> float:
    """Floats, a log scale, steps, integers, a choice and what depends on it."""
    value = trial.suggest_float("rate", 1e-4, 1e-2, log=True) * 100
    value += trial.suggest_float("dropout", 0.0, 0.6)
    value += trial.suggest_float("part", 0, 1, step=0.25)
    value += trial.suggest_int("window", 8, 64, step=8) / 64 + trial.suggest_int("fixed", 3, 3)
    if trial.suggest_categorical("kind", ["gru", "cnn"]) == "gru":
        return float(value + trial.suggest_int("gru.hidden", 1, 128, log=True) / 128)
    return float(value + trial.suggest_float("cnn.gamma", 0.5, 4.0))


def finite(trial: Any) -> float:
    """Every parameter has choices or steps: 5 * 4 * (3 + 1) combinations."""
    value = trial.suggest_float("part", 0, 1, step=0.25) + trial.suggest_int("layers", 1, 4)
    if trial.suggest_categorical("kind", ["gru", "cnn"]) == "gru":
        return float(value + trial.suggest_int("gru.hidden", 2, 4, log=True))
    return float(value)


CASES = [
    pytest.param(sampler, space, id=f"{sampler}-{space.__name__}")
    for sampler in SAMPLERS
    for space in (mixed, finite)
    # A Gaussian process takes a third of a second a draw.
    if (sampler, space) not in (("grid", mixed), ("gp", finite))
]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    connected = sqlite_with_tables(tmp_path / "muster.db")
    yield connected
    connected.dispose()


def search(engine: Engine, study: Study, propose: Callable[[], Proposal]) -> list[dict[str, Any]]:
    """Tell TOLD trials, of which one is pruned and one fails, and leave one running."""
    drawn = []
    for number in range(TOLD + 1):
        claim = take(engine, study, propose=propose)
        drawn.append(claim.params)
        value = 1.0 / (1 + number) if number % 2 else float(number)
        state = {3: TrialState.PRUNED, 5: TrialState.FAIL}.get(number, TrialState.COMPLETE)
        if number < TOLD:
            trials.report(engine, claim, [(0, value)])
            told = value if state == TrialState.COMPLETE else None
            trials.tell(engine, claim, state=state, value=told, attributes={}, blobs={})
    return drawn


@pytest.mark.parametrize(("sampler", "space"), CASES)
def test_a_sampler_is_whole_and_repeatable(
    engine: Engine, sampler: str, space: Callable[[Any], float]
) -> None:
    study = make_study(engine, budget=TOLD + 1, sampler=sampler)
    mirror = Mirror(engine, study)
    drawn = search(engine, study, lambda: mirror.propose(space, worker_ordinal=0))
    assert len({repr(sorted(params.items())) for params in drawn}) == TOLD + 1
    late = Mirror(engine, study)
    proposals = [each.propose(space, worker_ordinal=0) for each in (mirror, late)]
    assert proposals[0] == proposals[1]
    assert not proposals[0].is_repeat
    other = late.propose(space, worker_ordinal=1)
    if sampler in SHARED:
        assert other == proposals[0]
    elif sampler in SPREAD and space is mixed:
        assert other != proposals[0]
    for params in [*drawn, proposals[0].params]:
        assert ("gru.hidden" in params) == (params["kind"] == "gru")
        assert params["part"] in (0.0, 0.25, 0.5, 0.75, 1.0)
        if space is mixed:
            assert ("cnn.gamma" in params) == (params["kind"] == "cnn")
            assert 1e-4 <= params["rate"] <= 1e-2
            assert params["window"] in range(8, 65, 8)
            assert params["fixed"] == 3
    for name, distribution in proposals[0].distributions.items():
        value = distribution.to_internal_repr(proposals[0].params[name])
        assert distribution._contains(value)
