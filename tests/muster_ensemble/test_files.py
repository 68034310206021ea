from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from muster.errors import UserError
from muster_ensemble.files import write_file, write_folder


def test_a_file_and_a_folder_appear_whole_and_replace_what_was_there(tmp_path: Path) -> None:
    write_file(tmp_path / "a" / "out.csv", b"one")
    write_file(tmp_path / "a" / "out.csv", b"two")
    assert (tmp_path / "a" / "out.csv").read_bytes() == b"two"
    write_folder(tmp_path / "folder", {"old.json": b"1", "deep/old.json": b"2"})
    write_folder(tmp_path / "folder", {"deep/new.json": b"3"})
    found = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    assert found == ["a/out.csv", "folder/deep/new.json"]


@pytest.mark.parametrize("fails_at", ["fsync", "replace"])
def test_a_full_disk_leaves_what_was_there_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: str
) -> None:
    write_file(tmp_path / "out.csv", b"one")
    write_folder(tmp_path / "folder", {"deep/a.json": b"1"})

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, fails_at, full)
    with pytest.raises(UserError, match=r"No space left on device.*free some space"):
        write_file(tmp_path / "out.csv", b"two")
    with pytest.raises(UserError, match="No space left on device"):
        write_folder(tmp_path / "folder", {"deep/a.json": b"2"})
    monkeypatch.undo()
    assert (tmp_path / "out.csv").read_bytes() == b"one"
    assert (tmp_path / "folder/deep/a.json").read_bytes() == b"1"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "out.csv"]


def test_the_older_folder_comes_back_when_the_last_rename_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "folder", {"a.json": b"1"})
    genuine = os.replace

    def only_the_first_time(source: Path, target: Path) -> None:
        if Path(source).name.startswith(".folder.new"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        genuine(source, target)

    monkeypatch.setattr(os, "replace", only_the_first_time)
    with pytest.raises(UserError, match=r"folder: cannot be written"):
        write_folder(tmp_path / "folder", {"a.json": b"2"})
    assert (tmp_path / "folder/a.json").read_bytes() == b"1"
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]
