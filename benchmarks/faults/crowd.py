"""Many workers that start in the same second, before there is a schema."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

from benchmarks.faults.crew import REPOSITORY, until
from benchmarks.faults.world import NAME, Verdict, World, make_contract, make_dataset
from benchmarks.servers import Server

from muster.errors import UserError
from muster.settings import load_settings
from muster_db import datasets, schema
from muster_db.engine import connect
from muster_db.study import create_study, open_study
from muster_db.workers import list_workers

# An epoch of one batch a fold: what is shown is the start, not the training.
EPOCHS = 1
LONG_SECONDS = 600.0


def many_starts(folder: Path, server: Server, *, workers: int = 64, trials: int = 96) -> Verdict:
    """Workers on an empty database: each makes the schema, the dataset and the study if need be.

    They are forked from one process that has imported torch, so that they do start together.
    """
    folder.mkdir(parents=True, exist_ok=True)
    url = server.make_database("muster_many_starts")
    log = folder / "crowd.log"
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("MUSTER_")},
        "OMP_NUM_THREADS": "1",
        "MUSTER_DB_URL": url,
        "MUSTER_CACHE_DIR": str(folder / "cache"),
        "MUSTER_THREADS": "1",
    }
    command = [sys.executable, "-m", "benchmarks.faults.crowd", str(workers), str(trials)]
    begun = time.monotonic()
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=file,
            start_new_session=True,
        )
        try:
            until(lambda: process.poll() is not None, "every worker ended", seconds=LONG_SECONDS)
        finally:
            # The forked workers as well, where not all of them have ended.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            out = process.communicate()[0].decode()
    failed = int(out)
    engine = connect(url)
    world = World(folder, url, engine, open_study(engine, NAME))
    schema.check(engine)
    problems = world.problems()
    if failed:
        problems.append(f"{failed} workers failed: {_last_lines(log)}")
    joined = len(list_workers(engine, world.study))
    figures = {
        "workers": workers,
        "joined": joined,
        "failed": failed,
        "deadlocks that reached one": log.read_text().count("eadlock"),
        "trials": trials,
        "seconds": round(time.monotonic() - begun, 1),
    }
    return Verdict(figures, problems)


def attend(trials: int) -> None:
    """What one of the crowd does: set up whatever is missing, then work like any worker."""
    from muster_worker.loop import work  # noqa: PLC0415
    from muster_worker.machine import find_machine  # noqa: PLC0415
    from muster_worker.signals import stop_on_signals  # noqa: PLC0415

    settings = load_settings()
    engine = connect(settings.db_url)
    schema.initialise(engine)
    datasets.store(engine, make_dataset())
    try:
        create_study(engine, name=NAME, contract=make_contract(EPOCHS), budget=trials)
    except UserError as error:
        logging.debug("another one was first: %s", error)
    machine = find_machine(device="cpu", threads=1)
    with stop_on_signals() as stop:
        work(engine, study_name=NAME, machine=machine, settings=settings, stop=stop)


def crowd(workers: int, trials: int) -> None:
    """Fork the workers, let them go at once, wait for them, print how many failed."""
    import muster_worker.loop  # noqa: F401, PLC0415 - before the forks, so that they are light

    make_contract(EPOCHS)
    gate, opener = os.pipe()
    children = []
    for _ in range(workers):
        if (child := os.fork()) == 0:
            os.close(opener)
            # Nothing is ever written: the read ends when the parent closes the other end.
            os.read(gate, 1)
            os._exit(_attend(trials))
        children.append(child)
    os.close(opener)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    print(sum(code != 0 for code in codes))


def _attend(trials: int) -> int:
    logging.basicConfig(level=logging.WARNING, format="%(process)d %(message)s")
    try:
        attend(trials)
    except Exception:
        # A forked child must not run on into its parent's code.
        traceback.print_exc()
        return 1
    return 0


def _last_lines(log: Path) -> str:
    return " | ".join(log.read_text(errors="replace").strip().splitlines()[-3:])


if __name__ == "__main__":
    crowd(int(sys.argv[1]), int(sys.argv[2]))
