from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from muster.data.dataset import UNLABELLED, Dataset
from muster.metrics import score
from muster_ensemble.estimate import Outcome, decide_and_estimate
from muster_ensemble.ledger import Ledger
from muster_ensemble.select import Candidate
from muster_ensemble.summary import (
    accuracy_of_each,
    macro_f1_of_each,
    random_guess,
    summarise,
)

KEYS = ["oof_macro_f1", "oof_accuracy", "test_macro_f1", "test_accuracy"]
NESTED = ["nested_macro_f1", "nested_accuracy"]


@pytest.fixture
def outcome(ledger: Ledger) -> Outcome:
    return decide_and_estimate(ledger, rule="soft")


def chosen(candidates: list[Candidate], outcome: Outcome) -> list[Candidate]:
    return [candidates[position] for position in outcome.choice.members]


def test_the_summary_has_the_figures_of_all_three_on_both_parts(
    walks: Dataset, candidates: list[Candidate], ledger: Ledger, outcome: Outcome
) -> None:
    members = chosen(candidates, outcome)
    found = summarise(walks, candidates[0], members, ledger, outcome, trials=6, seconds=1.26)
    rows = ["random_guess", "best_single", "ensemble"]
    assert list(found) == [*rows, "rule", "members", "estimates", "trials", "seconds"]
    assert (found["trials"], found["seconds"]) == (6, 1.3)
    for row in rows:
        assert list(found[row]) == KEYS + NESTED
    assert found["best_single"] == dict.fromkeys(KEYS + NESTED, 1.0)
    assert found["ensemble"]["oof_accuracy"] == 1.0
    assert found["random_guess"]["nested_accuracy"] == found["random_guess"]["oof_accuracy"]
    assert found["rule"] == "soft"
    assert [member["trial"] for member in found["members"]] == [m.number for m in members]
    assert sum(member["weight"] for member in found["members"]) == pytest.approx(1)
    assert set(found["estimates"]) == {"single", "soft"}
    low, high = found["estimates"]["soft"]["interval"]
    assert low < found["estimates"]["soft"]["nested"] <= high


def test_a_guess_by_frequency_is_right_as_often_as_chance_says(walks: Dataset) -> None:
    guess = random_guess(walks)
    assert guess == random_guess(walks)
    for key in KEYS:
        assert guess[key] == pytest.approx(1 / 3, abs=0.05)


def test_guesses_are_scored_all_at_once_as_one_by_one() -> None:
    chance = np.random.default_rng(3)
    labels = np.array([0, 0, 1, 1, 3])
    # Few labels of four classes: rows that miss a class, and one that nobody has.
    guesses = chance.choice([0, 1, 3, 4], size=(40, 5))
    hard = [np.eye(5)[row] for row in guesses]
    for metric, found in (
        ("macro_f1", macro_f1_of_each(guesses, labels)),
        ("accuracy", accuracy_of_each(guesses, labels)),
    ):
        np.testing.assert_allclose(found, [score(metric, labels, each) for each in hard])


def test_without_labels_the_test_figures_are_none(
    walks: Dataset, candidates: list[Candidate], ledger: Ledger, outcome: Outcome
) -> None:
    unlabelled = replace(walks, labels=np.where(walks.is_test, UNLABELLED, walks.labels))
    members = chosen(candidates, outcome)
    found = summarise(unlabelled, candidates[0], members, ledger, outcome, trials=4, seconds=1)
    for row in ("random_guess", "best_single", "ensemble"):
        assert found[row]["test_macro_f1"] is None
        assert found[row]["test_accuracy"] is None
        assert found[row]["oof_macro_f1"] is not None


def test_without_a_test_part_the_test_figures_are_none(
    walks: Dataset, candidates: list[Candidate], ledger: Ledger, outcome: Outcome
) -> None:
    labels = np.where(walks.is_test, UNLABELLED, walks.labels)
    alone = replace(walks, is_test=np.zeros_like(walks.is_test), labels=labels)
    empty = [replace(c, test=np.zeros((0, 3), dtype=np.float32)) for c in candidates]
    members = chosen(empty, outcome)
    found = summarise(alone, empty[0], members, ledger, outcome, trials=4, seconds=1)
    assert found["ensemble"]["test_macro_f1"] is None
