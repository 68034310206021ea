"""Bundles that earlier commits wrote, each with the predictions that it made of input.csv then.

format1 is of the commit before the vote had weights, format2 of the one before verifying.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from muster_ensemble.bundle import FORMAT, read_bundle
from muster_ensemble.predict import predict_file

DATA = Path(__file__).parents[1] / "data/bundles"


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as stream:
        return list(csv.reader(stream))


@pytest.mark.parametrize("number", range(1, FORMAT))
def test_a_bundle_of_an_older_format_predicts_the_same(number: int, tmp_path: Path) -> None:
    folder, out = DATA / f"format{number}", tmp_path / "predictions.csv"
    assert read_bundle(folder).figure is None
    assert predict_file(folder, DATA / "input.csv", out, proba=True) == 9
    expected, found = rows(DATA / f"expected{number}.csv"), rows(out)
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    shares = [np.array([row[2:] for row in each[1:]], dtype=float) for each in (expected, found)]
    np.testing.assert_allclose(shares[1], shares[0], atol=2e-6)
