"""Measure muster and plain Optuna side by side: python -m benchmarks.coordination [--quick]."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import optuna
from benchmarks import page
from benchmarks.coordination.fill import fill
from benchmarks.coordination.task import REPORTS, make_study
from benchmarks.proxy import proxy_to
from benchmarks.searching import measure
from benchmarks.servers import PASSWORD, Server, own_server
from rich.console import Console
from rich.table import Table

from muster_db import schema
from muster_db.engine import connect

RESULTS = Path(__file__).parent.parent / "results" / "coordination.json"
# One way; the answer takes as long again.
DELAY_SECONDS = 0.025
KINDS = ("plain", "muster")


@dataclass(frozen=True)
class Figure:
    """One row. target: what muster promises, an absolute number or a multiple of plain's.

    Rates are promised as multiples, since how many trials a second there can be is the
    machine's doing: 70 with 4 workers where plain Optuna makes 17, 60 with 16 where it makes 8.
    """

    name: str
    unit: str
    plain: float
    muster: float
    target: float
    is_ratio: bool = False
    more_is_better: bool = False

    @property
    def holds(self) -> bool:
        """Whether the promise holds in this run."""
        target = self.target * self.plain if self.is_ratio else self.target
        return self.muster >= target if self.more_is_better else self.muster <= target


class Bench:
    """A server of its own, and workers of either kind on databases of their own."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._databases = 0

    def database(self, *, budget: int, filled: int = 0) -> str:
        """The name of a new database with the benchmark's study on it."""
        self._databases += 1
        name = f"muster_{self._databases}"
        engine = connect(self._server.make_database(name))
        schema.initialise(engine)
        study = make_study(engine, name="benchmark", budget=filled + budget)
        if filled:
            fill(engine, study, trials=filled)
        engine.dispose()
        return name

    def run(
        self,
        kind: str,
        database: str,
        *,
        workers: int = 1,
        trials: int,
        epoch_seconds: float = 0.0,
        delay_seconds: float = 0.0,
    ) -> list[dict[str, Any]]:
        """Run workers to their end, all from the same moment; what each of them says."""
        with contextlib.ExitStack() as stack:
            port = self._server.port
            if delay_seconds:
                proxy = stack.enter_context(proxy_to(port))
                proxy.delay_seconds = delay_seconds
                port = proxy.port
            url = f"mysql+pymysql://muster:{PASSWORD}@127.0.0.1:{port}/{database}"
            command = [sys.executable, "-m", "benchmarks.coordination.worker", kind, "benchmark"]
            command += [str(trials), str(epoch_seconds)]
            environment = os.environ | {"MUSTER_DB_URL": url, "OMP_NUM_THREADS": "1"}
            processes = [
                stack.enter_context(
                    subprocess.Popen(
                        command,
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        env=environment,
                        text=True,
                    )
                )
                for _ in range(workers)
            ]
            for process in processes:
                _line(process)
            for process in processes:
                if process.stdin is not None:
                    process.stdin.write("go\n")
                    process.stdin.flush()
            with ThreadPoolExecutor(workers) as pool:
                return [json.loads(line) for line in pool.map(_line, processes)]

    def statements(self) -> int:
        """Statements that the server has been sent, by its own counter."""
        return self._server.counter("Questions")


def _line(process: subprocess.Popen[str]) -> str:
    if process.stdout is None or not (line := process.stdout.readline()):
        raise RuntimeError(f"a worker ended with {process.wait()}; its message is above")
    return line


def delays(bench: Bench, *, trials: int) -> Iterator[Figure]:
    """What training waits for at 50 ms round trip."""
    found: dict[str, Any] = {}
    for kind in KINDS:
        count = trials if kind == "muster" else max(3, trials // 5)
        database = bench.database(budget=count)
        (found[kind],) = bench.run(
            kind, database, trials=count, epoch_seconds=0.1, delay_seconds=DELAY_SECONDS
        )
    waits = {kind: 1000 * mean(each["waits"]) for kind, each in found.items()}
    gaps = {kind: 1000 * median(each["gaps"]) for kind, each in found.items()}
    yield Figure("wait an epoch, 50 ms round trip", "ms", waits["plain"], waits["muster"], 4)
    yield Figure("gap between trials, 50 ms round trip", "ms", gaps["plain"], gaps["muster"], 100)


def throughput(bench: Bench, *, workers: int, trials: int, target: float) -> Iterator[Figure]:
    """Trials a second of REPORTS reports each, without delay."""
    rates = {}
    for kind in KINDS:
        database = bench.database(budget=trials)
        share = 0 if kind == "muster" else trials // workers
        found = bench.run(kind, database, workers=workers, trials=share)
        seconds = max(each["ended_at"] for each in found) - min(each["began_at"] for each in found)
        rates[kind] = trials / seconds
    name = f"trials a second, {workers} workers"
    yield Figure(
        name, "/s", rates["plain"], rates["muster"], target, is_ratio=True, more_is_better=True
    )


def joining(bench: Bench, *, filled: int) -> Iterator[Figure]:
    """The first configuration beside many finished trials."""
    seconds = {}
    for kind in KINDS:
        database = bench.database(budget=1, filled=filled)
        (found,) = bench.run(kind, database, trials=1)
        seconds[kind] = found["first_seconds"]
    name = f"first configuration beside {filled:,} trials"
    yield Figure(name, "s", seconds["plain"], seconds["muster"], 0.6)


def suggestions(*, filled: int, target: float) -> Iterator[Figure]:
    """One suggestion of 9 parameters beside many finished trials."""
    found = measure(filled)
    name = f"a suggestion beside {filled:,} trials"
    yield Figure(name, "ms", found["optuna_ms"], found["muster_ms"], target)


def memory(bench: Bench, *, filled: int) -> Iterator[Figure]:
    """What a worker's process grows by once it knows that many trials."""
    grown = {}
    for kind in KINDS:
        (found,) = bench.run(kind, bench.database(budget=2, filled=filled), trials=2)
        grown[kind] = found["grown_bytes"] / 2**20
    name = f"a worker grows by, {filled:,} trials"
    yield Figure(name, "MiB", grown["plain"], grown["muster"], 0.5, is_ratio=True)


def load(bench: Bench, *, trials: int) -> Iterator[Figure]:
    """Statements a trial of REPORTS reports."""
    counts = {}
    for kind in KINDS:
        database = bench.database(budget=trials)
        before = bench.statements()
        bench.run(kind, database, trials=trials if kind == "plain" else 0)
        counts[kind] = (bench.statements() - before) / trials
    name = f"statements a trial of {REPORTS} reports"
    yield Figure(name, "", counts["plain"], counts["muster"], 0.1, is_ratio=True)


def main() -> None:
    """Measure, print the table, write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes; writes no results")
    parser.add_argument("--only", default="", help="parts whose names begin so")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    scale = 4 if options.quick else 1
    parts = {
        "delays": lambda bench: delays(bench, trials=20 // scale),
        "throughput4": lambda bench: throughput(
            bench, workers=4, trials=480 // scale, target=70 / 17
        ),
        "throughput16": lambda bench: throughput(
            bench, workers=16, trials=480 // scale, target=60 / 8
        ),
        "joining": lambda bench: joining(bench, filled=5_000 // scale),
        "suggestions5": lambda _: suggestions(filled=5_000 // scale, target=40),
        "suggestions10": lambda _: suggestions(filled=10_000 // scale, target=60),
        "load": lambda bench: load(bench, trials=100 // scale),
        "memory": lambda bench: memory(bench, filled=10_000 // scale),
    }
    figures: list[Figure] = []
    with own_server() as server:
        bench = Bench(server)
        for name, part in parts.items():
            if name.startswith(options.only):
                figures += part(bench)
                _print(figures)
    if not options.quick and not options.only:
        rows = [asdict(each) | {"holds": each.holds} for each in figures]
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
        page.write()
    sys.exit(0 if all(each.holds for each in figures) else 1)


def _print(figures: list[Figure]) -> None:
    table = Table("figure", "plain Optuna", "muster", "ratio", "promised", "holds")
    for each in figures:
        promised = f"{each.target:.3g} x plain's" if each.is_ratio else f"{each.target:g}"
        table.add_row(
            each.name,
            f"{each.plain:.3g} {each.unit}",
            f"{each.muster:.3g} {each.unit}",
            f"{each.muster / each.plain:.3f}",
            promised,
            "yes" if each.holds else "no",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
