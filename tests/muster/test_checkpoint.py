"""A checkpoint is read whole or refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from learning import make_config, make_dataset, make_samples, start
from muster.checkpoint import FitState, Progress, load_progress, restore_fit, save_checkpoint
from muster.data.folds import make_folds
from muster.errors import UserError
from muster.tensors import pack, unpack
from muster.training import Fit, new_fit

CONFIG = make_config("cnn", patience=2, schedule="plateau")
TRIAL = {"name": "this one"}


def make_checkpoint() -> bytes:
    evaluation = start(make_dataset(), CONFIG)
    next(evaluation.epochs())
    return evaluation.checkpoint()


def repacked(*, without: str | None = None, **changes: Any) -> bytes:
    """The checkpoint with other content, or without the tensors of that name."""
    tensors, content = unpack(make_checkpoint(), what="the checkpoint")
    kept = {k: v for k, v in tensors.items() if without is None or not k.startswith(without)}
    return pack(kept, {**content, **changes})


def resume(data: bytes, **changes: Any) -> None:
    next(start(make_dataset(), CONFIG, resume=data, **changes).epochs())


def make_fit(width: int = 1) -> Fit:
    model: Any = torch.nn.Linear(2, width)
    return new_fit(model, make_samples(make_dataset()), CONFIG)


def test_a_whole_checkpoint_is_taken() -> None:
    resume(make_checkpoint())


@pytest.mark.parametrize("kept", [0, 7, 8, 100, -1])
def test_a_torn_checkpoint_is_refused(kept: int) -> None:
    with pytest.raises(UserError, match="checkpoint is damaged"):
        resume(make_checkpoint()[:kept])


@pytest.mark.parametrize("data", [b"{}", b"PK\x03\x04" * 100, bytes(1000)])
def test_something_else_is_refused(data: bytes) -> None:
    with pytest.raises(UserError, match="checkpoint is damaged"):
        resume(data)


@pytest.mark.parametrize(
    "name", ["probabilities", "model.", "model.head", "optimizer.", "random.host"]
)
def test_a_checkpoint_that_lacks_a_tensor_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="checkpoint is damaged"):
        resume(repacked(without=name))


@pytest.mark.parametrize(
    "changes",
    [
        {"fold_scores": None},
        {"fold_scores": [0.5]},
        {"curves": None},
        {"fit": {}},
        {"fit": []},
        {"fit": {"epoch": 1, "best_loss": 1.0, "epochs_since_best": 0, "groups": []}},
    ],
)
def test_a_checkpoint_with_strange_content_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="checkpoint is damaged"):
        resume(repacked(**changes))


def test_another_format_is_refused() -> None:
    with pytest.raises(UserError, match="format 99"):
        resume(repacked(format=99))


def test_a_checkpoint_of_another_trial_is_refused() -> None:
    data = make_checkpoint()
    with pytest.raises(UserError, match="another configuration"):
        next(start(make_dataset(), make_config("gru"), resume=data).epochs())
    with pytest.raises(UserError, match="another configuration"):
        resume(data, metric="accuracy")
    with pytest.raises(UserError, match="another configuration"):
        resume(data, folds=make_folds(make_dataset(), folds=3, seed=0))
    with pytest.raises(UserError, match="another configuration"):
        next(start(make_dataset(30), CONFIG, resume=data).epochs())


def test_a_checkpoint_of_another_fold_is_refused() -> None:
    progress = Progress.empty(3, 2)
    data = save_checkpoint(progress, FitState.of(make_fit()), trial=TRIAL)
    with pytest.raises(UserError, match="belongs to fold 0, not 1"):
        restore_fit(data, make_fit(), fold=1)


def test_a_checkpoint_of_another_model_is_refused() -> None:
    data = save_checkpoint(Progress.empty(3, 2), FitState.of(make_fit(width=2)), trial=TRIAL)
    with pytest.raises(UserError, match="checkpoint is damaged"):
        restore_fit(data, make_fit(width=3), fold=0)


def test_a_checkpoint_between_folds_leaves_a_fresh_fit_alone() -> None:
    fit = make_fit()
    before = {name: tensor.clone() for name, tensor in fit.model.state_dict().items()}
    restore_fit(save_checkpoint(Progress.empty(3, 2), None, trial=TRIAL), fit, fold=0)
    assert fit.epoch == 0
    assert all(torch.equal(before[k], tensor) for k, tensor in fit.model.state_dict().items())


def test_progress_comes_back_to_the_bit() -> None:
    progress = Progress.empty(4, 2)
    predicted = np.array([[0.1, 0.9], [1 / 3, 2 / 3]], dtype=np.float32)
    progress.end_fold(np.array([2, 0]), predicted, 0.1 + 0.2, b"model \x00\xff")
    progress.curves.append({"fold": 0, "score": 1 / 3})
    again = load_progress(save_checkpoint(progress, None, trial=TRIAL), trial=TRIAL)
    np.testing.assert_array_equal(again.probabilities, progress.probabilities)
    np.testing.assert_array_equal(again.probabilities[[2, 0]], predicted)
    assert again.fold_scores == [0.1 + 0.2]
    assert again.fold_models == [b"model \x00\xff"]
    assert again.curves == progress.curves
    again.probabilities[1] = 0.5


def test_training_on_never_changes_a_checkpoint() -> None:
    evaluation = start(make_dataset(), CONFIG)
    epochs = evaluation.epochs()
    next(epochs)
    data = evaluation.checkpoint()
    copied = bytes(data)
    next(epochs)
    assert data == copied
    assert evaluation.checkpoint() != data
