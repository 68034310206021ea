"""Does hiding the database cost quality? Muster and plain Optuna search with 8 workers each.

The best value after 50 and 200 trials is compared seed by seed, on three functions with known
optima and on a table of really trained configurations, by a one-sided Wilcoxon test that muster's
is worse. Both draw by TPE with the same settings, in the virtual time of simulated.py. Run it as
python -m benchmarks.search_quality [--seeds N] [--only NAME]; it exits 1 where muster is worse.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import optuna
from benchmarks import tabled
from benchmarks.simulated import Objective, muster, plain
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.stats import wilcoxon

RESULTS: Final = Path(__file__).parent / "results" / "search_quality.json"
BUDGETS: Final = (50, 200)
SEEDS: Final = 20
SIGNIFICANCE: Final = 0.05


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
    "JapaneseVowels": tabled.error,
}
SIDES: Final = {"plain": plain, "muster": muster}


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


def compare(name: str, *, seeds: int) -> list[Row]:
    """Both sides over the seeds, in turns."""
    found: dict[str, list[list[float]]] = {"plain": [], "muster": []}
    for seed in track(range(seeds), description=name):
        for kind, runs in found.items():
            runs.append(SIDES[kind](OBJECTIVES[name], trials=max(BUDGETS), seed=seed))
    rows = []
    for budget in BUDGETS:
        best = {kind: [min(each[:budget]) for each in runs] for kind, runs in found.items()}
        p = likelihood(best["plain"], best["muster"])
        rows.append(Row(name, budget, best["plain"], best["muster"], p))
    return rows


def likelihood(plain: Sequence[float], muster: Sequence[float]) -> float:
    """How likely such differences or worse ones are where muster is no worse: p, one-sided.

    Seeds on which both found the same say nothing (Wilcoxon, 1945).
    """
    if list(plain) == list(muster):
        return 1.0
    return float(wilcoxon(muster, plain, alternative="greater").pvalue)


def main() -> None:
    """Compare, print the table, write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS)
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
    if options.seeds == SEEDS:
        keep(rows)
    sys.exit(0 if all(row.holds for row in rows) else 1)


def keep(rows: list[Row]) -> None:
    """Write the results; objectives that were not asked for keep their figures."""
    named = {row.objective for row in rows}
    known = json.loads(RESULTS.read_text()) if RESULTS.is_file() else []
    facts = [each for each in known if each["objective"] not in named]
    facts += [vars(row) | {"holds": row.holds} for row in rows]
    facts.sort(key=lambda each: [*OBJECTIVES].index(each["objective"]))
    RESULTS.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
