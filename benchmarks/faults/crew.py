"""Workers as processes of their own, and waiting for what they do."""

from __future__ import annotations

import os
import runpy
import sys
import time
from collections.abc import Callable, Mapping
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import TracebackType

from benchmarks.faults.world import NAME, World

PROBE = "benchmarks.faults.probe"
REPOSITORY = Path(__file__).parents[2]
# Short, so that a lease runs out while somebody watches.
LEASE_SECONDS = 4.0
HEARTBEAT_SECONDS = 0.5
CHECKPOINT_SECONDS = 1.0
LOOK_SECONDS = 0.05
DEADLINE_SECONDS = 120.0
# Forked off a process that has imported torch, which takes longer than most of what is shown.
FORKS = get_context("forkserver")
FORKS.set_forkserver_preload(["muster_worker.loop", "muster_cli.main"])
Process = ForkServerProcess


class TooLate(Exception):
    """What a scenario waits for did not come before its deadline."""


def until(holds: Callable[[], bool], what: str, *, seconds: float = DEADLINE_SECONDS) -> float:
    """Poll until it holds; returns the seconds it took, raises TooLate after the deadline."""
    begun = time.monotonic()
    while not holds():
        if time.monotonic() - begun > seconds:
            raise TooLate(f"not within {seconds:.0f} s: {what}")
        time.sleep(LOOK_SECONDS)
    return time.monotonic() - begun


class Crew:
    """The workers of a world, killed at the block's end where they still run.

    settings: MUSTER_* variables without the prefix, in lower case, for all of them.
    """

    def __init__(self, world: World, **settings: object) -> None:
        self.members: list[Process] = []
        self._world = world
        self._settings: dict[str, object] = {
            "cache_dir": world.folder / "cache",
            "lease_seconds": LEASE_SECONDS,
            "heartbeat_seconds": HEARTBEAT_SECONDS,
            "checkpoint_seconds": CHECKPOINT_SECONDS,
            "threads": 1,
            "device": "cpu",
            **settings,
        }

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for each in self.members:
            if each.exitcode is None:
                each.kill()
            each.join()

    def start(
        self, *, url: str | None = None, module: str = "muster_cli", **variables: object
    ) -> Process:
        """Start `python -m MODULE worker`; variables: of its environment."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("MUSTER_")}
        settings = {f"MUSTER_{key.upper()}": str(value) for key, value in self._settings.items()}
        environment = {
            **kept,
            "OMP_NUM_THREADS": "1",
            "MUSTER_DB_URL": url or self._world.url,
            **settings,
            **{key: str(value) for key, value in variables.items()},
        }
        log = self._log(len(self.members))
        log.touch()
        process = FORKS.Process(target=_work, args=(module, environment, log), daemon=True)
        process.start()
        self.members.append(process)
        return process

    def log(self, process: Process) -> str:
        """What a worker has said so far."""
        path = self._log(self.members.index(process))
        return path.read_text(encoding="utf-8", errors="replace")

    def alive(self) -> list[Process]:
        """The workers that run."""
        return [each for each in self.members if each.exitcode is None]

    def wait(self, *, seconds: float = DEADLINE_SECONDS) -> list[str]:
        """Wait until all have ended; a line for each that was not killed and did not exit 0."""
        until(lambda: not self.alive(), "every worker has ended", seconds=seconds)
        return [
            f"worker {number} exited with {each.exitcode}: {self.log(each)[-300:]}"
            for number, each in enumerate(self.members)
            if each.exitcode not in (0, -9)
        ]

    def _log(self, number: int) -> Path:
        return self._world.folder / f"worker-{number}.log"


def _work(module: str, environment: Mapping[str, str], log: Path) -> None:
    """Be the worker, as if started from a shell: own session, environment, arguments, output."""
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    with log.open("wb") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    sys.argv[1:] = ["worker", "--study", NAME]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
