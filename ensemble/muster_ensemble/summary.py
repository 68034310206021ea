"""The figures of a search: random guess, best single trial and ensemble, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.data.dataset import UNLABELLED, Dataset
from muster.metrics import score
from muster.selection import Choice
from muster_ensemble.estimate import SINGLE, Estimate, Outcome, as_plain
from muster_ensemble.ledger import Ledger
from muster_ensemble.select import Candidate

DRAWS = 200
SEED = 0

Figures = dict[str, float | None]
Labels = NDArray[np.int64]


def summarise(
    dataset: Dataset,
    best: Candidate,
    members: Sequence[Candidate],
    ledger: Ledger,
    outcome: Outcome,
    *,
    trials: int,
    seconds: float,
) -> dict[str, Any]:
    """What summary.json holds; test figures are None where the test part has no labels.

    random_guess: expected score of drawing each label by the class frequencies of the training
    part, the mean of 200 draws from a fixed seed. best: the best single trial. members: in the
    order of the outcome's. The oof figures of best_single and ensemble also chose them, so they
    flatter; the nested ones chose nothing. A guess chooses nothing either.
    """
    guess = random_guess(dataset)
    single = _figures(dataset, best.oof, best.test)
    ensemble = _figures(dataset, *ensemble_scores(dataset, members, outcome.choice))
    return {
        "random_guess": guess
        | {"nested_macro_f1": guess["oof_macro_f1"], "nested_accuracy": guess["oof_accuracy"]},
        "best_single": single | _nested(outcome.estimates[SINGLE]),
        "ensemble": ensemble | _nested(outcome.estimate),
        **as_plain(ledger, outcome),
        "trials": trials,
        "seconds": round(seconds, 1),
    }


def ensemble_scores(
    dataset: Dataset, members: Sequence[Candidate], choice: Choice
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The vote's scores: (sequences, classes), NaN outside the training part; (test, classes)."""
    train = dataset.train_index
    oof = np.full(members[0].oof.shape, np.nan)
    oof[train] = choice.vote(np.stack([member.oof[train] for member in members]))
    return oof, choice.vote(np.stack([member.test for member in members]))


def random_guess(dataset: Dataset) -> Figures:
    """The figures of guessing by the training part's class frequencies."""
    train, test = _labels(dataset)
    classes = len(dataset.schema.classes)
    frequencies = np.bincount(train, minlength=classes) / len(train)
    chance = np.random.default_rng(SEED)

    def expected(
        figure: Callable[[Labels, Labels], NDArray[np.float64]], labels: Labels
    ) -> float | None:
        if len(labels) == 0:
            return None
        guesses = chance.choice(classes, size=(DRAWS, len(labels)), p=frequencies)
        return float(figure(guesses, labels).mean())

    return {
        "oof_macro_f1": expected(macro_f1_of_each, train),
        "oof_accuracy": expected(accuracy_of_each, train),
        "test_macro_f1": expected(macro_f1_of_each, test),
        "test_accuracy": expected(accuracy_of_each, test),
    }


def accuracy_of_each(guesses: Labels, labels: Labels) -> NDArray[np.float64]:
    """(draws,) accuracy of each row of guesses (draws, n) against labels (n,)."""
    share: NDArray[np.float64] = (guesses == labels).mean(axis=1)
    return share


def macro_f1_of_each(guesses: Labels, labels: Labels) -> NDArray[np.float64]:
    """(draws,) macro-F1, as metrics.py has it, of each row of guesses (draws, n).

    Counted for all rows at once: scikit-learn would check the same labels once a draw.
    """
    total, count = np.zeros(len(guesses)), np.zeros(len(guesses))
    for label in np.union1d(labels, guesses):
        is_guessed, is_label = guesses == label, labels == label
        hits = 2 * (is_guessed & is_label).sum(axis=1)
        named = is_guessed.sum(axis=1) + is_label.sum()
        # A class that a row neither guesses nor has is left out of its mean.
        total += hits / np.maximum(named, 1)
        count += named > 0
    mean: NDArray[np.float64] = total / count
    return mean


def labelled_test(dataset: Dataset) -> NDArray[np.bool_]:
    """(test sequences,) which of them have a label."""
    is_labelled: NDArray[np.bool_] = dataset.labels[dataset.test_index] != UNLABELLED
    return is_labelled


def of_test_part(dataset: Dataset, scores: NDArray[np.floating[Any]]) -> Figures:
    """Of the test part, as far as it has labels. scores: (test sequences, classes)."""
    _, labels = _labels(dataset)
    known = scores[labelled_test(dataset)]
    return {
        "test_macro_f1": _of("macro_f1", labels, known),
        "test_accuracy": _of("accuracy", labels, known),
    }


def _figures(
    dataset: Dataset, oof: NDArray[np.floating[Any]], test: NDArray[np.floating[Any]]
) -> Figures:
    labels, _ = _labels(dataset)
    return {
        "oof_macro_f1": _of("macro_f1", labels, oof[dataset.train_index]),
        "oof_accuracy": _of("accuracy", labels, oof[dataset.train_index]),
        **of_test_part(dataset, test),
    }


def _of(metric: str, labels: NDArray[np.int64], scores: NDArray[Any]) -> float | None:
    if len(labels) == 0:
        return None
    hard = np.eye(scores.shape[1])[scores.argmax(axis=1)]
    return float(score(metric, labels, hard))


def _nested(estimate: Estimate) -> Figures:
    return {
        "nested_macro_f1": estimate.nested_macro_f1,
        "nested_accuracy": estimate.nested_accuracy,
    }


def _labels(dataset: Dataset) -> tuple[Labels, Labels]:
    test = dataset.labels[dataset.test_index]
    return dataset.labels[dataset.train_index], test[labelled_test(dataset)]
