from __future__ import annotations

from collections.abc import Callable

import pytest
from muster.data.assemble import sort_labels
from muster.data.dataset import Dataset
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


def test_identifiers_of_an_array_must_be_unique(read_long: Callable[..., Dataset]) -> None:
    dataset = read_long()
    assert len(set(dataset.identifiers)) == len(dataset)
