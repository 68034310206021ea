"""Is there room where muster writes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from muster.findings import Finding, graded

GIBIBYTE = 2**30
LEAST_BYTES = 200 * 2**20
GOOD_BYTES = 2 * GIBIBYTE


def read_free(folder: Path) -> int | None:
    """Bytes that are free there, or where it would be made; None where it may not be written."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free if os.access(there, os.W_OK) else None


def judge_disk(what: str, folder: Path, free: int | None) -> Finding:
    """free: in bytes, None where the folder may not be written to."""
    if free is None:
        return Finding(
            "disk", "fail", f"{what}: {folder} may not be written to",
            "mend its rights, or name another folder with MUSTER_CACHE_DIR",
        )  # fmt: skip
    return graded(
        "disk",
        f"{what}: {free / GIBIBYTE:.1f} GiB free in {folder}",
        fail=free < LEAST_BYTES,
        warn=free < GOOD_BYTES,
        mend="make room, or name another folder with MUSTER_CACHE_DIR",
    )
