from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

from muster_db.history import End, History, Row

SHARED = FloatDistribution(0.0, 1.0)
KIND = CategoricalDistribution(("a", "b"))


def row(
    number: int,
    params: dict[str, tuple[float, BaseDistribution]],
    *,
    state: TrialState = TrialState.COMPLETE,
    value: float | None = 1.0,
    reports: dict[int, float] | None = None,
) -> Row:
    return Row(
        number=number,
        state=state,
        distributions=tuple((name, each) for name, (_, each) in params.items()),
        values=tuple(each for each, _ in params.values()),
        value=value,
        reports=reports or {},
        params_hash=f"{number:064x}",
    )


def test_rows_come_back_as_they_went_in_however_many() -> None:
    history = History()
    for number in range(300):
        params = {"x": (number / 300, SHARED), "kind": (float(number % 2), KIND)}
        if number % 3 == 0:
            params["y"] = (0.5, SHARED)
        history.put(row(number, params, value=-number, reports={0: number, 1: number + 0.5}))
    assert len(history) == 300
    assert history.values.tolist() == [-number for number in range(300)]
    assert np.flatnonzero(~np.isnan(history.column("y"))).tolist() == list(range(0, 300, 3))
    assert np.isnan(history.column("unknown")).all()
    numbers, values = history.reports_at(1)
    assert values.tolist() == (numbers + 0.5).tolist()
    frozen = history.freeze()[299]
    assert frozen.params == {"x": 299 / 300, "kind": "b"}
    assert (frozen.value, frozen.state, frozen.intermediate_values) == (
        -299, TrialState.COMPLETE, {1: 299.5},
    )  # fmt: skip


def test_two_sets_of_names_with_the_same_ranges_stay_apart() -> None:
    history = History()
    history.put(row(0, {"x": (0.1, SHARED)}))
    history.put(row(1, {"y": (0.2, SHARED)}))
    history.put(row(2, {"x": (0.3, FloatDistribution(0.0, 1.0))}))
    assert [trial.params for trial in history.freeze()] == [{"x": 0.1}, {"y": 0.2}, {"x": 0.3}]
    assert [list(each) for each in history.distributions()] == [["x"], ["y"]]


def test_a_running_trial_is_replaced_by_what_became_of_it() -> None:
    history = History()
    for number in range(2):
        history.put(row(number, {"x": (0.1, SHARED)}, state=TrialState.RUNNING, value=None))
    assert history.distributions() == []
    told = row(1, {"x": (0.1, SHARED)}, value=2.0, reports={4: 0.5})
    history.put(told)
    history.put(told)
    assert history.states.tolist() == [TrialState.RUNNING, TrialState.COMPLETE]
    assert [each.tolist() for each in history.reports_at(4)] == [[1], [0.5]]
    assert history.is_known(told.params_hash)
    assert not history.is_known("f" * 64)
    with pytest.raises(IndexError, match="trial 3 comes before trial 2"):
        history.put(row(3, {}))


def test_trial_that_was_drawn_anew_has_none_of_the_values_of_before() -> None:
    history = History()
    running = TrialState.RUNNING
    history.put(row(0, {"x": (0.1, SHARED), "y": (0.2, SHARED)}, state=running, value=None))
    history.put(row(0, {"x": (0.3, SHARED)}, state=running, value=None))
    assert history.finished == 0
    history.put(row(0, {"x": (0.3, SHARED)}))
    history.put(row(0, {"x": (0.3, SHARED)}))
    assert history.column("x").tolist() == [0.3]
    assert np.isnan(history.column("y")).all()
    assert history.finished == 1


def test_configuration_that_a_trial_has_no_more_is_free_again() -> None:
    history = History()
    params = {"x": (0.1, SHARED)}
    history.put(row(0, params, state=TrialState.RUNNING, value=None))
    history.put(row(1, params, state=TrialState.RUNNING, value=None))
    first, second = (row(number, params).params_hash for number in range(2))
    history.put(replace(row(0, params), params_hash=second))
    snapshot = history.snapshot()
    history.put(replace(row(0, params), params_hash="c" * 64))
    assert [history.is_known(each) for each in (first, second)] == [False, True]
    history.put(replace(row(1, params), params_hash="d" * 64))
    assert not history.is_known(second)
    assert snapshot.is_known(second)


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.PRUNED])
def test_snapshot_shows_an_end_as_a_row_would_and_leaves_the_history_alone(
    state: TrialState,
) -> None:
    history, told = History(), History()
    value = 2.0 if state == TrialState.COMPLETE else None
    for number, each in enumerate(({"y": (0.2, KIND)}, {"x": (0.1, SHARED)})):
        history.put(row(number, each, state=TrialState.RUNNING, value=None))
        told.put(row(number, each, state=TrialState.RUNNING, value=None))
    told.put(row(1, {"x": (0.1, SHARED)}, state=state, value=value, reports={0: 0.5, 4: 0.25}))
    seen = history.snapshot()
    seen.finish(1, End(state, value, (4, 0.25)))
    assert repr(seen.freeze()) == repr(told.freeze())
    assert seen.distributions() == told.distributions() != []
    assert history.states.tolist() == [TrialState.RUNNING] * 2
    assert history.distributions() == []


def test_trial_claimed_ahead_is_told_apart_until_it_begins() -> None:
    history = History()
    for number in range(2):
        waiting = row(number, {"x": (0.1, SHARED)}, state=TrialState.RUNNING, value=None)
        history.put(replace(waiting, is_ahead=True))
    history.put(replace(waiting, is_ahead=False))
    assert history.ahead.tolist() == [0]
    seen = history.snapshot()
    seen.pass_over(seen.ahead)
    assert seen.states.tolist() == [TrialState.FAIL, TrialState.RUNNING]
    assert seen.is_known(row(0, {}).params_hash)
