"""How long choosing and voting take on a large ledger, and how much memory.

500 trials of 100,000 sequences and 5 classes, as imbalanced as heartbeats are, in half precision;
then 20 members over 1,000,000 rows, beside the usual argmax and mode of scipy. Run `make
bench-voting`; the figures also go to benchmarks/results/voting.json. Seconds are the process's
own, so that other programs do not count. Exits 1 where a target is missed.
"""

from __future__ import annotations

import json
import platform
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.stats import mode

from muster.selection import choose
from muster.voting import vote

RESULTS = Path(__file__).parent / "results" / "voting.json"
TRIALS, SEQUENCES = 500, 100_000
MEMBERS, ROWS = 20, 1_000_000
SHARES = (0.82, 0.03, 0.07, 0.01, 0.07)
TARGETS = {"greedy": 10.0, "majority of 20": 1.0, "GiB": 2.0}


def main() -> int:
    """Measure, print, write; 1 where a target is missed."""
    labels, probabilities = ledger(TRIALS, SEQUENCES)
    architectures = [("gru", "cnn", "lstm")[i % 3] for i in range(TRIALS)]
    parts = np.arange(SEQUENCES) % 3

    def chosen(rule: str) -> float:
        started = time.process_time()
        choose(
            probabilities,
            labels,
            rule=rule,
            metric="macro_f1",
            architectures=architectures,
            parts=parts,
        )
        return time.process_time() - started

    seconds = {"greedy": chosen("greedy")}
    gibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    seconds |= {rule: chosen(rule) for rule in ("majority", "weighted", "soft")}
    members = np.tile(probabilities[:MEMBERS], (1, ROWS // SEQUENCES, 1))
    seconds["majority of 20"] = timed(lambda: vote(members, rule="majority"))
    seconds["argmax and mode of 20"] = timed(lambda: mode(members.argmax(axis=2), axis=0))
    report = {
        "trials": TRIALS,
        "sequences": SEQUENCES,
        "members": MEMBERS,
        "rows": ROWS,
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "GiB": round(gibibytes, 2),
        "targets": TARGETS,
        "numpy": np.__version__,
        "machine": platform.machine(),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=2) + "\n")
    show(seconds | {"GiB": gibibytes})
    measured = seconds | {"GiB": gibibytes}
    return int(any(measured[name] > target for name, target in TARGETS.items()))


def ledger(trials: int, sequences: int) -> tuple[NDArray[np.int64], NDArray[np.float16]]:
    """Labels, and (trials, sequences, 5) probabilities that err in part on the same sequences."""
    rng = np.random.default_rng(0)
    labels = rng.choice(len(SHARES), size=sequences, p=SHARES)
    hard = rng.normal(0, 1, (sequences, len(SHARES))).astype(np.float32)
    probabilities = np.empty((trials, sequences, len(SHARES)), dtype=np.float16)
    for trial in range(trials):
        logits = hard + rng.normal(0, 1.2, hard.shape).astype(np.float32)
        logits[np.arange(sequences), labels] += rng.uniform(1, 3)
        powers = np.exp(logits * rng.uniform(0.6, 2))
        probabilities[trial] = powers / powers.sum(axis=1, keepdims=True)
    return labels, probabilities


def timed(work: Callable[[], object]) -> float:
    """Seconds of this process."""
    started = time.process_time()
    work()
    return time.process_time() - started


def show(measured: dict[str, float]) -> None:
    """One line a figure, with its target."""
    table = Table("", "measured", "target", box=None)
    for name, value in measured.items():
        target = TARGETS.get(name)
        table.add_row(name, f"{value:.2f}", "" if target is None else f"{target:g}")
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
