from __future__ import annotations

import pytest

from muster.data.description import parse_description
from muster.errors import UserError
from muster.losses import LOSSES
from muster.options import option_problems
from muster.space import parse_space
from muster.spelling import known_names


def test_the_nearest_known_name_comes_first_and_a_far_one_not_at_all() -> None:
    assert known_names("drop_out", ["dropout", "window"]) == (
        "did you mean dropout? known are dropout, window"
    )
    assert known_names("zebra", ["dropout", "window"]) == "known are dropout, window"
    assert known_names("zebra", []) == "known are none"


def test_misspelt_keys_of_a_dataset_file_name_the_one_that_was_meant() -> None:
    content = {
        "name": "d",
        "format": "npz",
        "train": {"value": "x"},
        "column": {},
        "mising": "none",
    }
    with pytest.raises(UserError) as refused:
        parse_description(content, where="d.toml")
    for meant in ("train.value: unknown key; did you mean values?", "columns?", "missing?"):
        assert meant in str(refused.value)


def test_misspelt_keys_and_options_of_a_search_space_name_the_one_that_was_meant() -> None:
    space = {"learning_rates": 0.1, "architecture": {"choose": ["gur"]}}
    with pytest.raises(UserError) as refused:
        parse_space({"space": space}, place="s.toml")
    for meant in ("did you mean learning_rate?", "did you mean gru?"):
        assert meant in str(refused.value)
    space = {"architecture": {"choose": ["gru"], "gru": {"hiden": 8}}}
    with pytest.raises(UserError, match="hiden: unknown option; did you mean hidden"):
        parse_space({"space": space}, place="s.toml")
    assert option_problems(LOSSES["focal"], {"gama": 1.0}, not_options=frozenset())
