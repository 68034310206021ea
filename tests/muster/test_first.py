from __future__ import annotations

import tomllib
from typing import Any

import pytest

from muster.errors import UserError
from muster.space import parse_space

SPACE = """
[space]
learning_rate = { low = 1e-4, high = 1e-2, log = true }
epochs = { low = 5, high = 9, step = 2 }
dropout = 0.25
window = { choices = [8, 16] }
[space.loss]
choose = ["cross_entropy", "focal"]
[space.loss.focal]
gamma = { low = 0.5, high = 4.0, step = 0.1 }
[space.architecture]
choose = ["gru", "lstm"]
[space.architecture.gru]
hidden = { choices = [50, 100] }
layers = { low = 1, high = 4 }
bidirectional = true
"""


def first(text: str) -> tuple[dict[str, Any], ...]:
    return parse_space(tomllib.loads(SPACE + text), place="space.toml").try_first


def test_entries_have_the_files_own_shape_and_become_parameters() -> None:
    found = first("""
[[try_first]]
learning_rate = 0.003
epochs = 7
dropout = 0.25
loss = "focal"
[try_first.architecture]
choose = "gru"
[try_first.architecture.gru]
hidden = 100
bidirectional = true
[[try_first]]
window = 8
loss.focal.gamma = 0.8
architecture = "lstm"
""")
    assert found == (
        {
            "learning_rate": 0.003,
            "epochs": 7,
            "loss": "focal",
            "architecture": "gru",
            "architecture.gru.hidden": 100,
        },
        {"window": 8, "loss": "focal", "loss.focal.gamma": 0.8, "architecture": "lstm"},
    )


def test_a_whole_number_becomes_a_float_where_the_range_is_one() -> None:
    (found,) = first("[[try_first]]\nloss.focal.gamma = 1\n")
    assert repr(found["loss.focal.gamma"]) == "1.0"


def test_a_space_without_entries_has_none() -> None:
    assert first("") == ()


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("learning_rat = 1e-3", "[[try_first]] 1 learning_rat: is not in [space]"),
        ("learning_rate = 0.5", "learning_rate = 0.5: must be a number from 0.0001 to 0.01"),
        ('learning_rate = "fast"', "learning_rate = 'fast': must be a number"),
        ("epochs = 6", "epochs = 6: must be an integer from 5 to 9 in steps of 2"),
        ("epochs = 7.0", "epochs = 7.0: must be an integer"),
        ("epochs = true", "epochs = True: must be an integer"),
        ("window = 9", "window = 9: must be one of 8, 16"),
        ("window = { low = 8, high = 16 }", "window: is not in [space] with such a value"),
        ("dropout = 0.5", "dropout = 0.5: [space] fixes it at 0.25"),
        ("loss.focal.gamma = 0.55", "loss.focal.gamma = 0.55: must be a number from 0.5 to 4.0"),
        ("loss.focal.alpha = 0.5", "loss.focal.alpha: is not in [space]"),
        ('architecture = "cnn"', 'architecture: choose = "..." names one of gru, lstm'),
        ("architecture = 3", 'architecture: choose = "..." names one of gru, lstm'),
        (
            'architecture = { choose = "lstm", gru = { hidden = 50 } }',
            "architecture.gru: lstm is chosen, so drop this",
        ),
    ],
)
def test_what_the_space_does_not_allow_is_refused(entry: str, expected: str) -> None:
    with pytest.raises(UserError) as refused:
        first(f"[[try_first]]\n{entry}\n")
    assert expected in str(refused.value)


def test_all_problems_of_all_entries_are_reported_at_once() -> None:
    with pytest.raises(UserError) as refused:
        first("[[try_first]]\nwindow = 9\nepochs = 6\n[[try_first]]\nwindow = 8\n" * 2)
    message = str(refused.value)
    assert "5 problem(s)" in message
    assert "[[try_first]] 3 epochs = 6" in message
    assert "[[try_first]] 4 is the same as 2; drop one" in message


def test_another_shape_than_tables_is_refused() -> None:
    with pytest.raises(UserError, match="as a table of its own"):
        parse_space(tomllib.loads("try_first = [1]\n" + SPACE), place="space.toml")
