from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from muster.data.assemble import sort_labels
from muster.data.dataset import Dataset
from muster.data.description import parse_description
from muster.data.readers import read_dataset
from muster.errors import UserError


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["10", "9", "-1"], ("-1", "9", "10")),
        (["2.5", "10", "2"], ("2", "2.5", "10")),
        (["b", "a", "10"], ("10", "a", "b")),
        (["01", "1", "0"], ("0", "01", "1")),
        (["nan", "1"], ("1", "nan")),
    ],
)
def test_numbers_are_ordered_numerically_and_text_alphabetically(
    labels: list[str], expected: tuple[str, ...]
) -> None:
    assert sort_labels(labels) == expected
    assert sort_labels([*reversed(labels), labels[0]]) == expected


def test_the_dataset_file_may_fix_the_order_of_the_classes(
    read_long: Callable[..., Dataset],
) -> None:
    dataset = read_long(classes=["slow", "fast", "unseen"])
    assert dataset.schema.classes == ("slow", "fast", "unseen")
    assert dataset.labels.tolist() == [1, 0, 1]
    with pytest.raises(UserError, match="labels slow are not among classes"):
        read_long(classes=["fast", "faster"])


def test_two_sequences_of_a_part_may_not_share_an_identifier(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", X=np.ones((3, 2)), y=[0, 1, 0], id=["a", "b", "a"])
    content = {
        "name": "twins",
        "format": "npz",
        "train": {"values": "data.npz"},
        "columns": {"label": "y", "identifier": "id"},
    }
    with pytest.raises(UserError, match="identifier a names two sequences"):
        read_dataset(parse_description(content, where="twins.toml"), base=tmp_path)
