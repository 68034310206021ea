"""Worker processes on this machine, watched until their study is told."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Event

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from sqlalchemy import Engine

from muster.errors import DiskFull, MusterError, Unavailable, UserError
from muster.settings import Settings
from muster_cli.console import progress as console
from muster_cli.going_on import this_command
from muster_cli.options import database_url
from muster_db import trials
from muster_db.study import Study
from muster_db.summary import StudySummary, summarise
from muster_worker.children import see_out, start_child

LOOK_SECONDS = 0.5
# With less room, a worker can no longer say why it ended.
LOG_BYTES = 64 * 1024

# Shows how far a study is; None: the database does not say.
Show = Callable[[StudySummary | None], None]


class Stopped(MusterError):
    """The user asked to stop; what was told stays, and running again goes on."""

    def __init__(self, message: str, *, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


def search(engine: Engine, study: Study, *, settings: Settings, workers: int, logs: Path) -> None:
    """Run workers until every trial of the study has ended.

    Raises UserError when all workers ended before that, Stopped after Ctrl-C or SIGTERM.
    """
    from muster_worker.signals import stop_on_signals  # noqa: PLC0415 - late, as in worker.py

    if summarise(engine, study).progress.is_finished:
        console.print(f"study {study.name}: all {study.budget} trials are done")
        return
    logs.mkdir(parents=True, exist_ok=True)
    threads = settings.threads or max(1, (os.cpu_count() or 1) // workers)
    with stop_on_signals() as stop:
        with _processes(study, settings, workers, threads, logs) as processes:
            _watch(engine, study, processes, stop)
            if not stop.is_set() and not summarise(engine, study).progress.is_finished:
                raise _early_end(processes, logs)
        if stop.is_set():
            raise Stopped(
                f"stopped; {_kept(engine, study)}; to go on: {this_command()}",
                signal_number=stop.signal_number or signal.SIGINT,
            )


def _kept(engine: Engine, study: Study) -> str:
    """What an interrupted search leaves, once its workers have gone."""
    try:
        now = summarise(engine, study).progress
    except Unavailable:
        return "all trials that have ended are kept"
    begun = f", {now.waiting} given back" if now.waiting else ""
    return f"kept in study {study.name}: {now.told} of {now.budget} trials done{begun}"


@contextmanager
def _processes(
    study: Study, settings: Settings, workers: int, threads: int, logs: Path
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start the workers; at the end ask those that still run to stop, and see them out."""
    # One slot each: how many train at once was said with --workers.
    command = muster_command("worker", "--study", study.name, "--threads", str(threads))
    command += ["--slots", "1", "--voted-after"]
    url = database_url(settings)
    environment = {**os.environ, "MUSTER_ENSEMBLE_RULE": settings.ensemble_rule}
    processes = []
    for number in range(workers):
        with (logs / f"worker-{number}.log").open("wb") as log:
            processes.append(
                start_child(command, url=url, threads=threads, environment=environment, output=log)
            )
    try:
        yield processes
    finally:
        see_out(processes)


def muster_command(*words: str) -> list[str]:
    """The command line of another muster process on this machine."""
    return [sys.executable, "-m", "muster_cli", *words]


def _watch(
    engine: Engine, study: Study, processes: list[subprocess.Popen[bytes]], stop: Event
) -> None:
    """Show how far the study is until all is done or nobody works: a bar, or a line a change."""
    with _bar(study) if console.is_terminal else nullcontext(_lines(study)) as show:
        while not stop.wait(LOOK_SECONDS):
            try:
                trials.reap(engine)
                summary = summarise(engine, study)
            except DiskFull:
                raise
            except Unavailable:
                show(None)
                continue
            show(summary)
            if summary.progress.is_finished or all(each.poll() is not None for each in processes):
                return


@contextmanager
def _bar(study: Study) -> Iterator[Show]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} trials  {task.fields[news]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(study.name, total=study.budget, news="starting workers")

        def show(summary: StudySummary | None) -> None:
            if summary is None:
                bar.update(task, news="the database is away; the workers go on")
                return
            done = summary.progress
            bar.update(task, completed=done.told, total=done.budget, news=_news(study, summary))

        yield show


def _lines(study: Study) -> Show:
    """For a file or a pipe: a line whenever a trial has ended."""
    told = -1

    def show(summary: StudySummary | None) -> None:
        nonlocal told
        if summary is not None and summary.progress.told != told:
            told = summary.progress.told
            news = _news(study, summary)
            console.print(f"{study.name}: {told}/{summary.progress.budget} trials  {news}")

    return show


def _news(study: Study, summary: StudySummary) -> str:
    running = f"{summary.progress.running} running"
    if summary.best_value is None:
        return running
    best = f"best {study.contract.metric} {summary.best_value:.4f}"
    return f"{best} (trial {summary.best_number}), {running}"


def _early_end(processes: list[subprocess.Popen[bytes]], logs: Path) -> MusterError:
    """Why every worker ended, as far as their exit codes, their logs and the disk tell."""
    codes = [process.poll() for process in processes]
    message = "every worker ended before the study was told"
    if lines := _last_lines(logs):
        message += f"; the last lines of {logs}/:\n{lines}"
    if shutil.disk_usage(logs).free < LOG_BYTES:
        return Unavailable(
            f"{logs.parent}: the disk is full; make room, then run again. {message}"
        )
    kind = Unavailable if Unavailable.exit_code in codes else UserError
    return kind(message)


def _last_lines(logs: Path) -> str:
    found = []
    for path in sorted(logs.glob("worker-*.log")):
        lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        found += [f"  {path.name}: {line}" for line in lines[-3:]]
    return "\n".join(found)
