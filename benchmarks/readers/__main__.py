"""Fifty readers of the dashboard on a study of 5,000 trials: python -m benchmarks.readers."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from http.client import HTTPConnection
from pathlib import Path
from statistics import median, quantiles
from typing import Final
from urllib.parse import urlsplit

from benchmarks.readers.crowd import READY_SECONDS, Reader, crowd_of, timed
from benchmarks.readers.stage import log_in, prepare, served, told_meanwhile
from benchmarks.servers import Server, own_server
from rich.console import Console
from rich.table import Table

from muster_db.engine import connect

RESULTS: Final = Path(__file__).parent.parent / "results" / "readers.json"
OPTIONS: Final = ("--innodb-buffer-pool-size=256M",)
PAGES: Final = ("search", "workers", "ensemble", "dataset")
# As the pages' own script asks again.
POLL_SECONDS: Final = 3.0
TARGET_MILLISECONDS: Final = 500.0
TARGET_LOOK_SECONDS: Final = 2.0


@dataclass(frozen=True)
class Size:
    """How much of everything; seconds: of each part."""

    trials: int = 5_000
    reports: int = 100
    readers: int = 50
    seconds: float = 60.0


@dataclass(frozen=True)
class Part:
    """What readers waited, in ms, and what the database was asked meanwhile."""

    name: str
    readers: int
    requests: int
    p50: float
    p95: float
    slowest: float
    seconds: float
    looks: int
    statements_per_second: float


def main() -> int:
    """Measure, print, write; 1 where a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes; writes nothing")
    options = parser.parse_args()
    size = Size(trials=300, readers=10, seconds=8.0) if options.quick else Size()
    with own_server(options=OPTIONS) as server:
        url = server.make_database("muster_readers")
        engine = connect(url)
        study = prepare(engine, filled=size.trials, reports=size.reports)
        with served(url) as link, told_meanwhile(engine, study):
            cold, parts = measure(server, link, size)
        engine.dispose()
    show(cold, parts)
    if not options.quick:
        content = {"cold_ms": cold, **asdict(size), "parts": [asdict(each) for each in parts]}
        RESULTS.write_text(json.dumps(content, indent=1) + "\n")
    paced = parts[0]
    is_kept = paced.p95 < TARGET_MILLISECONDS
    is_kept &= all(each.looks <= each.seconds / TARGET_LOOK_SECONDS + 1 for each in parts)
    return 0 if is_kept else 1


def measure(server: Server, link: str, size: Size) -> tuple[float, list[Part]]:
    """The first request's time in ms, then part by part."""
    cookie = log_in(link)
    address = urlsplit(link).netloc
    cold = timed(HTTPConnection(address, timeout=READY_SECONDS), "/muster/api/search", cookie)
    ours = [f"/muster/api/{PAGES[n % len(PAGES)]}" for n in range(size.readers)]
    paced = [Reader(path, POLL_SECONDS) for path in ours]
    # What optuna-dashboard asks for again: the trials from the first unfinished one on.
    theirs = [Reader(f"/api/studies/1?after={size.trials}", 10.0)] * 3
    at_once = [Reader(path, 0.0) for path in ours]
    parts = []
    for name, readers in {
        "paced": paced,
        "beside optuna-dashboard": [*paced, *theirs],
        "at once": at_once,
    }.items():
        with crowd_of(address, cookie, readers, seconds=size.seconds) as collect:
            looks, statements = _looks(address, cookie), server.counter("Questions")
            started = time.monotonic()
            waits = collect()
            passed = time.monotonic() - started
            looks, statements = (
                _looks(address, cookie) - looks,
                server.counter("Questions") - statements,
            )
        parts.append(
            Part(
                name,
                len(readers),
                len(waits),
                round(median(waits), 1),
                round(quantiles(waits, n=20)[-1], 1),
                round(max(waits), 1),
                round(passed, 1),
                looks,
                round(statements / passed, 1),
            )
        )
    return round(cold, 1), parts


def _looks(address: str, cookie: str) -> int:
    connection = HTTPConnection(address, timeout=READY_SECONDS)
    connection.request("GET", "/metrics", headers={"Cookie": cookie})
    text = connection.getresponse().read().decode()
    return int(text.partition("\nmuster_database_looks_total ")[2].split()[0])


def show(cold: float, parts: Sequence[Part]) -> None:
    """Print the figures."""
    table = Table(
        "part", "readers", "requests", "p50 ms", "p95 ms", "slowest", "seconds", "looks",
        "statements/s", box=None,
    )  # fmt: skip
    for each in parts:
        table.add_row(*(str(value) for value in asdict(each).values()))
    console = Console()
    console.print(f"cold: {cold:.0f} ms")
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
