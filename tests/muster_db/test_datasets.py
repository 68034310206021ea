from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine, update

from muster.errors import UserError
from muster_db import datasets
from muster_db.tables import chunks
from samples import make_dataset


def test_a_dataset_comes_back_whole_and_is_cached(engine: Engine, tmp_path: Path) -> None:
    dataset = make_dataset()
    fingerprint = datasets.store(engine, dataset)
    assert datasets.store(engine, dataset) == fingerprint
    cache = tmp_path / "cache"
    fetched = datasets.fetch(engine, fingerprint, cache=cache)
    assert np.array_equal(fetched.values, dataset.values)
    assert fetched.identifiers == dataset.identifiers
    assert [path.name for path in cache.iterdir()] == [f"{fingerprint}.npz"]
    (found,) = datasets.list_datasets(engine)
    assert (found.name, found.sequences, found.channels, found.classes) == ("sample", 6, 1, 2)
    assert datasets.find(engine, "sample") == datasets.find(engine, fingerprint)


def test_a_damaged_cache_file_is_fetched_again(engine: Engine, tmp_path: Path) -> None:
    fingerprint = datasets.store(engine, make_dataset())
    path = tmp_path / f"{fingerprint}.npz"
    for damage in (b"torn", b""):
        path.write_bytes(damage)
        assert len(datasets.fetch(engine, fingerprint, cache=tmp_path)) == 6
        assert len(path.read_bytes()) > len(damage)


def test_a_damaged_dataset_is_mended_by_storing_it_again(engine: Engine, tmp_path: Path) -> None:
    dataset = make_dataset()
    fingerprint = datasets.store(engine, dataset)
    with engine.begin() as connection:
        connection.execute(update(chunks).values(data=b"damage"))
    with pytest.raises(UserError, match="store it again"):
        datasets.fetch(engine, fingerprint, cache=tmp_path)
    moved = dataset.schema.model_copy(update={"description": {"format": "npz", "source": "b"}})
    datasets.store(engine, dataclasses.replace(dataset, schema=moved))
    assert len(datasets.fetch(engine, fingerprint, cache=tmp_path)) == 6


def test_an_unknown_dataset_is_named_with_the_known_ones(engine: Engine) -> None:
    datasets.store(engine, make_dataset())
    with pytest.raises(UserError, match=r"no dataset 'absent'; the datasets here: sample"):
        datasets.find(engine, "absent")
