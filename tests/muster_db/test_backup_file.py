from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine

from muster.errors import UserError
from muster_db import blobs
from muster_db.backup import back_up
from muster_db.backup_file import CARRIED, LATER, MANIFEST, open_backup
from muster_db.engine import connect
from muster_db.ensembles import current
from muster_db.restore import restore
from muster_db.study import open_study
from samples import make_study, take
from searches import tell


def contents(path: Path) -> object:
    """All that a restore would take out of a file."""
    with open_backup(path) as backup:
        held = {table.name: list(backup.batches(table)) for table in CARRIED}
        return held, [(sha, size, b"".join(parts)) for sha, size, parts in backup.blobs()]


def rewritten(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of a backup with another manifest."""
    copy = path.with_name("rewritten.zip")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(copy, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == MANIFEST:
                facts = json.loads(data)
                change(facts)
                data = json.dumps(facts).encode()
            new.writestr(name, data)
    return copy


def test_every_flipped_or_missing_byte_that_matters_is_found(lite: Engine, tmp_path: Path) -> None:
    study = make_study(lite)
    tell(lite, take(lite, study), 0.5, blobs={"oof": blobs.put(lite, bytes(range(256)) * 8)})
    whole = tmp_path / "whole.zip"
    back_up(lite, whole)
    data = whole.read_bytes()
    expected = contents(whole)
    damaged = tmp_path / "damaged.zip"
    rng = np.random.default_rng(0)
    found = 0
    for position in rng.integers(0, len(data), size=400):
        flipped = bytearray(data)
        flipped[position] ^= 1 << int(rng.integers(8))
        damaged.write_bytes(flipped)
        try:
            assert contents(damaged) == expected
        except UserError:
            found += 1
    assert found > 200
    for length in (0, 1, len(data) // 2, len(data) - 1):
        damaged.write_bytes(data[:length])
        with pytest.raises(UserError, match=r"damaged\.zip: not a whole backup"):
            contents(damaged)


def test_newer_formats_missing_files_and_other_zips_are_refused_without_a_database(
    lite: Engine, tmp_path: Path
) -> None:
    whole = tmp_path / "whole.zip"
    back_up(lite, whole)
    target = connect(f"sqlite:///{tmp_path / 'target.db'}")

    def newer_format(facts: dict[str, Any]) -> None:
        facts.update(format=2, muster_version="9.9")

    def newer_column(facts: dict[str, Any]) -> None:
        facts["tables"]["muster_studies"]["columns"].append("future")

    def lacking(facts: dict[str, Any]) -> None:
        facts["tables"]["muster_studies"]["columns"].remove("budget")

    with pytest.raises(UserError, match=r"muster 9\.9 wrote.*number 2.*install the newest"):
        restore(target, rewritten(whole, newer_format))
    with pytest.raises(UserError, match="newer than this muster"):
        restore(target, rewritten(whole, newer_column))
    with pytest.raises(UserError, match="muster_studies lacks budget"):
        restore(target, rewritten(whole, lacking))
    with pytest.raises(UserError, match="not a whole backup"):
        restore(target, rewritten(whole, dict.clear))
    with pytest.raises(UserError, match=r"missing\.zip: the backup cannot be read"):
        restore(target, tmp_path / "missing.zip")
    assert not (tmp_path / "target.db").exists()


def test_backup_of_before_a_table_was_there_is_restored_without_its_rows(
    lite: Engine, tmp_path: Path
) -> None:
    make_study(lite)
    whole = tmp_path / "whole.zip"
    back_up(lite, whole)
    target = connect(f"sqlite:///{tmp_path / 'target.db'}")

    def older(facts: dict[str, Any]) -> None:
        for name in LATER:
            del facts["tables"][name]

    restore(target, rewritten(whole, older))
    assert current(target, open_study(target, "study")) is None
    target.dispose()
