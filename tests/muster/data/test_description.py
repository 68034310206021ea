from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from muster.data.description import load_description, parse_description
from muster.errors import UserError


@pytest.mark.parametrize("name", ["japanese_vowels", "heartbeat", "pirate_pain", "ecg_hybrid"])
def test_each_example_is_a_valid_dataset_file(name: str, example: Callable[[str], Path]) -> None:
    description = load_description(example(name))
    assert description.name == name
    assert (description.identifier_column, description.label_column) == ("sample_index", "label")


def test_all_problems_of_a_file_are_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "walks.toml"
    path.write_text(
        'name = "walks"\nformat = "long_csv"\nmising = "linear"\ndrop_correlated = 2\n'
        '[train]\nvalues = "a.csv"\nlabel = "b.csv"\n[columns]\ntimes = "t"\n'
    )
    with pytest.raises(UserError) as caught:
        load_description(path)
    message = str(caught.value)
    assert str(path) in message
    for problem in ("mising: unknown key", "drop_correlated", "train.label", "columns.times"):
        assert problem in message
    assert "missing" in message and "labels" in message


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"name": "a"}, "format is missing"),
        ({"name": "a", "format": "npz"}, r"\[train\] is missing"),
        ({"name": "a", "format": "long_csv", "train": {"values": "v"}}, "identifier is missing"),
        ({"name": "a", "source": "aeon:X", "train": {"values": "v"}}, r"strike \[train\]"),
        ({"name": "a", "source": "aeon:X", "format": "npz"}, "strike format"),
        (
            {"name": "a", "format": "npz", "train": {"values": "v", "labels": "l"}},
            "only long_csv has a labels file",
        ),
        (
            {
                "name": "a",
                "format": "wide_csv",
                "train": {"values": "v"},
                "columns": {"time": "t"},
            },
            "time: this format has no such column",
        ),
        (
            {
                "name": "a",
                "format": "long_csv",
                "train": {"values": "v"},
                "columns": {"identifier": "i", "time": "i"},
            },
            "'i' is named twice",
        ),
        ({"name": "../a", "source": "aeon:X"}, "name"),
        ({"name": "a", "source": "aeon:X", "predictions": {"x": "y"}}, "predictions.x: unknown"),
    ],
)
def test_keys_that_do_not_fit_together_are_refused(
    content: dict[str, object], expected: str
) -> None:
    with pytest.raises(UserError, match=expected):
        parse_description(content, where="a.toml")


def test_a_missing_file_and_broken_toml_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read the dataset file"):
        load_description(tmp_path / "none.toml")
    (tmp_path / "broken.toml").write_text("name = \n")
    with pytest.raises(UserError, match=r"not a TOML file.*line 1"):
        load_description(tmp_path / "broken.toml")


def test_classes_may_be_written_as_numbers() -> None:
    description = parse_description(
        {"name": "a", "source": "aeon:X", "classes": [2, 1]}, where="a.toml"
    )
    assert description.classes == ("2", "1")
