"""Who reaches what: guess, baselines, best trial and every rule, for one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from muster.data.dataset import Dataset
from muster.diversity import Limits
from muster.selection import CHOOSERS, NO_LIMITS, Choice
from muster_ensemble.estimate import (
    AUTO,
    SINGLE,
    Estimate,
    Outcome,
    choose,
    decide_and_estimate,
)
from muster_ensemble.ledger import Ledger
from muster_ensemble.select import Candidate
from muster_ensemble.summary import of_test_part

# Numbers in a ledger up to which estimating every rule takes some ten seconds at most.
SMALL = 50_000_000


@dataclass(frozen=True)
class Standing:
    """One row: figures of the study's metric, but for the two of the test part.

    estimate: None for what chose nothing and so needs none; figure: what it reaches then, or None
    where that is not known. is_taken: whether the bundle votes so.
    """

    name: str
    estimate: Estimate | None = None
    figure: float | None = None
    test_macro_f1: float | None = None
    test_accuracy: float | None = None
    is_taken: bool = False

    @property
    def nested(self) -> float | None:
        """The figure to believe."""
        return self.figure if self.estimate is None else self.estimate.nested


def weigh_rules(
    ledger: Ledger, outcome: Outcome, *, limits: Limits = NO_LIMITS
) -> dict[str, tuple[Choice, Estimate]]:
    """What each rule chooses and what that is worth, the best single trial first.

    `auto` comes last where it was asked for. On a ledger that is not SMALL only those rules that
    were estimated already.
    """
    found = {}
    for rule in CHOOSERS:
        if rule in outcome.estimates:
            choice = (
                outcome.choice if rule == outcome.rule else choose(ledger, rule, limits=limits)
            )
            found[rule] = choice, outcome.estimates[rule]
        elif ledger.probabilities.size <= SMALL:
            other = decide_and_estimate(ledger, rule=rule, limits=limits)
            found[rule] = other.choice, other.estimate
    if outcome.asked == AUTO:
        found[AUTO] = outcome.choice, outcome.estimate
    return {rule: found[rule] for rule in (SINGLE, *found)}


def voters(ledger: Ledger, weighed: Mapping[str, tuple[Choice, Estimate]]) -> set[int]:
    """The numbers of all trials that vote by one of the rules."""
    return {ledger.numbers[i] for choice, _ in weighed.values() for i in choice.members}


def standings(
    dataset: Dataset,
    ledger: Ledger,
    weighed: Mapping[str, tuple[Choice, Estimate]],
    candidates: Mapping[int, Candidate],
    summary: Mapping[str, Any],
) -> list[Standing]:
    """The rows in the order in which to read them.

    weighed: of weigh_rules. candidates: by number, at least those of voters. summary: what
    summarise gave; its figures are taken for guess, best trial and what was taken.
    """
    guess = summary["random_guess"]
    rows = [
        Standing(
            "random guess",
            figure=guess.get(f"oof_{ledger.metric}"),
            test_macro_f1=guess["test_macro_f1"],
            test_accuracy=guess["test_accuracy"],
        )
    ]
    # The place of baselines: a Standing with its figure each.
    taken = AUTO if AUTO in weighed else summary["rule"]
    for name, (choice, estimate) in weighed.items():
        if name == taken:
            figures = summary["ensemble"]
        elif name == SINGLE:
            figures = summary["best_single"]
        else:
            test = np.stack([candidates[ledger.numbers[i]].test for i in choice.members])
            figures = of_test_part(dataset, choice.vote(test))
        rows.append(
            Standing(
                f"{AUTO}: {in_words(summary['rule'])}" if name == AUTO else in_words(name),
                estimate,
                test_macro_f1=figures["test_macro_f1"],
                test_accuracy=figures["test_accuracy"],
                is_taken=name == taken,
            )
        )
    return rows


def in_words(rule: str) -> str:
    """What votes by that rule."""
    return "best single trial" if rule == SINGLE else f"{rule} vote"
