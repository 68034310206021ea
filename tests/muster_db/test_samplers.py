from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import Trial, TrialState
from sqlalchemy import Engine

from muster.errors import UserError
from muster_db.history import History, Row
from muster_db.local import NAME, STUDY_ID, LocalStorage
from muster_db.mirror import Mirror
from muster_db.records import Proposal
from muster_db.samplers import SAMPLERS, Draw
from muster_db.walk import Walk, check_grid
from samples import make_study, take

RANGES = {"x": FloatDistribution(-1.0, 1.0), "y": FloatDistribution(1e-3, 1e3, log=True)}


def plane(trial: Any) -> None:
    trial.suggest_float("x", -1.0, 1.0)
    trial.suggest_float("y", 1e-3, 1e3, log=True)


def loss(params: dict[str, Any]) -> float:
    return float((params["x"] - 0.5) ** 2 + np.log10(params["y"] / 20) ** 2)


def draw(sampler: str, history: History, suggest: Any, **changes: Any) -> dict[str, Any]:
    """The parameters that a sampler proposes for the next trial of a study that minimises."""
    facts = {"study_seed": 3, "ordinal": 0, "redraw": 0, "is_larger_better": False} | changes
    made = SAMPLERS[sampler](
        Draw(number=len(history), walk=Walk(suggest), history=history, **facts)
    )
    study = optuna.Study(NAME, LocalStorage("minimize", history), sampler=made)
    suggest(trial := Trial(study, study._storage.create_new_trial(STUDY_ID)))
    return trial.params


def tell(
    history: History, params: dict[str, Any], state: TrialState = TrialState.COMPLETE
) -> None:
    history.put(
        Row(
            number=len(history),
            state=state,
            distributions=tuple(RANGES.items()),
            values=(params["x"], params["y"]),
            value=loss(params) if state == TrialState.COMPLETE else None,
            reports={},
            params_hash=hashlib.sha256(repr(params).encode()).hexdigest(),
        )
    )


@pytest.mark.parametrize("sampler", ["cmaes", "tpe"])
def test_a_model_comes_closer_than_chance(sampler: str) -> None:
    best = {}
    for name in ("random", sampler):
        history = History()
        for _ in range(80):
            tell(history, draw(name, history, plane))
        best[name] = np.sort(history.values)[:10].mean()
    assert best[sampler] < best["random"] / 10


def test_cma_draws_anew_around_what_was_best_when_a_generation_is_whole() -> None:
    history = History()
    rng = np.random.default_rng(0)
    for _ in range(200):
        tell(history, {"x": rng.normal(0.5, 0.001), "y": 20 * 10 ** rng.normal(0, 0.001)})
    drawn = [draw("cmaes", history, plane, ordinal=ordinal) for ordinal in range(4)]
    assert len({params["x"] for params in drawn}) == 4
    assert all(abs(params["x"] - 0.5) < 0.2 for params in drawn)


def test_workers_share_one_sobol_sequence_by_the_trials_numbers() -> None:
    """The first 64 points fill each of 64 cells of a 8 by 8 board once."""
    history = History()
    cells = set()
    for number in range(64):
        params = draw("qmc", history, plane, ordinal=number % 3)
        assert params == draw("qmc", history, plane, ordinal=5)
        cells.add((int((params["x"] + 1) * 4), int((np.log10(params["y"]) + 3) / 6 * 8)))
        tell(history, params, TrialState.RUNNING if number % 2 else TrialState.COMPLETE)
    assert len(cells) == 64


def test_configurations_that_are_tried_first_use_no_points_up() -> None:
    history = History()
    for _ in range(2):
        tell(history, draw("qmc", history, plane, first=2))
    given = history.column("x").tolist()
    begun = draw("qmc", history, plane, first=2)
    assert begun == draw("qmc", History(), plane)
    assert begun["x"] not in given


def test_a_conditional_parameter_leaves_the_others_sequence_as_it_is() -> None:
    def conditional(trial: Any) -> None:
        if trial.suggest_categorical("kind", ["a", "b"]) == "a":
            trial.suggest_float("a.z", 0, 1)
        plane(trial)

    walk = Walk(conditional)
    assert list(walk.parameters) == ["kind", "a.z", "x", "y"]
    assert list(walk.unconditional) == ["kind", "x", "y"]
    assert {"kind", "x", "y"} <= set(draw("qmc", History(), conditional))


def finite(trial: Any) -> None:
    if trial.suggest_categorical("kind", ["gru", "cnn"]) == "gru":
        trial.suggest_int("gru.layers", 1, 5, step=2)
    trial.suggest_float("rate", 0.0, 0.5, step=0.25)


FINITE = [("gru", n, r) for n in (1, 3, 5) for r in (0.0, 0.25, 0.5)] + [
    ("cnn", None, r) for r in (0.0, 0.25, 0.5)
]


def test_a_grid_tries_every_combination_once_in_order_over_all_workers(engine: Engine) -> None:
    study = make_study(engine, budget=14, sampler="grid")
    mirrors = [Mirror(engine, study) for _ in range(3)]

    def propose(ordinal: int) -> Proposal:
        return mirrors[ordinal].propose(finite, worker_ordinal=ordinal)

    claims = []
    for number in range(14):
        # Two have drawn before one of them claims.
        propose((number + 1) % 3)
        claims.append(take(engine, study, propose=lambda ordinal=number % 3: propose(ordinal)))
    found = [(c.params["kind"], c.params.get("gru.layers"), c.params["rate"]) for c in claims]
    assert found[:12] == FINITE
    assert set(found[12:]) < set(FINITE)


def test_an_endless_grid_is_refused_with_the_parameters_at_fault() -> None:
    def endless(trial: Any) -> None:
        finite(trial)
        plane(trial)

    with pytest.raises(UserError, match="finite space, and x, y have neither step nor choices"):
        check_grid(endless, budget=5)
    assert check_grid(finite, budget=5) == 5
    assert check_grid(finite, budget=50) == 12


def test_combination_that_was_passed_is_found_once_nobody_has_it_any_more() -> None:
    def small(trial: Any) -> None:
        trial.suggest_categorical("kind", ["a", "b", "c"])
        trial.suggest_int("layers", 1, 2)

    walk = Walk(small)
    every = [each.hash for each in walk.combinations()]
    known = set(every[:4])
    found = walk.first_untried(known.__contains__)
    assert found is not None and found.hash == every[4]
    known.update(every)
    assert walk.first_untried(known.__contains__) is None
    known.remove(every[2])
    found = walk.first_untried(known.__contains__)
    assert found is not None and found.hash == every[2]
