from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from muster.data.dataset import UNLABELLED, Dataset
from muster_ensemble.select import Candidate
from muster_ensemble.summary import random_guess, summarise

KEYS = ["oof_macro_f1", "oof_accuracy", "test_macro_f1", "test_accuracy"]


def test_the_summary_has_the_figures_of_all_three_on_both_parts(
    walks: Dataset, candidates: list[Candidate]
) -> None:
    found = summarise(
        walks, candidates, candidates[:3], "majority", direction="maximize", trials=6, seconds=1.26
    )
    assert list(found) == ["random_guess", "best_single", "ensemble", "trials", "seconds"]
    assert (found["trials"], found["seconds"]) == (6, 1.3)
    for row in ("random_guess", "best_single", "ensemble"):
        assert list(found[row]) == KEYS
    assert found["best_single"] == dict.fromkeys(KEYS, 1.0)
    assert found["ensemble"]["oof_accuracy"] == 1.0


def test_a_guess_by_frequency_is_right_as_often_as_chance_says(walks: Dataset) -> None:
    guess = random_guess(walks)
    assert guess == random_guess(walks)
    for key in KEYS:
        assert guess[key] == pytest.approx(1 / 3, abs=0.05)


def test_without_labels_the_test_figures_are_none(
    walks: Dataset, candidates: list[Candidate]
) -> None:
    unlabelled = replace(walks, labels=np.where(walks.is_test, UNLABELLED, walks.labels))
    found = summarise(
        unlabelled, candidates, candidates, "soft", direction="maximize", trials=4, seconds=1
    )
    for row in ("random_guess", "best_single", "ensemble"):
        assert found[row]["test_macro_f1"] is None
        assert found[row]["test_accuracy"] is None
        assert found[row]["oof_macro_f1"] is not None


def test_without_a_test_part_the_test_figures_are_none(
    walks: Dataset, candidates: list[Candidate]
) -> None:
    labels = np.where(walks.is_test, UNLABELLED, walks.labels)
    alone = replace(walks, is_test=np.zeros_like(walks.is_test), labels=labels)
    empty = [replace(c, test=np.zeros((0, 3), dtype=np.float32)) for c in candidates]
    found = summarise(
        alone, empty, empty[:2], "majority", direction="maximize", trials=4, seconds=1
    )
    assert found["ensemble"]["test_macro_f1"] is None
