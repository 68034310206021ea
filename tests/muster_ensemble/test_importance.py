from __future__ import annotations

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, create_trial

from muster_ensemble.importance import parameter_importance


def trials(count: int, *, slope: float = 1.0) -> list[FrozenTrial]:
    """The learning rate decides, dropout does not; a conditional parameter is there at times."""
    found = []
    for number in range(count):
        rate = (number * 7 % count) / count
        params = {"learning_rate": rate, "dropout": (number * 3 % count) / count}
        kinds = {name: FloatDistribution(0, 1) for name in params}
        if number % 2:
            params["architecture.gru.hidden"] = [50, 100][number % 4 // 2]
            kinds["architecture.gru.hidden"] = CategoricalDistribution((50, 100))
        found.append(create_trial(params=params, distributions=kinds, value=slope * rate))
    return found


@pytest.fixture(autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def test_the_parameter_that_decides_is_ranked_first() -> None:
    values, reason = parameter_importance(trials(40), direction="maximize")
    assert reason is None
    assert next(iter(values)) == "learning_rate"
    assert sum(values.values()) == pytest.approx(1)
    assert "architecture.gru.hidden" in values


def test_a_reason_stands_where_nothing_can_be_told() -> None:
    assert parameter_importance(trials(4), direction="maximize") == (
        {},
        "4 completed trials are too few to tell; it takes 5.",
    )
    assert parameter_importance(trials(20, slope=0.0), direction="minimize")[1] == (
        "All completed trials have the same value."
    )
    plain = [create_trial(params={}, distributions={}, value=float(n)) for n in range(12)]
    assert parameter_importance(plain, direction="minimize")[1] == (
        "The search space leaves nothing to choose."
    )
