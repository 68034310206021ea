"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from muster.errors import UserError


def write_file(path: Path, data: bytes) -> None:
    """Put data at path: written beside it, flushed to the disk, then renamed over it."""
    with _disk_faults(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = _beside(path, "new")
        try:
            _fill(fresh, data)
            os.replace(fresh, path)
        finally:
            fresh.unlink(missing_ok=True)
        _sync_folder(path.parent)


@contextmanager
def appearing(path: Path) -> Iterator[TextIO]:
    """A text stream whose content stands at path when the block ends; nothing if it raises."""
    with _disk_faults(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = _beside(path, "new")
        try:
            with fresh.open("x", encoding="utf-8", newline="") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(fresh, path)
        finally:
            fresh.unlink(missing_ok=True)
        _sync_folder(path.parent)


def write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Put a folder of files (relative names, `/` between folders) at path, replacing an older one.

    The older folder is moved aside before the rename and back if that fails; the caller says
    whether it may be replaced at all.
    """
    with _disk_faults(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = _beside(path, "new")
        try:
            fresh.mkdir()
            for name, data in files.items():
                target = fresh / name
                target.parent.mkdir(parents=True, exist_ok=True)
                _fill(target, data)
            for folder in {(fresh / name).parent for name in files} | {fresh}:
                _sync_folder(folder)
            _swap(fresh, path)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        _sync_folder(path.parent)


def _swap(fresh: Path, path: Path) -> None:
    older = _beside(path, "old")
    if path.exists():
        os.replace(path, older)
    try:
        os.replace(fresh, path)
    except BaseException:
        if older.exists():
            os.replace(older, path)
        raise
    shutil.rmtree(older, ignore_errors=True)


def _beside(path: Path, age: str) -> Path:
    """A name in the same folder, so on the same disk, that nobody else has."""
    return path.with_name(f".{path.name}.{age}-{secrets.token_hex(6)}")


def _fill(path: Path, data: bytes) -> None:
    with path.open("xb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _disk_faults(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as fault:
        raise UserError(
            f"{path}: cannot be written ({fault.strerror or fault}); free some space or "
            f"name a place that you may write to"
        ) from fault
