"""Simulate 200 workers and 10,000 trials on one server: python -m benchmarks.scale [--quick]."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final

import optuna
from benchmarks import page
from benchmarks.coordination.__main__ import DELAY_SECONDS
from benchmarks.coordination.task import REPORTS, make_study
from benchmarks.proxy import proxy_to
from benchmarks.scale.chart import Panel, draw
from benchmarks.scale.crowd import Run, run_crowd
from benchmarks.scale.looking import looks, memory
from benchmarks.scale.stopwatch import VERBS, Sample
from benchmarks.servers import Server, own_server
from rich.console import Console
from rich.table import Table

from muster_db import schema
from muster_db.engine import connect

RESULTS: Final = Path(__file__).parent.parent / "results" / "scale.json"
EPOCH_SECONDS: Final = 0.1
# As db/my.cnf, but for the connections: a worker has one.
OPTIONS: Final = ("--max-connections=400", "--innodb-buffer-pool-size=256M")
# The part of a run by which its rate is measured: all workers are there, and none has left.
STEADY: Final = (0.2, 0.9)

Row = dict[str, Any]


def main() -> None:
    """Measure part by part, print, write the results and the chart."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes; writes nothing")
    parser.add_argument("--only", default="", help="the part of that name; the others stay")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    parts = _quick_parts() if options.quick else _parts()
    found: dict[str, list[Row]] = {}
    if options.only and RESULTS.exists() and not options.quick:
        found = json.loads(RESULTS.read_text())
    for name, part in parts.items():
        if options.only in ("", name):
            with own_server(options=OPTIONS) as server:
                found[name] = part(server)
            _print(name, found[name])
            if not options.quick:
                RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    if {"workers", "trials"} <= found.keys():
        chart = draw(panels(found))
        place = Path(tempfile.mkdtemp()) / page.CHART.name if options.quick else page.CHART
        place.write_text(chart)
        Console().print(f"drawn: {place}")
    if not options.quick:
        page.write()


def _parts() -> dict[str, Callable[[Server], list[Row]]]:
    return {
        "workers": lambda server: by_workers(
            server, {1: 30, 10: 250, 50: 800, 100: 1_200, 200: 1_600}
        ),
        "trials": lambda server: by_trials(server, workers=200, trials=10_000, step=1_000),
        "far": lambda server: from_afar(server, {1: 15, 10: 60, 40: 100}),
        "training": lambda server: [beats(server, workers=100, epoch_seconds=6.0)],
        "looks": lambda server: [asdict(each) for each in looks(server, filled=10_000)],
        "memory": lambda server: [asdict(each) for each in memory(server, filled=10_000)],
    }


def _quick_parts() -> dict[str, Callable[[Server], list[Row]]]:
    return {
        "workers": lambda server: by_workers(server, {1: 3, 16: 80}),
        "trials": lambda server: by_trials(server, workers=16, trials=160, step=40),
        "far": lambda server: from_afar(server, {4: 8}),
        "training": lambda server: [beats(server, workers=8, epoch_seconds=0.5)],
        "looks": lambda server: [asdict(each) for each in looks(server, filled=600)],
        "memory": lambda server: [asdict(each) for each in memory(server, filled=600)],
    }


def by_workers(server: Server, sizes: dict[int, int]) -> list[Row]:
    """A row for each number of workers, each on a study of its own of so many trials."""
    return [_row(server, workers=workers, trials=trials)[0] for workers, trials in sizes.items()]


def from_afar(server: Server, sizes: dict[int, int]) -> list[Row]:
    """by_workers with 50 ms between each worker and the server and back."""
    with proxy_to(server.port) as proxy:
        proxy.delay_seconds = DELAY_SECONDS
        return [
            _row(server, workers=workers, trials=trials, port=proxy.port)[0]
            for workers, trials in sizes.items()
        ]


def by_trials(server: Server, *, workers: int, trials: int, step: int) -> list[Row]:
    """A row for each step of trials told, then one for the whole run."""
    whole, run = _row(server, workers=workers, trials=trials)
    told = run.of("tell")
    rows: list[Row] = []
    for end in range(step, len(told) + 1, step):
        first = told[end - step - 1].ended_at if end > step else run.began_at
        last = told[end - 1].ended_at
        samples = [each for each in run.samples if first < each.ended_at <= last]
        rows.append({"told": end, "per_second": step / (last - first), "ms": _verbs(samples)})
    return [*rows, whole]


def beats(server: Server, *, workers: int, epoch_seconds: float) -> Row:
    """What workers ask of the server while each trains one trial, by second and worker."""
    row, run = _row(server, workers=workers, trials=workers, epoch_seconds=epoch_seconds)
    worker_seconds = workers * (run.of("tell")[-1].ended_at - run.began_at)
    return {
        "workers": workers,
        "statements_a_second_a_worker": row["statements_a_trial"] * workers / worker_seconds,
        "server_cpu_ms_a_second_a_worker": row["server_cpu_ms_a_trial"] * workers / worker_seconds,
        "ms": row["ms"],
    }


def _row(
    server: Server,
    *,
    workers: int,
    trials: int,
    epoch_seconds: float = EPOCH_SECONDS,
    port: int | None = None,
) -> tuple[Row, Run]:
    """port: where workers find the server, if not at its own."""
    url = server.make_database(f"muster_{workers}")
    engine = connect(url)
    schema.initialise(engine)
    make_study(engine, name="benchmark", budget=trials)
    engine.dispose()
    if port is not None:
        url = url.replace(f":{server.port}/", f":{port}/")
    before = server.cpu_seconds(), server.counter("Questions")
    run = run_crowd(url, "benchmark", workers=workers, epoch_seconds=epoch_seconds)
    if run.complete != trials:
        raise RuntimeError(f"{run.complete} trials of {trials} are complete")
    told = run.of("tell")
    first, last = (told[round(share * (len(told) - 1))].ended_at for share in STEADY)
    row = {
        "workers": workers,
        "trials": trials,
        "per_second": (STEADY[1] - STEADY[0]) * (len(told) - 1) / (last - first),
        "seconds": told[-1].ended_at - run.began_at,
        "server_cpu_ms_a_trial": 1000 * (server.cpu_seconds() - before[0]) / trials,
        "workers_cpu_ms_a_trial": 1000 * run.cpu_seconds / trials,
        "statements_a_trial": (server.counter("Questions") - before[1]) / trials,
        "contended_a_trial": run.contended / trials,
        "most_connections": server.counter("Max_used_connections"),
        "ms": _verbs(run.samples),
    }
    return row, run


def _verbs(samples: Sequence[Sample]) -> dict[str, list[float]]:
    """By verb: median and 95th percentile in milliseconds, and how many calls."""
    found = {}
    for verb in VERBS:
        seconds = [each.seconds for each in samples if each.verb == verb]
        if len(seconds) > 1:
            found[verb] = [
                1000 * median(seconds),
                1000 * quantiles(seconds, n=20)[18],
                len(seconds),
            ]
    return found


def panels(found: dict[str, list[Row]]) -> list[Panel]:
    """Rate and latency, by workers and by trials told."""
    crowd, (*steps, _) = found["workers"], found["trials"]
    trial_seconds = EPOCH_SECONDS * REPORTS
    rates = {
        "no waiting": [(row["workers"], row["workers"] / trial_seconds) for row in crowd],
        "measured": [(row["workers"], row["per_second"]) for row in crowd],
    }
    return [
        Panel(f"Trials of {trial_seconds:g} s a second", "workers", "1/s", rates),
        Panel("Median latency", "workers", "ms", _lines(crowd, "workers"), is_log=True),
        Panel(
            f"Trials a second, {found['trials'][-1]['workers']} workers",
            "trials told",
            "1/s",
            {"measured": [(row["told"], row["per_second"]) for row in steps]},
        ),
        Panel("Median latency", "trials told", "ms", _lines(steps, "told"), is_log=True),
    ]


def _lines(rows: Sequence[Row], key: str) -> dict[str, list[tuple[float, float]]]:
    return {
        verb: [(row[key], row["ms"][verb][0]) for row in rows if verb in row["ms"]]
        for verb in VERBS
    }


def _print(name: str, rows: Sequence[Row]) -> None:
    keys = list(dict.fromkeys(key for row in rows for key in row if key != "ms"))
    table = Table(*keys, title=name)
    for row in rows:
        table.add_row(*(_show(row.get(key)) for key in keys))
    Console(width=180).print(table)
    if "ms" not in rows[0]:
        return
    verbs = Table(keys[0], *VERBS, title=f"{name}: median and 95th percentile, ms")
    for row in rows:
        found = [row["ms"].get(verb) for verb in VERBS]
        cells = ["-" if each is None else f"{each[0]:.1f} {each[1]:.1f}" for each in found]
        verbs.add_row(_show(row.get(keys[0])), *cells)
    Console(width=180).print(verbs)


def _show(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value if value is not None else "-")


if __name__ == "__main__":
    main()
