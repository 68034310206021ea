"""Fifty readers of the dashboard on a study of 5,000 trials: python -m benchmarks.readers."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.client import HTTPConnection
from pathlib import Path
from statistics import median, quantiles
from threading import Event, Thread
from typing import Any, Final
from urllib.parse import urlsplit

from benchmarks.coordination.fill import DISTRIBUTIONS, fill
from benchmarks.coordination.task import CHOICE, FLOATS, make_study
from benchmarks.servers import Server, free_port, own_server
from optuna.trial import TrialState
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine

from muster_db import claims, schema, trials
from muster_db.claims import Claim
from muster_db.engine import connect
from muster_db.records import Proposal
from muster_db.study import Study
from muster_db.workers import register

RESULTS: Final = Path(__file__).parent / "results" / "readers.json"
OPTIONS: Final = ("--innodb-buffer-pool-size=256M",)
STUDY: Final = "benchmark"
PAGES: Final = ("search", "workers", "ensemble", "dataset")
PROCESSES: Final = 2
# As the pages' own script asks again.
POLL_SECONDS: Final = 3.0
READY_SECONDS: Final = 60.0
TARGET_MILLISECONDS: Final = 500.0
TARGET_LOOK_SECONDS: Final = 2.0
SERVING: Final = (
    "import sys; from muster_dashboard.server import serve; "
    "serve(sys.argv[1], port=int(sys.argv[2]), announce=lambda link: print(link, flush=True))"
)


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
    looks_per_second: float
    statements_per_second: float


@dataclass(frozen=True)
class Reader:
    """Which figures a reader asks for, and how often; theirs: of optuna-dashboard."""

    path: str
    poll_seconds: float


def main() -> int:
    """Measure, print, write; 1 where a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes; writes nothing")
    options = parser.parse_args()
    size = Size(trials=300, readers=10, seconds=8.0) if options.quick else Size()
    with own_server(options=OPTIONS) as server:
        url = server.make_database("muster_readers")
        engine = connect(url)
        study = prepare(engine, size)
        with served(url) as link, told_meanwhile(engine, study):
            cold, parts = measure(server, link, size)
        engine.dispose()
    show(cold, parts)
    if not options.quick:
        content = {"cold_ms": cold, **asdict(size), "parts": [asdict(each) for each in parts]}
        RESULTS.write_text(json.dumps(content, indent=1) + "\n")
    paced = parts[0]
    is_kept = paced.p95 < TARGET_MILLISECONDS
    is_kept &= all(each.looks_per_second <= 1 / TARGET_LOOK_SECONDS for each in parts)
    return 0 if is_kept else 1


def prepare(engine: Engine, size: Size) -> Study:
    """The study, filled, with trials of its budget left."""
    schema.initialise(engine)
    study = make_study(engine, name=STUDY, budget=size.trials + 10_000)
    fill(engine, study, trials=size.trials, reports=size.reports)
    return study


def measure(server: Server, link: str, size: Size) -> tuple[float, list[Part]]:
    """The first request's time in ms, then part by part."""
    cookie = log_in(link)
    address = urlsplit(link).netloc
    cold = _timed(HTTPConnection(address, timeout=READY_SECONDS), "/muster/api/search", cookie)
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
                round(looks / passed, 3),
                round(statements / passed, 1),
            )
        )
    return round(cold, 1), parts


@contextmanager
def crowd_of(
    address: str, cookie: str, readers: Sequence[Reader], *, seconds: float
) -> Iterator[Callable[[], list[float]]]:
    """Processes beside the server that begin to look at once; yields what collects their waits.

    In ms. Of readers that are not ours nothing is counted.
    """
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    start = context.Barrier(PROCESSES + 1)
    crowd = [
        context.Process(
            target=_look,
            args=(address, cookie, list(readers[n::PROCESSES])),
            kwargs={"seconds": seconds, "start": start, "answers": answers},
        )
        for n in range(PROCESSES)
    ]
    for each in crowd:
        each.start()
    start.wait()
    yield lambda: [wait for _ in crowd for wait in answers.get()]
    for each in crowd:
        each.join()
        if each.exitcode:
            raise RuntimeError("a reader was not answered")


def _look(
    address: str, cookie: str, readers: list[Reader], *, seconds: float, start: Any, answers: Any
) -> None:
    start.wait()
    waits: list[float] = []
    until = time.monotonic() + seconds

    def read(reader: Reader, delay: float) -> None:
        time.sleep(delay)
        connection = HTTPConnection(address, timeout=READY_SECONDS)
        is_ours = reader.path.startswith("/muster/")
        if is_ours:
            waits.append(_timed(connection, reader.path.replace("/api", ""), cookie))
        while time.monotonic() < until:
            wait = _timed(connection, reader.path, cookie)
            if is_ours:
                waits.append(wait)
            time.sleep(reader.poll_seconds)

    chance = random.Random(0)
    delays = [chance.uniform(0, each.poll_seconds) for each in readers]
    try:
        with ThreadPoolExecutor(len(readers)) as pool:
            list(pool.map(read, readers, delays))
    finally:
        # What a reader raised ends this process; nobody waits for its answer.
        answers.put(waits)


def _timed(connection: HTTPConnection, path: str, cookie: str) -> float:
    """Milliseconds until the whole answer is there; raises RuntimeError for anything but 200."""
    started = time.perf_counter()
    connection.request("GET", path, headers={"Cookie": cookie})
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{path}: {answer.status} {content[:200]!r}")
    return (time.perf_counter() - started) * 1000


def _looks(address: str, cookie: str) -> float:
    connection = HTTPConnection(address, timeout=READY_SECONDS)
    connection.request("GET", "/metrics", headers={"Cookie": cookie})
    text = connection.getresponse().read().decode()
    return float(text.partition("\nmuster_database_looks_total ")[2].split()[0])


@contextmanager
def served(url: str) -> Iterator[str]:
    """The dashboard as `muster dashboard` serves it; its link."""
    command = [sys.executable, "-c", SERVING, url, str(free_port())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            if server.stdout is None:
                raise RuntimeError("the server says nothing")
            link = server.stdout.readline().strip()
            _wait_for(link.partition("?")[0] + "healthz")
            yield link
        finally:
            server.terminate()


def log_in(link: str) -> str:
    """The cookie that the link gives."""

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *arguments: object) -> None:
            return None

    try:
        urllib.request.build_opener(Stay).open(link, timeout=READY_SECONDS)
    except urllib.error.HTTPError as answer:
        return str(answer.headers["Set-Cookie"]).partition(";")[0]
    raise RuntimeError("the link does not lead on")


@contextmanager
def told_meanwhile(engine: Engine, study: Study) -> Iterator[None]:
    """A worker tells a trial each second."""
    worker = register(engine, study, host="host", device="cpu")
    stop = Event()
    chance = random.Random(1)

    def propose() -> Proposal:
        params = {name: chance.uniform(*bounds) for name, bounds in FLOATS.items()}
        return Proposal({**params, CHOICE[0]: chance.choice(CHOICE[1])}, DISTRIBUTIONS)

    def work() -> None:
        while not stop.wait(1.0):
            held = claims.claim(
                engine, study, worker_id=worker.worker_id, lease_seconds=60, propose=propose
            )
            if isinstance(held, Claim):
                facts: dict[str, object] = {"seconds": 1.0}
                trials.report(engine, held, [(step, 0.5) for step in range(10)])
                trials.tell(
                    engine,
                    held,
                    state=TrialState.COMPLETE,
                    value=chance.random(),
                    attributes=facts,
                    blobs={},
                )

    thread = Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def show(cold: float, parts: Sequence[Part]) -> None:
    """Print the figures."""
    table = Table(
        "part", "readers", "requests", "p50 ms", "p95 ms", "slowest ms", "looks/s", "statements/s",
        box=None,
    )  # fmt: skip
    for each in parts:
        table.add_row(*(str(value) for value in asdict(each).values()))
    console = Console()
    console.print(f"cold: {cold:.0f} ms")
    console.print(table)


def _wait_for(address: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
