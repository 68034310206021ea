"""What mirrors need of a trial, as text in its one row.

Optuna keeps a trial in a dozen rows of four tables, which dashboards read. A worker that joins
a study of 10,000 trials would wait seconds for them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from optuna.distributions import BaseDistribution
from optuna.trial import TrialState


@dataclass(frozen=True)
class Outcome:
    """How a trial ended. reports: step to value."""

    state: TrialState
    value: float | None
    reports: Mapping[int, float]


def of_params(params: Mapping[str, object], distributions: Mapping[str, BaseDistribution]) -> str:
    """Names and Optuna's internal numbers, in the order of the suggestions."""
    numbers = [(name, each.to_internal_repr(params[name])) for name, each in distributions.items()]
    return json.dumps(numbers, separators=(",", ":"))


def read_params(text: str) -> list[tuple[str, float]]:
    """What of_params wrote."""
    return [(name, float(number)) for name, number in json.loads(text)]


def of_outcome(state: TrialState, value: float | None, reports: Mapping[int, float]) -> str:
    """State, value and reports."""
    return json.dumps([state.name, value, list(reports.items())], separators=(",", ":"))


def read_outcome(text: str) -> Outcome:
    """What of_outcome wrote."""
    state, value, reports = json.loads(text)
    return Outcome(TrialState[state], value, {step: float(each) for step, each in reports})
