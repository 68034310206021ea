"""How good the vote really is: nested cross-validation of the whole choice.

Members, weights, temperatures, thresholds, and with `auto` the rule too, are chosen on all folds
but one and scored on that one, in turn. No label of a fold chooses what is scored on it, and the
models that predict it never saw it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.confidence import interval, mcnemar
from muster.confusion import decisions, merit, sign
from muster.diversity import Limits
from muster.errors import UserError
from muster.selection import CHOOSERS, NO_LIMITS, Choice
from muster.selection import choose as choose_among
from muster_ensemble.ledger import Ledger

AUTO = "auto"
SINGLE = "single"
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A rule's figures, of the study's metric unless they say otherwise.

    nested: on folds that chose nothing, all of them together. low, high: where new data may score,
    with 95 %.
    naive: of the final choice on the rows that chose it. wins, losses: rows that the rule alone,
    and the best single trial alone, decides rightly. p_value: McNemar's exact test of these two.
    """

    rule: str
    metric: str
    nested: float
    low: float
    high: float
    naive: float
    nested_macro_f1: float
    nested_accuracy: float
    wins: int
    losses: int
    p_value: float

    @property
    def optimism(self) -> float:
        """By how much the naive figure flatters."""
        return sign(self.metric) * (self.naive - self.nested)


@dataclass(frozen=True)
class Outcome:
    """An ensemble and what it is worth. choice.members: positions in the ledger.

    rule: what was chosen by, never `auto`. estimates: by rule; of what was asked for, of the
    best single trial, and with `auto` of all.
    """

    choice: Choice
    rule: str
    asked: str
    estimates: dict[str, Estimate]

    @property
    def estimate(self) -> Estimate:
        """The figures of what was asked for."""
        return self.estimates[self.asked]


def decide_and_estimate(
    ledger: Ledger,
    *,
    rule: str = "majority",
    limits: Limits = NO_LIMITS,
) -> Outcome:
    """Choose among the trials whose weights are there, and estimate that choice.

    rule: one of CHOOSERS, or `auto`: the rule with the best nested figure, the best single trial
    where no rule beats it. Raises UserError for another, and where no trial has weights.
    """
    check_rule(rule)
    if not ledger.exportable.any():
        raise UserError(
            f"the weights of all {len(ledger)} completed trials were collected; run more trials, "
            "with a higher MUSTER_KEEP_WEIGHTS"
        )
    everything = np.arange(len(ledger.truth.labels))
    wanted = list(CHOOSERS) if rule == AUTO else list(dict.fromkeys((SINGLE, rule)))
    nested = {name: nested_scores(ledger, name, everything, limits) for name in wanted}
    taken = _best(ledger, nested, everything) if rule == AUTO else rule
    if rule == AUTO:
        nested[AUTO] = nested_scores(ledger, AUTO, everything, limits)
    finals = {name: choose(ledger, name, limits=limits) for name in wanted}
    finals |= {AUTO: finals[taken]} if rule == AUTO else {}
    estimates = {
        name: _estimate(ledger, name, finals[name], scores, nested[SINGLE])
        for name, scores in nested.items()
    }
    return Outcome(finals[taken], taken, rule, estimates)


def check_rule(rule: str) -> None:
    """Raises UserError for what is neither `auto` nor one of CHOOSERS."""
    known = (AUTO, *CHOOSERS)
    if rule not in known:
        raise UserError(f"unknown voting rule {rule!r}; take one of {', '.join(known)}")


def choose(
    ledger: Ledger,
    rule: str,
    *,
    limits: Limits = NO_LIMITS,
    rows: NDArray[np.int64] | None = None,
) -> Choice:
    """Members by their positions in the ledger, chosen on these rows alone.

    On all rows, the trials whose weights are there are chosen from; on some of them, as many of
    the trials as have weights, the best on these rows: those whose weights would be kept.
    """
    truth = ledger.truth
    positions = np.flatnonzero(ledger.exportable)
    if rows is None:
        rows, kept, best = np.arange(len(truth.labels)), positions, None
    else:
        kept, best = np.arange(len(ledger)), len(positions)
    is_all = len(kept) == len(ledger) and len(rows) == len(truth.labels)
    found = choose_among(
        # A large ledger is not copied where nothing is left out.
        ledger.probabilities if is_all else ledger.probabilities[np.ix_(kept, rows)],
        truth.labels[rows],
        rule=rule,
        metric=ledger.metric,
        architectures=[ledger.architectures[i] for i in kept],
        parts=truth.folds[rows],
        limits=limits,
        best=best,
    )
    members = tuple(int(kept[i]) for i in found.members)
    return Choice(found.rule, members, found.weights, found.temperatures, found.factors)


def nested_scores(
    ledger: Ledger, rule: str, rows: NDArray[np.int64], limits: Limits = NO_LIMITS
) -> Scores:
    """(rows, classes) scores, each row's by an ensemble that its part did not choose.

    The parts are the study's folds; where rows lie in one fold alone, its two halves. `auto`
    chooses its rule in the same way within the other parts.
    """
    parts = _parts(ledger, rows)
    scores = np.empty((len(rows), ledger.probabilities.shape[2]))
    for part in np.unique(parts):
        held, others = rows[parts == part], rows[parts != part]
        name = rule
        if rule == AUTO:
            inner = {each: nested_scores(ledger, each, others, limits) for each in CHOOSERS}
            name = _best(ledger, inner, others)
        scores[parts == part] = vote(
            ledger, choose(ledger, name, limits=limits, rows=others), held
        )
    return scores


def vote(ledger: Ledger, choice: Choice, rows: NDArray[np.int64] | None = None) -> Scores:
    """(rows, classes) scores of the choice's members."""
    members = np.asarray(choice.members)
    rows = np.arange(len(ledger.truth.labels)) if rows is None else rows
    return choice.vote(ledger.probabilities[np.ix_(members, rows)])


def best_single(ledger: Ledger) -> int:
    """Position of the best trial of all, its weights there or not."""
    return choose(replace(ledger, exportable=np.ones(len(ledger), dtype=bool)), SINGLE).members[0]


def as_plain(ledger: Ledger, outcome: Outcome) -> dict[str, Any]:
    """Rule, members and figures, all of the study's metric, as plain data for JSON."""
    return {
        "rule": outcome.rule,
        "members": [
            {
                "trial": ledger.numbers[position],
                "architecture": ledger.architectures[position],
                "weight": weight,
            }
            for position, weight in zip(
                outcome.choice.members, outcome.choice.weights, strict=True
            )
        ],
        "estimates": {
            name: {
                "metric": each.metric,
                "nested": each.nested,
                "interval": [each.low, each.high],
                "naive": each.naive,
                "optimism": each.optimism,
                "wins": each.wins,
                "losses": each.losses,
                "p_value": each.p_value,
            }
            for name, each in outcome.estimates.items()
        },
    }


def _estimate(
    ledger: Ledger,
    rule: str,
    final: Choice,
    scores: Scores,
    single: Scores,
) -> Estimate:
    truth, metric = ledger.truth, ledger.metric
    labels = truth.labels
    low, high = interval(metric, labels, scores, truth.groups, rows=truth.others or None)
    is_right, was_right = decisions(np.stack([scores, single])) == labels
    wins, losses = int((is_right & ~was_right).sum()), int((~is_right & was_right).sum())
    return Estimate(
        rule=rule,
        metric=metric,
        nested=sign(metric) * merit(metric, labels, scores),
        low=low,
        high=high,
        naive=sign(metric) * merit(metric, labels, vote(ledger, final)),
        nested_macro_f1=merit("macro_f1", labels, scores),
        nested_accuracy=merit("accuracy", labels, scores),
        wins=wins,
        losses=losses,
        p_value=mcnemar(wins, losses),
    )


def _best(ledger: Ledger, nested: dict[str, Scores], rows: NDArray[np.int64]) -> str:
    """The rule with the best nested figure, the single trial unless another beats it."""
    labels = ledger.truth.labels[rows]
    merits = {name: round(merit(ledger.metric, labels, nested[name]), 12) for name in nested}
    return max(merits, key=lambda name: (merits[name], name == SINGLE))


def _parts(ledger: Ledger, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """(rows,) the folds, or the halves of the one fold: by class, whole groups where there are."""
    truth = ledger.truth
    folds = truth.folds[rows]
    if len(np.unique(folds)) > 1:
        return folds
    halves = np.zeros(len(rows), dtype=np.int64)
    if truth.groups is not None and len(np.unique(truth.groups[rows])) > 1:
        _, codes = np.unique(truth.groups[rows], return_inverse=True)
        return np.asarray(codes % 2, dtype=np.int64)
    for label in np.unique(truth.labels[rows]):
        same = np.flatnonzero(truth.labels[rows] == label)
        halves[same] = np.arange(len(same)) % 2
    return halves
