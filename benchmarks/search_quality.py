"""Does drawing without waiting find worse configurations? Muster and plain Optuna, 8 workers each.

Workers are simulated in virtual time, so that a search of 200 trials takes seconds: a trial lasts
as long as a seeded draw says, plain Optuna tells and asks at its end, muster begins what its
courier drew last, which knows all trials but the one that just ended here. Both draw by TPE with
the same settings; muster's draws go through its claims, leases and mirror on an SQLite file. Run
it as python -m benchmarks.search_quality [--seeds N]; it exits 1 where muster is worse.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import optuna
from benchmarks.coordination.task import make_study
from optuna.trial import Trial, TrialState
from rich.console import Console
from rich.table import Table
from scipy.stats import wilcoxon

from muster_db import claims, schema, trials
from muster_db.engine import connect
from muster_db.mirror import Mirror

# Waiting for a disk says nothing of a search.
MEMORY: Final = "/dev/shm" if Path("/dev/shm").is_dir() else None
RESULTS: Final = Path(__file__).parent / "results" / "search_quality.json"
WORKERS: Final = 8
BUDGETS: Final = (50, 200)
SIGNIFICANCE: Final = 0.05
Objective = Callable[[Any], float]


def branin(trial: Any) -> float:
    """Two parameters; the optimum is 0.397887."""
    x = trial.suggest_float("x", -5.0, 10.0)
    y = trial.suggest_float("y", 0.0, 15.0)
    inner = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return float(inner**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10)


HARTMANN_A = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14],
     [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)  # fmt: skip
HARTMANN_P = 1e-4 * np.array(
    [[1312, 1696, 5569, 124, 8283, 5886], [2329, 4135, 8307, 3736, 1004, 9991],
     [2348, 1451, 3522, 2883, 3047, 6650], [4047, 8828, 8732, 5743, 1091, 381]]
)  # fmt: skip
HARTMANN_C = np.array([1.0, 1.2, 3.0, 3.2])


def hartmann6(trial: Any) -> float:
    """Six parameters; the optimum is -3.32237."""
    x = np.array([trial.suggest_float(f"x{index}", 0.0, 1.0) for index in range(6)])
    return float(-HARTMANN_C @ np.exp(-(HARTMANN_A * (x - HARTMANN_P) ** 2).sum(axis=1)))


def mixed(trial: Any) -> float:
    """An Ackley function of five parameters behind a choice that shifts it; the optimum is 0."""
    kind = trial.suggest_categorical("kind", ["near", "far", "off"])
    x = np.array([trial.suggest_float(f"x{index}", -5.0, 5.0) for index in range(5)])
    x = x - {"near": 0.0, "far": 2.5, "off": -1.0}[kind]
    rough = 20 - 20 * math.exp(-0.2 * math.sqrt(float((x**2).mean())))
    wavy = math.e - math.exp(float(np.cos(2 * math.pi * x).mean()))
    return rough + wavy + {"near": 0.0, "far": 1.0, "off": 2.0}[kind]


OBJECTIVES: Final[dict[str, Objective]] = {
    "branin": branin,
    "hartmann6": hartmann6,
    "mixed": mixed,
}


@dataclass(frozen=True)
class Row:
    """One objective at one budget: the best of each seed, lower is better; p: muster is worse."""

    objective: str
    budget: int
    plain: list[float]
    muster: list[float]
    p: float

    @property
    def holds(self) -> bool:
        """Whether the test leaves it open that muster is as good."""
        return self.p >= SIGNIFICANCE


def plain(objective: Objective, seed: int) -> list[float]:
    """Values in the order of the tells."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sampler = optuna.samplers.TPESampler(
            seed=seed, multivariate=True, group=True, constant_liar=True
        )
    study = optuna.create_study(sampler=sampler)
    told: list[float] = []
    running: list[tuple[float, int, Trial, float]] = []
    rng = np.random.default_rng(seed)

    def begin(now: float) -> None:
        trial = study.ask()
        ends_at = now + float(rng.lognormal(0.0, 0.5))
        heapq.heappush(running, (ends_at, trial.number, trial, objective(trial)))

    for _ in range(WORKERS):
        begin(0.0)
    while len(told) < max(BUDGETS):
        now, _, trial, value = heapq.heappop(running)
        study.tell(trial, value)
        told.append(value)
        begin(now)
    return told


def muster(objective: Objective, seed: int) -> list[float]:
    """The same through muster's store."""
    with tempfile.TemporaryDirectory(prefix="muster-benchmark-", dir=MEMORY) as folder:
        engine = connect(f"sqlite:///{folder}/muster.db")
        schema.initialise(engine)
        budget = max(BUDGETS) + WORKERS
        study = make_study(engine, name="quality", budget=budget, seed=seed, direction="minimize")
        mirror = Mirror(engine, study)
        told: list[float] = []
        running: list[tuple[float, int, claims.Claim, float]] = []
        rng = np.random.default_rng(seed)

        def begin(now: float, worker: int) -> None:
            claim = claims.claim(
                engine,
                study,
                worker_id=worker,
                lease_seconds=3600,
                propose=lambda: mirror.propose(objective, worker_ordinal=worker),
            )
            if not isinstance(claim, claims.Claim):
                raise RuntimeError(f"nothing to claim: {claim}")
            value = objective(optuna.trial.FixedTrial(claim.params))
            heapq.heappush(running, (now + float(rng.lognormal(0.0, 0.5)), worker, claim, value))

        for worker in range(WORKERS):
            begin(0.0, worker)
        while len(told) < max(BUDGETS):
            now, worker, claim, value = heapq.heappop(running)
            # Before the tell: what comes next was drawn while this one trained.
            begin(now, worker)
            trials.tell(
                engine,
                claim,
                state=TrialState.COMPLETE,
                value=value,
                attributes={},
                blobs={},
                is_first_news=True,
            )
            told.append(value)
        engine.dispose()
        return told


def compare(name: str, *, seeds: int) -> list[Row]:
    """Both sides over the seeds, in turns."""
    found: dict[str, list[list[float]]] = {"plain": [], "muster": []}
    for seed in range(seeds):
        found["plain"].append(plain(OBJECTIVES[name], seed))
        found["muster"].append(muster(OBJECTIVES[name], seed))
    rows = []
    for budget in BUDGETS:
        best = {kind: [min(each[:budget]) for each in runs] for kind, runs in found.items()}
        # One-sided: how likely such figures are where muster is no worse.
        p = float(wilcoxon(best["muster"], best["plain"], alternative="greater").pvalue)
        rows.append(Row(name, budget, best["plain"], best["muster"], p))
    return rows


def main() -> None:
    """Compare, print the table, write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--only", default="", help="objectives whose names begin so")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    table = Table("objective", "trials", "plain, median", "muster, median", "p (worse)", "holds")
    rows: list[Row] = []
    for name in OBJECTIVES:
        if name.startswith(options.only):
            rows += compare(name, seeds=options.seeds)
    for row in rows:
        medians = [f"{float(np.median(each)):.4f}" for each in (row.plain, row.muster)]
        table.add_row(row.objective, str(row.budget), *medians, f"{row.p:.3f}",
                      "yes" if row.holds else "no")  # fmt: skip
    Console(width=100).print(table)
    if options.seeds >= 20 and not options.only:
        facts = [vars(row) | {"holds": row.holds} for row in rows]
        RESULTS.write_text(json.dumps(facts, indent=1) + "\n")
    sys.exit(0 if all(row.holds for row in rows) else 1)


if __name__ == "__main__":
    main()
