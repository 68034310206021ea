"""Disks that run full: the one of the SQLite file, and the one of the cache folder."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.faults.crew import Crew, Process, until
from benchmarks.faults.world import EPOCHS, Verdict, World, make_world
from sqlalchemy import text

BALLAST = "ballast"
MEND = "make room"
UNAVAILABLE = 3
MEBIBYTE = 1024 * 1024


class NoDisk(Exception):
    """This machine lets us mount no small disk."""


def full_database(folder: Path, *, trials: int = 6, epochs: int = EPOCHS) -> Verdict:
    """The disk of the SQLite file fills up in mid-search; then there is room again."""
    with small_disk(folder / "disk", mebibytes=16) as disk:
        world = make_world(folder, f"sqlite:///{disk / 'muster.db'}", trials=trials, epochs=epochs)
        with Crew(world) as crew:
            first = crew.start()
            until(lambda: world.reports() > 0, "the first report")
            fill(disk)
            until(lambda: MEND in crew.log(first), "the worker says that the disk is full")
            problems = _integrity(world)
            told = world.told()
            (disk / BALLAST).unlink()
            until(world.is_told, "all trials told")
            problems += crew.wait()
            problems += _refusal(crew, first)
        figures = {
            "told before": told,
            "told after": world.told(),
            "exit code": first.exitcode,
            "trials": trials,
        }
        problems += _integrity(world) + world.problems()
        world.engine.dispose()
        return Verdict(figures, problems)


def full_cache(folder: Path, *, trials: int = 2, epochs: int = EPOCHS) -> Verdict:
    """The disk of the cache folder is full when the dataset arrives; then there is room again."""
    with small_disk(folder / "disk", mebibytes=1) as disk:
        world = make_world(
            folder, f"sqlite:///{folder / 'muster.db'}", trials=trials, epochs=epochs
        )
        fill(disk)
        with Crew(world, cache_dir=disk) as crew:
            first = crew.start()
            until(lambda: first.exitcode is not None, "the worker has given up")
            problems = _refusal(crew, first)
            if first.exitcode != UNAVAILABLE:
                problems.append(f"exit code {first.exitcode} instead of {UNAVAILABLE}")
            if left := [path.name for path in disk.iterdir() if path.name != BALLAST]:
                problems.append(f"the full folder holds parts of files: {left}")
            (disk / BALLAST).unlink()
            second = crew.start()
            until(world.is_told, "all trials told")
            crew.wait()
        if second.exitcode != 0:
            problems.append(f"with room again, a worker exited with {second.exitcode}")
        figures = {
            "exit code when full": first.exitcode,
            "told after": world.told(),
            "trials": trials,
        }
        problems += world.problems()
        world.engine.dispose()
        return Verdict(figures, problems)


@contextmanager
def small_disk(folder: Path, *, mebibytes: int) -> Iterator[Path]:
    """A real, small file system; raises NoDisk where we may not mount one."""
    folder.mkdir(parents=True)
    mount = shutil.which("mount")
    size = f"size={mebibytes}m"
    if mount is None or _run(mount, "-t", "tmpfs", "-o", size, "tmpfs", str(folder)):
        raise NoDisk("mounting a small tmpfs needs root; run this scenario in a container")
    try:
        yield folder
    finally:
        _run("umount", "--lazy", str(folder))


def fill(disk: Path) -> None:
    """Take all the room that is left."""
    with contextlib.suppress(OSError), (disk / BALLAST).open("wb", buffering=0) as file:
        while file.write(b"\0" * 4096):
            pass


def _refusal(crew: Crew, process: Process) -> list[str]:
    """The one clear message that a full disk deserves."""
    said = crew.log(process)
    problems = []
    if said.count(MEND) != 1:
        problems.append(f"no single message that says what to do: {said[-500:]}")
    if "Traceback" in said:
        problems.append("a traceback was shown")
    return problems


def _integrity(world: World) -> list[str]:
    with world.engine.connect() as connection:
        found = connection.execute(text("PRAGMA integrity_check")).scalar_one()
    return [] if found == "ok" else [f"the file is damaged: {found}"]


def _run(*command: str) -> int:
    return subprocess.run(command, check=False, capture_output=True).returncode
