from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from muster.data.dataset import Dataset
from muster_ensemble.bundle import Bundle, read_bundle
from muster_ensemble.results import leave_bundle


def test_the_bundles_predictions_lie_beside_it(
    tmp_path: Path, walks: Dataset, bundle: Bundle
) -> None:
    leave_bundle(tmp_path / "out", bundle, walks)
    assert read_bundle(tmp_path / "out" / "bundle") == bundle
    lines = (tmp_path / "out" / "predictions.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == [f"{i:03}" for i in range(9)]


def test_predictions_of_an_earlier_bundle_do_not_stay_beside_another(
    tmp_path: Path, walks: Dataset, bundle: Bundle
) -> None:
    stale = tmp_path / "predictions.csv"
    stale.write_text("of another study")
    leave_bundle(tmp_path, bundle, replace(walks, is_test=np.zeros(len(walks), dtype=bool)))
    assert not stale.exists()
