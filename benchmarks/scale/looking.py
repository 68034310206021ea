"""What those wait for who look at a study of many trials: muster and plain Optuna in turns."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import optuna
from benchmarks.coordination.__main__ import KINDS, Bench
from benchmarks.servers import Server
from optuna.storages import RDBStorage
from optuna_dashboard import wsgi
from sqlalchemy import Engine

from muster_dashboard.board import Board
from muster_dashboard.shown import ShownStorage
from muster_db import overview, trials
from muster_db.engine import connect
from muster_db.mirror import Mirror
from muster_db.progress import progress
from muster_db.study import list_studies, open_study

STUDY: Final = "benchmark"
ROUNDS: Final = 3
# optuna-dashboard reads a study of 500 trials and more anew once its copy is that old.
STALE_SECONDS: Final = 10.2


@dataclass(frozen=True)
class Look:
    """One row; plain: None where plain Optuna has no such thing."""

    name: str
    unit: str
    plain: float | None
    muster: float


def looks(server: Server, *, filled: int) -> Iterator[Look]:
    """Seconds of each look at a study of so many finished trials.

    The median of ROUNDS, but for the dashboard, which remembers what it has shown.
    """
    url = server.url(Bench(server).database(budget=1, filled=filled))
    engine = connect(url)
    yield Look("status", "s", _timed(lambda: _plain_status(url)), _timed(lambda: _status(engine)))
    yield Look("study list", "s", None, _timed(lambda: _list(engine)))
    yield Look("study show", "s", None, _timed(lambda: open_study(engine, STUDY)))
    yield Look(
        "a worker's copy of the study",
        "s",
        _timed(lambda: optuna.load_study(study_name=STUDY, storage=url).trials),
        _timed(lambda: Mirror(engine, open_study(engine, STUDY)).refresh()),
    )
    yield from _pages(url, engine)
    engine.dispose()


def memory(server: Server, *, filled: int) -> Iterator[Look]:
    """A worker's process beside so many finished trials, PyTorch imported on both sides."""
    bench = Bench(server)
    found: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        database = bench.database(budget=2, filled=filled)
        (found[kind],) = bench.run(kind, database, trials=2)
    for name, key in (
        ("memory that the study adds to a worker", "grown_bytes"),
        ("a whole worker's memory", "whole_bytes"),
        ("a whole worker's memory at its peak", "peak_bytes"),
    ):
        yield Look(name, "MiB", *(found[kind][key] / 2**20 for kind in KINDS))


def _pages(url: str, engine: Engine) -> Iterator[Look]:
    """optuna-dashboard's own requests, through its own storage and through muster's."""
    storage = RDBStorage(url, skip_compatibility_check=True, skip_table_creation=True)
    study_id = storage.get_study_id_from_name(STUDY)
    newest = len(storage.get_all_trials(study_id, deepcopy=False)) - 1
    apps = (wsgi(storage), wsgi(ShownStorage(Board(engine))))
    page = f"/api/studies/{study_id}"
    yield Look("dashboard: the studies", "s", *(_once(app, "/api/studies") for app in apps))
    yield Look("dashboard: a study's page", "s", *(_once(app, page) for app in apps))
    time.sleep(STALE_SECONDS)
    refreshed = (_once(app, page, after=newest) for app in apps)
    yield Look("dashboard: a refresh of it", "s", *refreshed)


def _once(app: Any, path: str, *, after: int = 0) -> float:
    started = time.perf_counter()
    _ask(app, path, query=f"after={after}")
    return time.perf_counter() - started


def _ask(app: Any, path: str, *, query: str = "") -> bytes:
    """What a WSGI application answers; raises RuntimeError for anything but 200."""
    said: list[str] = []
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
    }
    content = b"".join(app(environ, lambda status, headers, exc_info=None: said.append(status)))
    if not said[0].startswith("200"):
        raise RuntimeError(f"{path}: {said[0]}")
    return content


def _plain_status(url: str) -> tuple[int, float]:
    study = optuna.load_study(study_name=STUDY, storage=url)
    return len(study.get_trials(deepcopy=False)), study.best_value


def _status(engine: Engine) -> list[overview.Overview]:
    trials.reap(engine)
    return [overview.look(engine, study) for study in list_studies(engine)]


def _list(engine: Engine) -> list[object]:
    return [progress(engine, study) for study in list_studies(engine)]


def _timed(look: Callable[[], object]) -> float:
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        look()
        seconds.append(time.perf_counter() - started)
    return sorted(seconds)[ROUNDS // 2]
