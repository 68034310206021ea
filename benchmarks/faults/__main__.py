"""Faults made real: `python -m benchmarks.faults [NAME ...]` (make bench-faults).

Prints a table and writes benchmarks/results/faults.json; exits 1 where a promise is broken.
Scenarios that are not named keep their figures in the file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from benchmarks.faults.catalogue import SCENARIOS, run_scenario
from benchmarks.faults.crew import TooLate
from benchmarks.faults.disks import NoDisk
from benchmarks.faults.world import Verdict
from benchmarks.servers import Server
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parents[1] / "results" / "faults.json"


def main() -> int:
    """Run the scenarios, print the table, write the figures; 1 where a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SCENARIOS)}")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    # Ended from outside, it must not leave its workers and servers behind.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    if unknown := set(arguments.names) - set(SCENARIOS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(SCENARIOS)}")
    console = Console()
    rows = _read(arguments.out)
    ran = arguments.names or list(SCENARIOS)
    with tempfile.TemporaryDirectory(prefix="muster-faults-") as scratch:
        for name in ran:
            console.print(f"{name}: {SCENARIOS[name].fault} ...")
            rows[name] = _row(name, Path(scratch) / name)
            _write(arguments.out, rows)
    _print(console, [rows[name] for name in ran])
    return int(not all(rows[name]["holds"] for name in ran))


def _row(name: str, folder: Path) -> dict[str, Any]:
    begun = time.monotonic()
    with _server(folder) as server:
        try:
            verdict = run_scenario(name, folder / "world", server)
        except (TooLate, NoDisk) as error:
            verdict = Verdict({}, [str(error)])
    return {
        "name": name,
        "fault": SCENARIOS[name].fault,
        "holds": verdict.holds,
        "figures": verdict.figures,
        "problems": verdict.problems,
        "wall_seconds": round(time.monotonic() - begun, 1),
    }


@contextmanager
def _server(folder: Path) -> Iterator[Server]:
    """A server for one scenario, so that none meets what another left."""
    place = folder / "server"
    place.mkdir(parents=True)
    server = Server(place)
    server.install()
    try:
        yield server
    finally:
        server.stop()


def _read(path: Path) -> dict[str, Any]:
    """The rows of an earlier run by name."""
    if not path.exists():
        return {}
    return {row["name"]: row for row in json.loads(path.read_text())["rows"]}


def _write(path: Path, rows: dict[str, Any]) -> None:
    facts = {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "rows": [rows[name] for name in SCENARIOS if name in rows],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(facts, indent=2) + "\n")


def _print(console: Console, rows: list[dict[str, Any]]) -> None:
    table = Table("fault", "promise", "figures", "seconds")
    for row in rows:
        lines = [f"{key}: {value}" for key, value in row["figures"].items()] + row["problems"]
        table.add_row(
            row["fault"],
            "holds" if row["holds"] else "BROKEN",
            "\n".join(lines),
            str(row["wall_seconds"]),
        )
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
