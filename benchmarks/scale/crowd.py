"""Workers as threads of a few processes: all of a worker is real but its training, which sleeps.

Each has an engine, a courier and a mirror of its own, as a worker process has; what they share is
the interpreter, so that a verb's time includes waiting for it.
"""

from __future__ import annotations

import json
import multiprocessing
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Event
from typing import Any, Final

import torch
from benchmarks.coordination.pretending import pretend
from benchmarks.coordination.task import Clock, Pretence
from benchmarks.scale.stopwatch import Sample, Stopwatch
from sqlalchemy import Engine, event

from muster.settings import Settings
from muster_db.engine import connect
from muster_db.faults import CONTENTION, code_of
from muster_worker.loop import work
from muster_worker.machine import Machine

PROCESSES: Final = 8
MACHINE: Final = Machine("here", 1, torch.device("cpu"), 1, "pretends")


@dataclass(frozen=True)
class Run:
    """What a crowd did. began_at: seconds of time.time; cpu_seconds: of all workers together.

    contended: deadlocks and lock waits given up, each of which was tried again.
    """

    began_at: float
    samples: list[Sample]
    cpu_seconds: float
    contended: int
    complete: int

    def of(self, verb: str) -> list[Sample]:
        """The calls of one verb by when they ended."""
        return sorted(
            (each for each in self.samples if each.verb == verb), key=lambda each: each.ended_at
        )


def run_crowd(url: str, study: str, *, workers: int, epoch_seconds: float) -> Run:
    """Serve a study with so many workers until its budget is spent."""
    shares = [workers // PROCESSES + (each < workers % PROCESSES) for each in range(PROCESSES)]
    # Forked: PyTorch is imported, and lies in memory, once.
    context = multiprocessing.get_context("fork")
    began_at = time.time()
    ends: list[Connection] = []
    processes = []
    for share in shares:
        if share == 0:
            continue
        near, far = context.Pipe(duplex=False)
        process = context.Process(target=_serve, args=(far, url, study, share, epoch_seconds))
        process.start()
        far.close()
        ends.append(near)
        processes.append(process)
    found = [json.loads(end.recv_bytes()) for end in ends]
    for process in processes:
        process.join()
    return Run(
        began_at=began_at,
        samples=[Sample(*sample) for each in found for sample in each["samples"]],
        cpu_seconds=sum(each["cpu_seconds"] for each in found),
        contended=sum(each["contended"] for each in found),
        complete=sum(each["complete"] for each in found),
    )


def _serve(end: Connection, url: str, study: str, share: int, epoch_seconds: float) -> None:
    refused: Counter[int | None] = Counter()
    event.listen(
        Engine,
        "handle_error",
        lambda context: refused.update([code_of(context.sqlalchemy_exception)]),
    )
    pretend(lambda claim: Pretence(claim.params, Clock(), epoch_seconds))
    stopwatch = Stopwatch()
    settings = Settings(
        cache_dir=Path(tempfile.mkdtemp(prefix="muster-benchmark-")), probe_seconds=0
    )
    before_seconds = time.process_time()

    def serve(_: int) -> Counter[Any]:
        engine = connect(url)
        ended = work(engine, study_name=study, machine=MACHINE, settings=settings, stop=Event())
        engine.dispose()
        return Counter(ended.counts)

    with ThreadPoolExecutor(share) as pool:
        counts = sum(pool.map(serve, range(share)), Counter())
    said = {
        "samples": stopwatch.samples,
        "cpu_seconds": time.process_time() - before_seconds,
        "contended": sum(refused[code] for code in CONTENTION),
        "complete": counts["complete"],
    }
    end.send_bytes(json.dumps(said).encode())
