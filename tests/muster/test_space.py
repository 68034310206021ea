from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FixedTrial

from muster.errors import UserError
from muster.space import load_space, parse_space

SPACES = sorted((Path(__file__).parents[2] / "search_spaces").glob("*.toml"))

SMALL = """
[space]
learning_rate = { low = 1e-4, high = 1e-2, log = true }
epochs = { low = 5, high = 9 }
dropout = 0.25
window = { choices = [8, 16] }
[space.loss]
choose = ["cross_entropy", "focal"]
[space.loss.focal]
gamma = { low = 0.5, high = 4.0 }
[space.architecture]
choose = ["gru", "lstm"]
[space.architecture.gru]
hidden = { choices = [50, 100] }
layers = { low = 1, high = 4 }
bidirectional = true
"""


def parse(text: str) -> Any:
    return parse_space(tomllib.loads(text), place="space.toml")


def problems(text: str) -> str:
    with pytest.raises(UserError) as raised:
        parse(text)
    return str(raised.value)


def test_parameters_are_named_by_their_dotted_path() -> None:
    params = {
        "architecture": "gru",
        "architecture.gru.hidden": 100,
        "architecture.gru.layers": 2,
        "loss": "focal",
        "loss.focal.gamma": 1.5,
        "learning_rate": 0.003,
        "epochs": 7,
        "window": 16,
    }
    config = parse(SMALL).suggest(FixedTrial(params))
    assert config.architecture.name == "gru"
    assert config.architecture.options == {"hidden": 100, "layers": 2, "bidirectional": True}
    assert config.loss.options == {"gamma": 1.5}
    assert (config.learning_rate, config.epochs, config.dropout, config.window) == (
        0.003,
        7,
        0.25,
        16,
    )


def test_fixed_values_are_no_parameters() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trial = study.ask()
    parse(SMALL).suggest(trial)
    assert "dropout" not in trial.params
    assert "architecture.gru.bidirectional" not in trial.params


def test_only_the_chosen_table_is_searched() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(20):
        trial = study.ask()
        config = parse(SMALL).suggest(trial)
        assert ("loss.focal.gamma" in trial.params) == (config.loss.name == "focal")


def test_the_longest_fold_is_known() -> None:
    assert parse(SMALL).max_epochs == 9
    assert parse(SMALL.replace("epochs = { low = 5, high = 9 }", "epochs = 3")).max_epochs == 3


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_each_shipped_space_searches_what_it_should(path: Path) -> None:
    space = load_space(path)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=2))
    names: set[str] = set()
    for _ in range(30):
        trial = study.ask()
        space.suggest(trial)
        names |= set(trial.params)
    assert {"learning_rate", "dropout", "window", "class_weight", "loss", "architecture"} <= names


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("dropout = 0.25", "drop_out = 0.25", "[space] drop_out: unknown key"),
        ("low = 1e-4, high = 1e-2", "low = 1e-2, high = 1e-4", "low=0.01 exceeds high=0.0001"),
        ('"lstm"]', '"lsmt"]', "unknown architecture 'lsmt'"),
        ("gamma =", "gama =", "gama"),
        ("hidden =", "hiden =", "hiden"),
        ("dropout = 0.25", "dropout = 1.5", "less than 1"),
        ("dropout = 0.25", "dropout = { low = 0.0, high = 2.0 }", "[space.dropout] 2.0"),
        ("choices = [8, 16]", "choices = []", "choices is empty"),
        ("choices = [8, 16]", "choices = [8, 8]", "holds a value twice"),
        ("low = 1e-4, high", "low = 0, high", "low above 0"),
        ("log = true", "logg = true", "logg"),
        ("[space.loss.focal]", "[space.loss.hinge]", "[space.loss.hinge] stands in no choose"),
        ("dropout = 0.25", "seed = 3", "[space] seed: unknown key"),
        ("dropout = 0.25", 'optimizer = "sgd"', "[space.optimizer] 'sgd'"),
        ("dropout = 0.25", "optimizer = { low = 0, high = 1 }", "use choices"),
        ("low = 5, high = 9", "low = 5.0, high = 9.0", "[space.epochs] 5.0: not an integer"),
    ],
)
def test_a_bad_space_is_refused_with_the_place_and_the_mend(
    old: str, new: str, expected: str
) -> None:
    assert old in SMALL
    message = problems(SMALL.replace(old, new))
    assert message.startswith("space.toml: ")
    assert expected in message


def test_all_problems_are_reported_at_once() -> None:
    text = SMALL.replace("dropout = 0.25", "drop_out = 0.25").replace('"lstm"]', '"lsmt"]')
    assert "2 problem(s)" in problems(text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such search space file"):
        load_space(tmp_path / "nowhere.toml")


def test_text_that_is_no_toml_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.write_text("[space\n")
    with pytest.raises(UserError, match=r"not valid TOML.*line 1"):
        load_space(path)


def test_a_space_without_architecture_is_refused() -> None:
    assert "[space.architecture] is missing" in problems("[space]\ndropout = 0.1\n")
