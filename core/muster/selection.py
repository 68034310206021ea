"""Who votes and with which weight, chosen on out-of-fold probabilities.

Pure functions over arrays; whatever they look at flatters what they choose, so the figure to show
is that of a nested estimate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster import greedy as greedy_selection
from muster.calibration import fit_factors, fit_temperature, temper
from muster.confusion import COUNTED, Labels, chance, count, decisions, merit, score_counts
from muster.diversity import Correct, Limits
from muster.errors import UserError
from muster.voting import Scores, vote

NO_LIMITS = Limits()
# As auto-sklearn (Feurer et al., 2015): the best so many are enough to choose from.
POOL = 50


@dataclass(frozen=True)
class Entries:
    """What is chosen from, best first.

    probabilities: (entries, rows, classes). correct: (entries, rows) whether an entry's decision
    is right. positions: (entries,) where each stood in what was given. parts: (rows,) numbers of
    rows that belong together.
    """

    probabilities: NDArray[Any]
    labels: Labels
    parts: NDArray[np.int64]
    architectures: tuple[str, ...]
    metric: str
    correct: Correct
    positions: tuple[int, ...]


@dataclass(frozen=True)
class Choice:
    """Members and how they vote. members: positions of entries, the heaviest first.

    weights: their sum is 1. rule, temperatures, factors: as muster.voting.vote takes them.
    """

    rule: str
    members: tuple[int, ...]
    weights: tuple[float, ...]
    temperatures: tuple[float, ...] = ()
    factors: tuple[float, ...] = ()

    def vote(self, probabilities: NDArray[Any]) -> Scores:
        """(rows, classes) scores of the members' (members, rows, classes) probabilities."""
        return vote(
            probabilities,
            rule=self.rule,
            weights=self.weights,
            temperatures=self.temperatures,
            factors=self.factors,
        )


def choose(
    probabilities: NDArray[Any],
    labels: Labels,
    *,
    rule: str,
    metric: str,
    architectures: Sequence[str],
    parts: NDArray[np.int64],
    limits: Limits = NO_LIMITS,
    best: int | None = None,
) -> Choice:
    """Members and weights by the rule of that name, one of CHOOSERS.

    probabilities: (entries, rows, classes), the earlier entry first among equals. Entries that
    are no better than guessing by the classes' frequencies never vote, unless all are: then the
    best of them decides alone. best: only so many of the best entries may vote.
    Raises UserError for an unknown rule.
    """
    if rule not in CHOOSERS:
        raise UserError(f"unknown voting rule {rule!r}; take one of {', '.join(CHOOSERS)}")
    entries = _rank(
        probabilities,
        labels,
        metric=metric,
        architectures=architectures,
        parts=parts,
        best=best,
        size=max(POOL, limits.members),
    )
    found = CHOOSERS[rule](entries, limits)
    return Choice(
        rule=found.rule,
        members=tuple(entries.positions[member] for member in found.members),
        weights=found.weights,
        temperatures=found.temperatures,
        factors=found.factors,
    )


def single(entries: Entries, limits: Limits) -> Choice:
    """The best entry alone."""
    return Choice("soft", (0,), (1.0,))


def majority(entries: Entries, limits: Limits) -> Choice:
    """The best so many entries within the limits, one vote each; how many scores best decides."""
    return _prefix(entries, limits, rule="majority")


def weighted(entries: Entries, limits: Limits) -> Choice:
    """The same, with the log-odds of being right for weights.

    They are the best weights of members that err independently (Kuncheva, 2004, section 4.3); the
    odds are against a guess among all classes, so that no member weighs less than nothing.
    """
    return _prefix(entries, limits, rule="weighted")


def soft(entries: Entries, limits: Limits) -> Choice:
    """The best so many entries within the limits, by their mean calibrated probability."""
    return _with_thresholds(entries, _prefix(entries, limits, rule="soft"))


def greedy(entries: Entries, limits: Limits) -> Choice:
    """Greedy ensemble selection with replacement, bagged, over calibrated probabilities."""
    temperatures = _temperatures(entries, range(len(entries.positions)))
    tempered = np.stack(
        [
            temper(each.T.astype(np.float32), temperature).T
            for each, temperature in zip(entries.probabilities, temperatures, strict=True)
        ]
    )
    weights = greedy_selection.select(
        tempered,
        entries.labels,
        metric=entries.metric,
        limits=limits,
        architectures=entries.architectures,
    )
    order = [int(i) for i in np.argsort(-weights, kind="stable") if weights[i] > 0]
    found = Choice(
        rule="greedy",
        members=tuple(order),
        weights=tuple(float(weights[i]) for i in order),
        temperatures=tuple(temperatures[i] for i in order),
    )
    # Sums in single precision may settle a tie otherwise than the vote does.
    is_worse = _merit(entries, found) < _merit(entries, alone := single(entries, limits))
    return alone if is_worse else _with_thresholds(entries, found)


Chooser = Callable[[Entries, Limits], Choice]

CHOOSERS: dict[str, Chooser] = {
    "single": single,
    "majority": majority,
    "soft": soft,
    "weighted": weighted,
    "greedy": greedy,
}


def _prefix(entries: Entries, limits: Limits, *, rule: str) -> Choice:
    """The best entries within the limits, as many of them as score best by that rule.

    Among equals the smaller Brier score decides, then the smaller ensemble.
    """
    order: list[int] = []
    for entry in range(len(entries.positions)):
        if limits.admit(
            entry, order, architectures=entries.architectures, correct=entries.correct
        ):
            order.append(entry)
    temperatures = _temperatures(entries, order) if rule == "soft" else ()
    weights = _log_odds(entries, order) if rule == "weighted" else np.ones(len(order))
    options = []
    for size in range(1, len(order) + 1):
        shares = weights[:size] / weights[:size].sum()
        choice = Choice(
            rule, tuple(order[:size]), tuple(shares.tolist()), tuple(temperatures[:size])
        )
        scores = choice.vote(entries.probabilities[order[:size]])
        value = round(merit(entries.metric, entries.labels, scores), 12)
        options.append((value, -_brier(scores, entries.labels), -size, choice))
    return max(options, key=lambda option: option[:3])[3]


def _merit(entries: Entries, choice: Choice) -> float:
    scores = choice.vote(entries.probabilities[list(choice.members)])
    return merit(entries.metric, entries.labels, scores)


def _with_thresholds(entries: Entries, choice: Choice) -> Choice:
    """The same choice, with factors of the classes where they help."""
    scores = choice.vote(entries.probabilities[list(choice.members)])
    factors = fit_factors(scores, entries.labels, metric=entries.metric, parts=entries.parts)
    return replace(choice, factors=factors)


def _temperatures(entries: Entries, members: Iterable[int]) -> tuple[float, ...]:
    return tuple(fit_temperature(entries.probabilities[i], entries.labels) for i in members)


def _log_odds(entries: Entries, members: Sequence[int]) -> NDArray[np.float64]:
    rows, classes = len(entries.labels), entries.probabilities.shape[2]
    # One row more on either side: nobody is right, or wrong, for certain.
    right = (entries.correct[list(members)].sum(axis=1) + 1) / (rows + 2)
    odds: NDArray[np.float64] = np.log(right / (1 - right)) + np.log(max(classes - 1, 1))
    return np.maximum(odds, 1e-3)


def _brier(scores: Scores, labels: Labels) -> float:
    true = scores[np.arange(len(labels)), labels]
    return float((scores**2).sum() - 2 * true.sum()) / len(labels) + 1


def _rank(
    probabilities: NDArray[Any],
    labels: Labels,
    *,
    metric: str,
    architectures: Sequence[str],
    parts: NDArray[np.int64],
    best: int | None,
    size: int,
) -> Entries:
    classes = probabilities.shape[2]
    decided = decisions(probabilities)
    if metric in COUNTED:
        merits = score_counts(metric, count(decided, labels, classes=classes))
    else:
        merits = np.array([merit(metric, labels, each) for each in probabilities])
    order = np.argsort(-merits, kind="stable")[:best]
    able = order[merits[order] > chance(metric, labels, classes=classes)]
    chosen = _pool(able, architectures, size) if len(able) else order[:1]
    return Entries(
        probabilities=probabilities[chosen],
        labels=labels,
        parts=parts,
        architectures=tuple(architectures[i] for i in chosen),
        metric=metric,
        correct=decided[chosen] == labels,
        positions=tuple(int(i) for i in chosen),
    )


def _pool(order: NDArray[np.int64], architectures: Sequence[str], size: int) -> NDArray[np.int64]:
    """The best so many, and the best one of each architecture."""
    names = [architectures[i] for i in order]
    firsts = {names.index(name) for name in set(names)}
    return order[sorted({*range(min(size, len(order))), *firsts})]
