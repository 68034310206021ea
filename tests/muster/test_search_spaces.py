"""Every search space that muster ships trains on data of its dataset's shape."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch

from learning import evaluate, make_dataset
from muster.config import TrialConfig
from muster.data.dataset import Dataset
from muster.space import Space, load_space

FOLDER = Path(__file__).parents[2] / "search_spaces"
# Steps, channels and classes of what each space was written for.
SHAPES = {
    "quickstart": (29, 12, 9),
    "pirate_pain": (160, 35, 3),
    "heartbeat": (187, 1, 5),
    "ecg_hybrid": (187, 1, 5),
}
SPACES = {path.stem: load_space(path) for path in sorted(FOLDER.glob("*.toml"))}
CASES = [
    pytest.param(name, architecture, id=f"{name}-{architecture}")
    for name, space in SPACES.items()
    for architecture in space.tables["architecture"].choose
]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_shaped(steps: int, channels: int, classes: int) -> Dataset:
    """Three sequences a class, more of the first, of exactly so many steps."""
    labels = np.concatenate([np.zeros(4), np.repeat(np.arange(classes), 3)]).astype(np.int64)
    dataset = make_dataset(
        len(labels), tests=0, shortest=steps, longest=steps, channels=channels, labels=labels
    )
    names = {"classes": tuple(f"class {code}" for code in range(classes))}
    return replace(dataset, schema=dataset.schema.model_copy(update=names))


def draw(space: Space, architecture: str, *, seed: int) -> TrialConfig:
    """A configuration of this architecture, drawn at random."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    study.enqueue_trial({"architecture": architecture})
    return space.suggest(study.ask())


def test_every_space_has_a_shape_to_be_tried_on() -> None:
    assert set(SPACES) == set(SHAPES)


@pytest.mark.parametrize(("name", "architecture"), CASES)
def test_a_drawn_configuration_trains_and_predicts(name: str, architecture: str) -> None:
    space: Any = SPACES[name]
    config = draw(space, architecture, seed=1)
    assert config.architecture.name == architecture
    short = config.model_copy(update={"epochs": 1})
    dataset = make_shaped(*SHAPES[name])
    result = evaluate(dataset, short)
    assert np.isfinite(result.probabilities).all()
    assert result.probabilities.shape == (len(dataset), SHAPES[name][2])
    assert 0.0 <= result.value <= 1.0
