"""The real command line in processes of its own, and a small dataset and space for it."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from warm import run_warm

SECONDS = 120.0
RUN = ("run", "waves.toml", "--space", "space.toml", "--trials", "5", "--out", "out")
CHANNELS = ("x", "y")
DATA = """name = "waves"
format = "long_csv"
[train]
values = "train.csv"
labels = "labels.csv"
[test]
values = "test.csv"
labels = "test_labels.csv"
[columns]
identifier = "wave"
time = "t"
"""
SPACE = """[space]
learning_rate = { low = 1e-3, high = 1e-2, log = true }
dropout = { low = 0.0, high = 0.3 }
epochs = 3
batch_size = 16
[space.architecture]
choose = ["gru", "cnn"]
[space.architecture.gru]
hidden = { choices = [8, 16] }
[space.architecture.cnn]
channels = 8
"""


@dataclass(frozen=True)
class Finished:
    """A folder in which RUN has ended."""

    folder: Path
    ended: subprocess.CompletedProcess[str]

    @property
    def db(self) -> tuple[str, str]:
        """The option that names the run's database."""
        return "--db", f"sqlite:///{self.folder / 'out' / 'muster.db'}"


def environment(folder: Path, **changes: str) -> dict[str, str]:
    """This process's environment without its settings, with scratch folders and one thread."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MUSTER_")}
    return {
        **kept,
        "MUSTER_CACHE_DIR": str(folder / "cache"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
        "MUSTER_THREADS": "1",
        "MUSTER_PROBE_SECONDS": "0",
        **changes,
    }


def start(*arguments: str | Path, folder: Path, **changes: str) -> subprocess.Popen[str]:
    """Start muster in that folder; its output comes through pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", "muster_cli", *map(str, arguments)],
        cwd=folder,
        env=environment(folder, **changes),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@contextmanager
def started(
    *arguments: str | Path, folder: Path, **changes: str
) -> Iterator[subprocess.Popen[str]]:
    """A muster that runs within the block, and is killed where the block leaves it running."""
    process = start(*arguments, folder=folder, **changes)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def finish(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    """Wait for a started muster."""
    out, err = process.communicate(timeout=SECONDS)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def muster(
    *arguments: str | Path, folder: Path, **changes: str
) -> subprocess.CompletedProcess[str]:
    """Run muster in that folder to its end, in a process that has its imports behind it.

    What is watched, stopped or killed on its way is started, and has everything before it.
    """
    return run_warm(
        [str(each) for each in arguments],
        folder=folder,
        environment=environment(folder, **changes),
        seconds=SECONDS,
    )


def done(*arguments: str | Path, folder: Path, **changes: str) -> str:
    """Run muster, which must succeed; returns its stdout."""
    ended = muster(*arguments, folder=folder, **changes)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def messages(ended: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines of stderr with which muster says why it ended."""
    return [line for line in ended.stderr.splitlines() if line.startswith("muster: ")]


def wait_until(holds: Callable[[], bool], *, seconds: float = 60.0) -> None:
    """Poll a condition until it holds; AssertionError after the deadline."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.05)


def write_example(folder: Path, *, sequences: int = 24, space: str = SPACE) -> None:
    """Put waves.toml with its files and space.toml into the folder; two classes, easily told."""
    rng = np.random.default_rng(1)
    (folder / "waves.toml").write_text(DATA)
    (folder / "space.toml").write_text(space)
    for part, labels, count in (("train", "labels", sequences), ("test", "test_labels", 8)):
        rows: list[list[object]] = []
        for number in range(count):
            for step in range(5 + number % 3):
                x = (1.0 if number % 2 else -1.0) + rng.normal(0, 0.3)
                rows.append([f"{number:03}", step, f"{x:.4f}", f"{rng.normal():.4f}"])
        _write(folder / f"{part}.csv", ["wave", "t", *CHANNELS], rows)
        answers = [[f"{number:03}", "high" if number % 2 else "low"] for number in range(count)]
        _write(folder / f"{labels}.csv", ["wave", "label"], answers)


def files_in(folder: Path) -> set[str]:
    """Every file below the folder, by its relative name."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix() for path in found}


def _write(path: Path, header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
