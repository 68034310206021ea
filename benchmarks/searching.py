"""What a suggestion costs, and what a worker's copy of a study weighs, against plain Optuna.

Both draw 9 parameters (8 floats, one choice) by TPE with the same settings from the same trials
of 10 reports each: Optuna from its storage's cache in memory, muster from its mirror's columns.
The draws are in turns, so that whatever slows the machine slows both; both propose the same, or
this exits 1. Run it as python -m benchmarks.searching [TRIALS ...].
"""

from __future__ import annotations

import gc
import hashlib
import json
import sys
import time
import tracemalloc
import warnings
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    distribution_to_json,
    json_to_distribution,
)
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial
from rich.console import Console
from rich.table import Table

from muster_db.history import History, Row
from muster_db.local import NAME, STUDY_ID, LocalStorage
from muster_db.tpe import ColumnTPE

SIZES = (5_000, 10_000)
DRAWS = 9
REPORTS = 10
SPACE: dict[str, BaseDistribution] = {
    **{f"x{index}": FloatDistribution(-5.0, 5.0) for index in range(8)},
    "kind": CategoricalDistribution(("a", "b", "c")),
}
TEXTS = {name: distribution_to_json(each) for name, each in SPACE.items()}


def suggest(trial: Trial) -> None:
    """Ask for SPACE."""
    for name, each in SPACE.items():
        if isinstance(each, FloatDistribution):
            trial.suggest_float(name, each.low, each.high)
        elif isinstance(each, CategoricalDistribution):
            trial.suggest_categorical(name, each.choices)


def make_row(number: int) -> Row:
    """One complete trial."""
    rng = np.random.default_rng(number)
    values = (*map(float, rng.uniform(-5, 5, size=8)), float(rng.integers(3)))
    value = sum(each**2 for each in values)
    return Row(
        number=number,
        state=TrialState.COMPLETE,
        distributions=tuple(SPACE.items()),
        values=values,
        value=value,
        reports={step: value + 1 / (1 + step) for step in range(REPORTS)},
        params_hash=hashlib.sha256(str(number).encode()).hexdigest(),
    )


def make_trial(row: Row) -> FrozenTrial:
    """The same as Optuna's storage reads it: each trial with distributions of its own."""
    params = zip(SPACE, row.values, strict=True)
    return create_trial(
        value=row.value,
        params={name: SPACE[name].to_external_repr(value) for name, value in params},
        distributions={name: json_to_distribution(TEXTS[name]) for name in SPACE},
        intermediate_values=dict(row.reports),
    )


def make_ours(trials: int) -> Callable[[int], dict[str, Any]]:
    """Draws by a seed from columns."""
    history = History()
    for number in range(trials):
        history.put(make_row(number))
    storage = LocalStorage("minimize", history)

    def draw(seed: int) -> dict[str, Any]:
        study = optuna.Study(NAME, storage, sampler=ColumnTPE(seed, history))
        suggest(trial := Trial(study, storage.create_new_trial(STUDY_ID)))
        return trial.params

    return draw


def make_theirs(trials: int) -> Callable[[int], dict[str, Any]]:
    """Draws by a seed from Optuna's own storage in memory."""
    study = optuna.create_study()
    # add_trial would check and copy each; what stays in memory is the same.
    held = study._storage._studies[study._study_id].trials  # type: ignore[attr-defined]
    for number in range(trials):
        trial = make_trial(make_row(number))
        trial.number = trial._trial_id = number
        held.append(trial)
        study._storage._trial_id_to_study_id_and_number[number] = (  # type: ignore[attr-defined]
            study._study_id, number,
        )  # fmt: skip
    study._storage._max_trial_id = trials - 1  # type: ignore[attr-defined]

    def draw(seed: int) -> dict[str, Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.sampler = TPESampler(seed=seed, multivariate=True, group=True)
        suggest(trial := study.ask())
        params = trial.params
        # Failed trials are no part of what is drawn from.
        study.tell(trial, state=TrialState.FAIL)
        return params

    return draw


def weigh(make: Callable[[int], object], trials: int) -> float:
    """MiB that stay allocated for so many trials."""
    gc.collect()
    tracemalloc.start()
    held = make(trials)
    gc.collect()
    weight = tracemalloc.get_traced_memory()[0] / 2**20
    tracemalloc.stop()
    del held
    return weight


def measure(trials: int) -> dict[str, float]:
    """Milliseconds a suggestion and MiB a copy, of both. Raises ValueError where they differ."""
    both = {"muster": make_ours(trials), "optuna": make_theirs(trials)}
    times: dict[str, list[float]] = {name: [] for name in both}
    for seed in range(DRAWS + 1):
        proposals = []
        for name, draw in both.items():
            started = time.perf_counter()
            proposals.append(draw(seed))
            times[name].append(time.perf_counter() - started)
        if proposals[0] != proposals[1]:
            raise ValueError(f"seed {seed} at {trials} trials: {proposals}")
    both.clear()
    found = {f"{name}_ms": 1000 * median(each[1:]) for name, each in times.items()}
    for name, make in (("muster", make_ours), ("optuna", make_theirs)):
        found[f"{name}_mib"] = weigh(make, trials)
    return found


def main() -> int:
    """Measure, print the table to stderr and the figures as JSON to stdout."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = Table("trials", "", "muster", "plain Optuna", "ratio", box=None)
    figures = {}
    for trials in [int(each) for each in sys.argv[1:]] or SIZES:
        try:
            figures[trials] = found = measure(trials)
        except ValueError as error:
            print(error, file=sys.stderr)
            return 1
        for figure, unit in (("ms", "ms"), ("mib", "MiB")):
            ours, theirs = found[f"muster_{figure}"], found[f"optuna_{figure}"]
            name = "9 parameters" if figure == "ms" else "a worker's copy"
            cells = (f"{ours:.1f} {unit}", f"{theirs:.1f} {unit}", f"{ours / theirs:.2f}")
            table.add_row(str(trials), name, *cells)
    Console(stderr=True).print(table)
    print(json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
