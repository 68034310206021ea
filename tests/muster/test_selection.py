from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from muster.confusion import chance, merit
from muster.diversity import Limits, disagreement, q_statistic
from muster.errors import UserError
from muster.selection import CHOOSERS, Choice, choose
from muster.voting import RULES, decide

NAMES = ("gru", "cnn", "lstm")
METRIC = st.sampled_from(["macro_f1", "accuracy", "log_loss"])


def trials(
    seed: int, *, entries: int = 8, rows: int = 60, classes: int = 3, skill: float = 1.0
) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
    """Entries that are right more or less often, and the labels."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(rows) % classes)
    logits = rng.normal(0, 1, (entries, rows, classes))
    logits += skill * rng.uniform(0, 2, (entries, 1, 1)) * np.eye(classes)[labels]
    powers = np.exp(logits * rng.uniform(0.5, 2, (entries, 1, 1)))
    return (powers / powers.sum(axis=2, keepdims=True)).astype(np.float16), labels


def chosen(
    probabilities: NDArray[Any], labels: NDArray[np.int64], rule: str, **changes: Any
) -> Choice:
    given = {
        "metric": "macro_f1",
        "architectures": [NAMES[i % 3] for i in range(len(probabilities))],
        "parts": np.arange(len(labels)) % 3,
    }
    return choose(probabilities, labels, rule=rule, **(given | changes))


def best_merit(probabilities: NDArray[Any], labels: NDArray[np.int64], metric: str) -> float:
    return max(merit(metric, labels, each) for each in probabilities)


def test_every_rule_that_votes_can_be_chosen_by() -> None:
    assert set(CHOOSERS) == {"single", *RULES}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), rule=st.sampled_from(list(CHOOSERS)), metric=METRIC)
def test_no_rule_chooses_worse_than_the_best_entry_on_what_it_chose_by(
    seed: int, rule: str, metric: str
) -> None:
    probabilities, labels = trials(seed)
    choice = chosen(probabilities, labels, rule, metric=metric)
    assert sum(choice.weights) == pytest.approx(1)
    assert len(set(choice.members)) == len(choice.members) == len(choice.weights)
    reached = merit(metric, labels, choice.vote(probabilities[list(choice.members)]))
    assert reached >= best_merit(probabilities, labels, metric) - 1e-12


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10**6), rule=st.sampled_from(["single", "majority", "soft", "weighted"])
)
def test_the_order_of_the_trials_decides_nothing(seed: int, rule: str) -> None:
    probabilities, labels = trials(seed, rows=97, classes=2)
    names = [NAMES[i % 3] for i in range(len(probabilities))]
    order = np.random.default_rng(seed).permutation(len(probabilities))
    values = [merit("log_loss", labels, each) for each in probabilities]
    if len(set(values)) < len(values):
        return
    here = chosen(probabilities, labels, rule, metric="log_loss")
    there = chosen(
        probabilities[order],
        labels,
        rule,
        metric="log_loss",
        architectures=[names[i] for i in order],
    )
    assert [int(order[i]) for i in there.members] == list(here.members)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), rule=st.sampled_from(list(RULES)))
def test_sure_members_vote_by_plurality(seed: int, rule: str) -> None:
    rng = np.random.default_rng(seed)
    decided = rng.integers(0, 3, (5, 40))
    scores = Choice(rule, tuple(range(5)), (0.2,) * 5).vote(np.eye(3)[decided])
    votes = (decided[..., None] == np.arange(3)).sum(axis=0)
    assert (decide(scores) == votes.argmax(axis=1)).all()


@pytest.mark.parametrize("rule", CHOOSERS)
def test_members_no_better_than_a_guess_never_vote(rule: str) -> None:
    probabilities, labels = trials(3, entries=4, skill=3)
    upside_down = (1 - probabilities) / 2
    mixed = np.concatenate([upside_down, probabilities])
    floor = chance("macro_f1", labels, classes=3)
    assert all(merit("macro_f1", labels, each) < floor for each in upside_down)
    assert min(chosen(mixed, labels, rule).members) >= 4
    alone = chosen(upside_down, labels, rule)
    assert len(alone.members) == 1


@pytest.mark.parametrize("rule", ["majority", "soft", "weighted", "greedy"])
def test_limits_hold_whatever_the_rule(rule: str) -> None:
    probabilities, labels = trials(11, entries=12, rows=120)
    limits = Limits(members=4, per_architecture=2, min_disagreement=0.15, max_q=0.9)
    choice = chosen(probabilities, labels, rule, limits=limits)
    correct = probabilities.argmax(axis=2) == labels
    names = [NAMES[i % 3] for i in choice.members]
    assert 1 <= len(choice.members) <= 4
    assert max(names.count(name) for name in names) <= 2
    for position, first in enumerate(choice.members):
        for second in choice.members[:position]:
            assert disagreement(correct[first], correct[second]) >= 0.15
            assert q_statistic(correct[first], correct[second]) <= 0.9


@pytest.mark.parametrize("rule", ["majority", "soft", "weighted", "greedy"])
def test_several_members_vote_where_they_err_on_different_rows(rule: str) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    logits = rng.normal(0, 1, (6, 300, 3)) + 1.5 * np.eye(3)[labels]
    powers = np.exp(logits)
    probabilities = powers / powers.sum(axis=2, keepdims=True)
    choice = chosen(probabilities, labels, rule)
    assert len(choice.members) >= 3
    reached = merit("macro_f1", labels, choice.vote(probabilities[list(choice.members)]))
    assert reached > best_merit(probabilities, labels, "macro_f1") + 0.05


def test_only_the_best_so_many_are_looked_at() -> None:
    probabilities, labels = trials(5)
    values = [merit("macro_f1", labels, each) for each in probabilities]
    best = set(np.argsort(values)[::-1][:2].tolist())
    assert set(chosen(probabilities, labels, "greedy", best=2).members) <= best


def test_the_same_trials_give_the_same_choice_and_the_earlier_wins_a_tie() -> None:
    probabilities, labels = trials(7)
    assert chosen(probabilities, labels, "greedy") == chosen(probabilities, labels, "greedy")
    twice = np.concatenate([probabilities, probabilities])
    assert chosen(twice, labels, "single").members[0] < len(probabilities)


def test_an_unknown_rule_names_the_known() -> None:
    probabilities, labels = trials(1)
    with pytest.raises(UserError, match="unknown voting rule 'loudest'; take one of single"):
        chosen(probabilities, labels, "loudest")
