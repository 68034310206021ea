"""One worker of either kind, which says what its trials waited for.

python -m benchmarks.coordination.worker KIND STUDY TRIALS EPOCH_SECONDS, with the URL in
MUSTER_DB_URL: prints "ready" once its libraries are imported, starts at the first line of its
input, and prints one line of JSON at the end. KIND: muster or plain. TRIALS: how many; muster's
take what the budget has left.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

from benchmarks.coordination.task import CHOICE, FLOATS, REPORTS, Clock, Pretence, value_of

from muster.settings import Settings
from muster_db.engine import connect


def main() -> None:
    """Run one worker as the arguments say."""
    kind, study, trials, epoch_seconds = sys.argv[1:]
    clock = Clock()
    run = {"muster": _muster, "plain": _plain}[kind](
        os.environ["MUSTER_DB_URL"], study, int(trials), float(epoch_seconds), clock
    )
    print("ready", flush=True)
    sys.stdin.readline()
    before_bytes = _resident_bytes()
    started = time.perf_counter()
    began_at = time.time()
    run()
    print(
        json.dumps(
            {
                "waits": clock.waits,
                "gaps": clock.gaps,
                "first_seconds": (clock.first_at or started) - started,
                "began_at": began_at,
                "ended_at": time.time(),
                "grown_bytes": _resident_bytes() - before_bytes,
                "whole_bytes": _resident_bytes(),
                "peak_bytes": _peak_bytes(),
                "cpu_seconds": time.process_time(),
            }
        ),
        flush=True,
    )


def _muster(
    url: str, study: str, trials: int, epoch_seconds: float, clock: Clock
) -> Callable[[], Any]:
    # Before the clock starts, on both sides alike.
    from benchmarks.coordination.pretending import pretend  # noqa: PLC0415

    from muster_worker import loop  # noqa: PLC0415
    from muster_worker.machine import find_machine  # noqa: PLC0415

    pretend(lambda claim: Pretence(claim.params, clock, epoch_seconds))
    # What trains nothing has no speed to try.
    settings = Settings(
        cache_dir=Path(tempfile.mkdtemp(prefix="muster-benchmark-")), probe_seconds=0
    )
    machine = find_machine(device="cpu", threads=1)
    stop = _After(trials, clock)
    return lambda: loop.work(
        connect(url), study_name=study, machine=machine, settings=settings, stop=stop
    )


class _After(Event):
    """Set once that many trials have ended; 0: never."""

    def __init__(self, trials: int, clock: Clock) -> None:
        super().__init__()
        self._trials = trials
        self._clock = clock

    def is_set(self) -> bool:
        return 0 < self._trials <= len(self._clock.waits) / REPORTS


def _plain(
    url: str, study: str, trials: int, epoch_seconds: float, clock: Clock
) -> Callable[[], Any]:
    import optuna  # noqa: PLC0415

    # As whatever trains a network does; muster's worker has it, too.
    import torch  # noqa: F401, PLC0415

    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def objective(trial: optuna.Trial) -> float:
        params: dict[str, Any] = {
            name: trial.suggest_float(name, low, high) for name, (low, high) in FLOATS.items()
        }
        params[CHOICE[0]] = trial.suggest_categorical(*CHOICE)
        value = value_of(params)
        clock.begin()
        for epoch in range(REPORTS):
            time.sleep(epoch_seconds)
            ended_at = time.perf_counter()
            trial.report(0.5, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
            clock.waits.append(time.perf_counter() - ended_at)
        clock.end()
        return value

    def run() -> None:
        loaded = optuna.load_study(
            study_name=study,
            storage=url,
            sampler=optuna.samplers.TPESampler(
                seed=os.getpid(), multivariate=True, group=True, constant_liar=True
            ),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=3),
        )
        loaded.optimize(objective, n_trials=trials)

    return partial(run)


def _resident_bytes() -> int:
    """The process's memory now (its peak where the system does not say)."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _peak_bytes() -> int:
    """The most it ever was."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss, which begins at what the starting process had.
        (line,) = (each for each in status.read_text().splitlines() if each.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
