"""A muster worker that notes its epochs, and asks itself to stop where it is told to.

PROBE_EPOCHS: a file that gets a line an epoch, with its seconds. PROBE_STOP_AT: one of PHASES.
PROBE_STOPPED: a file that gets the monotonic time of the SIGTERM. PROBE_LEASH: a file with the
number of epochs that the process may train; it waits there until the file says more, or is gone.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from muster.evaluation import EpochReport, Evaluation
from muster.inference import ShouldStop, never
from muster_cli.main import main
from muster_db import claims, trials

LONG_EPOCH = "within a long epoch"
PHASES = ("asking", "training", LONG_EPOCH, "between folds", "telling")
# Each pass through the model takes so long there, an epoch of ours more than 10 s.
BATCH_SECONDS = 2.0
LOOK_SECONDS = 0.02


class Stopper:
    """Sends this process one SIGTERM, the first time that the wanted phase is reached."""

    def __init__(self, phase: str | None, note: str | None) -> None:
        self._phase = phase
        self._note = note

    def slow(self, should_stop: ShouldStop) -> ShouldStop:
        """The same question, which is asked before each batch, of a machine that is slow."""
        if self._phase != LONG_EPOCH:
            return should_stop

        def asked() -> bool:
            time.sleep(BATCH_SECONDS)
            self.reached(LONG_EPOCH)
            return should_stop()

        return asked

    def reached(self, phase: str) -> None:
        """Called at each phase."""
        if phase == self._phase and self._note is not None:
            self._phase = None
            Path(self._note).write_text(str(time.monotonic()))
            os.kill(os.getpid(), signal.SIGTERM)


def install(epochs: str | None, leash: str | None, stopper: Stopper) -> None:
    """Put the probes around asking, training and telling."""
    ask, train, tell = claims.claim, Evaluation.epochs, trials.tell
    trained_here = count(1)

    def asked(*arguments: Any, **options: Any) -> Any:
        stopper.reached("asking")
        return ask(*arguments, **options)

    def told(*arguments: Any, **options: Any) -> None:
        stopper.reached("telling")
        tell(*arguments, **options)

    def trained(self: Evaluation, *, should_stop: ShouldStop = never) -> Iterator[EpochReport]:
        for report in train(self, should_stop=stopper.slow(should_stop)):
            _note(epochs, f"{report.seconds:.4f}\n")
            stopper.reached("between folds" if report.fold_ended else "training")
            yield report
            _wait(leash, next(trained_here))

    claims.claim = asked
    trials.tell = told
    # The only way into another's loop that also counts what a killed process has done.
    Evaluation.epochs = trained  # type: ignore[method-assign]


def seconds_of_epochs(path: Path) -> list[float]:
    """What the workers that share the file have noted."""
    return [float(line) for line in path.read_text().split()] if path.exists() else []


def let_train(leash: Path, epochs: int) -> None:
    """Let the workers on that leash train so many epochs in all, each."""
    new = leash.with_suffix(".new")
    new.write_text(str(epochs))
    new.replace(leash)


def _wait(leash: str | None, trained: int) -> None:
    while leash is not None and trained >= _read(leash):
        time.sleep(LOOK_SECONDS)


def _read(leash: str) -> float:
    try:
        return float(Path(leash).read_text())
    except FileNotFoundError:
        return math.inf


def _note(path: str | None, line: str) -> None:
    """One write of few bytes at the end of the file: whole, whoever else writes there."""
    if path is not None:
        with open(path, "ab", buffering=0) as file:
            file.write(line.encode())


if __name__ == "__main__":
    install(
        os.environ.get("PROBE_EPOCHS"),
        os.environ.get("PROBE_LEASH"),
        Stopper(os.environ.get("PROBE_STOP_AT"), os.environ.get("PROBE_STOPPED")),
    )
    main()
