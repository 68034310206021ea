from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from muster.confusion import merit
from muster.diversity import Limits
from muster.errors import UserError
from muster.selection import CHOOSERS
from muster_ensemble import estimate
from muster_ensemble.estimate import choose, decide_and_estimate, nested_scores, vote
from muster_ensemble.ledger import Ledger, Truth


def make_ledger(
    seed: int, *, trials: int = 12, rows: int = 150, skill: float = 1.5, folds: int = 3
) -> Ledger:
    """Trials of equal skill that err on different rows: which is best is luck alone."""
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % 3
    logits = rng.normal(0, 1, (trials, rows, 3)) + skill * np.eye(3)[labels]
    powers = np.exp(logits)
    return Ledger(
        numbers=tuple(range(10, 10 + trials)),
        architectures=tuple(("gru", "cnn")[i % 2] for i in range(trials)),
        probabilities=(powers / powers.sum(axis=2, keepdims=True)).astype(np.float16),
        exportable=np.ones(trials, dtype=bool),
        truth=Truth(np.arange(rows), labels, np.arange(rows) // 3 % folds, None),
        metric="macro_f1",
    )


def noise(seed: int) -> Ledger:
    """Trials that know nothing."""
    return make_ledger(seed, trials=60, skill=0.0, rows=90)


def test_on_noise_the_naive_figure_flatters_and_the_nested_one_does_not() -> None:
    naive, nested = [], []
    for seed in range(5):
        found = decide_and_estimate(noise(seed), rule="greedy").estimate
        naive.append(found.naive)
        nested.append(found.nested)
        assert found.optimism == pytest.approx(found.naive - found.nested)
    assert np.mean(naive) > 0.45
    assert np.mean(nested) < 0.39


@pytest.mark.parametrize("rule", ["soft", "greedy", "auto"])
def test_no_label_of_a_fold_changes_what_is_scored_on_it(rule: str) -> None:
    ledger = make_ledger(1)
    rows = np.arange(150)
    held = ledger.truth.folds == 1
    before = nested_scores(ledger, rule, rows)
    turned = np.where(held, (ledger.truth.labels + 1) % 3, ledger.truth.labels)
    after = nested_scores(replace(ledger, truth=replace(ledger.truth, labels=turned)), rule, rows)
    np.testing.assert_array_equal(after[held], before[held])
    assert not np.array_equal(after[~held], before[~held])


def test_auto_takes_the_rule_with_the_best_nested_figure() -> None:
    outcome = decide_and_estimate(make_ledger(2), rule="auto")
    assert set(outcome.estimates) == {*CHOOSERS, "auto"}
    figures = {name: each.nested for name, each in outcome.estimates.items() if name != "auto"}
    assert figures[outcome.rule] == max(figures.values())
    assert outcome.rule != "single"
    assert len(outcome.choice.members) > 1
    assert outcome.estimate.rule == "auto"
    assert outcome.estimates["single"].nested < outcome.estimate.nested
    assert outcome.estimate.wins > outcome.estimate.losses
    assert outcome.estimate.p_value < 0.05


def test_auto_takes_the_single_trial_where_no_rule_beats_it() -> None:
    ledger = make_ledger(3, trials=4, skill=0.5)
    perfect = 0.9 * np.eye(3)[ledger.truth.labels] + 0.1 / 3
    sure = replace(ledger, probabilities=np.concatenate([ledger.probabilities[:3], perfect[None]]))
    outcome = decide_and_estimate(sure, rule="auto")
    assert outcome.rule == "single"
    assert outcome.choice.members == (3,)
    assert outcome.estimate.p_value == 1.0


@pytest.mark.parametrize("metric", ["macro_f1", "accuracy", "log_loss"])
def test_the_figures_are_those_of_the_studys_metric(metric: str) -> None:
    ledger = replace(make_ledger(4, trials=6), metric=metric)
    outcome = decide_and_estimate(ledger, rule="soft")
    found = outcome.estimate
    expected = abs(merit(metric, ledger.truth.labels, vote(ledger, outcome.choice)))
    assert found.naive == pytest.approx(expected)
    assert found.low <= found.nested <= found.high
    assert 0 < found.high - found.low < 0.4
    assert found.nested_accuracy == pytest.approx(found.nested_macro_f1, abs=0.05)


def test_only_trials_with_weights_are_chosen_in_the_end() -> None:
    ledger = make_ledger(5)
    few = replace(ledger, exportable=np.arange(12) < 2)
    assert set(decide_and_estimate(few, rule="greedy").choice.members) <= {0, 1}
    with pytest.raises(UserError, match="the weights of all 12 completed trials were collected"):
        decide_and_estimate(replace(ledger, exportable=np.zeros(12, dtype=bool)))


def test_the_folds_choose_among_as_many_trials_as_keep_their_weights() -> None:
    ledger = make_ledger(6)
    few = replace(ledger, exportable=np.arange(12) < 2)
    rows = np.arange(100)
    labels = ledger.truth.labels[rows]
    merits = [merit("macro_f1", labels, each[rows]) for each in ledger.probabilities]
    best = set(np.argsort(merits)[::-1][:2].tolist())
    assert set(choose(few, "greedy", rows=rows).members) <= best


@pytest.mark.parametrize("rule", ["majority", "greedy", "auto"])
def test_one_trial_alone_decides(rule: str) -> None:
    outcome = decide_and_estimate(make_ledger(7, trials=1), rule=rule)
    assert (outcome.choice.members, outcome.choice.weights) == ((0,), (1.0,))


def test_limits_reach_the_choice() -> None:
    limits = Limits(members=2, per_architecture=1)
    found = decide_and_estimate(make_ledger(8), rule="greedy", limits=limits).choice
    assert len(found.members) <= 2
    assert len({member % 2 for member in found.members}) == len(found.members)


def test_two_folds_leave_auto_halves_to_choose_by_and_groups_stay_whole() -> None:
    ledger = make_ledger(9, folds=2, trials=4)
    assert decide_and_estimate(ledger, rule="auto").estimate.nested > 0.5
    groups = np.arange(150) // 10
    grouped = replace(ledger, truth=replace(ledger.truth, folds=groups % 2, groups=groups))
    rows = np.flatnonzero(groups % 2 == 0)
    parts = estimate._parts(grouped, rows)
    for group in np.unique(groups[rows]):
        assert len(set(parts[groups[rows] == group].tolist())) == 1
    halves: NDArray[np.int64] = estimate._parts(ledger, np.flatnonzero(ledger.truth.folds == 0))
    assert np.bincount(halves).tolist() == [39, 36]


def test_an_unknown_rule_names_the_known() -> None:
    with pytest.raises(UserError, match="unknown voting rule 'loudest'; take one of auto, single"):
        decide_and_estimate(make_ledger(1, trials=2), rule="loudest")
