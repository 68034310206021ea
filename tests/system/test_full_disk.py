"""A small disk that is full: one message, nothing corrupt, and on it goes once there is room."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from commands import RUN, Finished, done, files_in, messages, muster, write_example

DiskMaker = Callable[[str], Path]
SECONDS = {"MUSTER_LEASE_SECONDS": "1", "MUSTER_HEARTBEAT_SECONDS": "0.2"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[DiskMaker]:
    """Mounts a disk of a size, at a folder of its own."""
    place = tmp_path / "disk"

    def mount(size: str) -> Path:
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
        if mounted.returncode != 0:
            pytest.skip(f"NO SMALL DISK HERE, full disks stay untested: {mounted.stderr.strip()}")
        return place

    yield mount
    if os.path.ismount(place):
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Take all room that is left."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(b"\0" * 4096) == 4096:
                pass
        except OSError:
            pass
    return filler


def grow(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)


def assert_sound(database: Path) -> None:
    connection = sqlite3.connect(database)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def test_full_disk_of_the_database_is_told_and_left_sound(
    small_disk: DiskMaker, tmp_path: Path
) -> None:
    disk = small_disk("2m")
    write_example(tmp_path)
    db = ("--db", f"sqlite:///{disk / 'muster.db'}")
    done("db", "init", *db, folder=tmp_path)
    filler = fill(disk)
    refused = muster("data", "add", "waves.toml", *db, folder=tmp_path)
    assert refused.returncode == 3
    assert "muster.db: the database's disk is full; make room" in refused.stderr
    assert refused.stderr.count("\n") == 1
    filler.unlink()
    assert_sound(disk / "muster.db")
    done("data", "add", "waves.toml", *db, folder=tmp_path)


def test_full_cache_folder_is_told_and_holds_nothing_half(
    small_disk: DiskMaker, finished: Finished
) -> None:
    disk = small_disk("64k")
    filler = fill(disk)
    show = ("data", "show", "waves", *finished.db)
    refused = muster(*show, folder=finished.folder, MUSTER_CACHE_DIR=str(disk))
    assert refused.returncode == 3
    for text in (str(disk), "No space left", "MUSTER_CACHE_DIR"):
        assert text in refused.stderr
    assert files_in(disk) == {"filler"}
    filler.unlink()
    done(*show, folder=finished.folder, MUSTER_CACHE_DIR=str(disk))


def test_full_folder_of_results_is_told_and_holds_nothing_half(
    small_disk: DiskMaker, finished: Finished
) -> None:
    disk = small_disk("8m")
    filler = fill(disk)
    vote = ("ensemble", "space", "--out", disk / "out", *finished.db)
    refused = muster(*vote, folder=finished.folder)
    assert refused.returncode in {2, 3}
    for text in (str(disk / "out"), "No space left"):
        assert text in refused.stderr
    assert "Traceback" not in refused.stderr
    assert files_in(disk) == {"filler"}
    filler.unlink()
    done(*vote, folder=finished.folder)


@pytest.mark.parametrize("size", ["640k", "2m"])
def test_run_that_fills_its_disk_ends_with_one_message_and_goes_on_later(
    small_disk: DiskMaker, tmp_path: Path, size: str
) -> None:
    disk = small_disk(size)
    write_example(tmp_path)
    run = [*RUN[:-1], str(disk / "out")]
    refused = muster(*run, folder=tmp_path, **SECONDS)
    assert refused.returncode in {2, 3}, refused.stderr
    assert len(messages(refused)) == 1
    assert "make room" in refused.stderr or "free some space" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not [name for name in files_in(disk) if ".new-" in name or ".old-" in name]
    grow(disk)
    done(*run, folder=tmp_path, **SECONDS)
    assert_sound(disk / "out" / "muster.db")
    assert json.loads((disk / "out" / "summary.json").read_text())["trials"] == 5
