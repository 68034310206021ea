"""A checkpoint is read whole or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from learning import make_config, make_dataset, make_samples, start
from muster.checkpoint import Progress, load_checkpoint, save_checkpoint
from muster.data.folds import make_folds
from muster.errors import DamagedCheckpoint, Interrupted
from muster.fit_state import FitState
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
    """What is refused is refused at once, so that the one before can be tried."""
    start(make_dataset(), CONFIG, resume=data, **changes)


def make_fit(width: int = 1) -> Fit:
    model: Any = torch.nn.Linear(2, width)
    return new_fit(model, make_samples(make_dataset()), CONFIG)


def test_a_whole_checkpoint_is_taken() -> None:
    resume(make_checkpoint())


@pytest.mark.parametrize("kept", [0, 7, 8, 100, -1])
def test_a_torn_checkpoint_is_refused(kept: int) -> None:
    with pytest.raises(DamagedCheckpoint, match="checkpoint is damaged"):
        resume(make_checkpoint()[:kept])


@pytest.mark.parametrize("data", [b"{}", b"PK\x03\x04" * 100, bytes(1000)])
def test_something_else_is_refused(data: bytes) -> None:
    with pytest.raises(DamagedCheckpoint, match="checkpoint is damaged"):
        resume(data)


@pytest.mark.parametrize(
    "name", ["probabilities", "model.", "model.head", "optimizer.", "random.host"]
)
def test_a_checkpoint_that_lacks_a_tensor_is_refused(name: str) -> None:
    with pytest.raises(DamagedCheckpoint, match="checkpoint is damaged"):
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
    with pytest.raises(DamagedCheckpoint, match="checkpoint is damaged"):
        resume(repacked(**changes))


def test_another_format_is_refused() -> None:
    with pytest.raises(DamagedCheckpoint, match="format 99"):
        resume(repacked(format=99))


def test_a_checkpoint_of_another_trial_is_refused() -> None:
    data = make_checkpoint()
    with pytest.raises(DamagedCheckpoint, match="another configuration"):
        start(make_dataset(), make_config("gru"), resume=data)
    with pytest.raises(DamagedCheckpoint, match="another configuration"):
        resume(data, metric="accuracy")
    with pytest.raises(DamagedCheckpoint, match="another configuration"):
        resume(data, folds=make_folds(make_dataset(), folds=3, seed=0))
    with pytest.raises(DamagedCheckpoint, match="another configuration"):
        start(make_dataset(30), CONFIG, resume=data)


def test_a_checkpoint_of_another_model_is_refused() -> None:
    state = FitState.of(make_fit(width=2))
    with pytest.raises(DamagedCheckpoint, match="checkpoint is damaged"):
        state.restore(make_fit(width=3), CONFIG)


# Each breaks one thing of the tensors or the content of a checkpoint in the second fold.
FAULTS: dict[str, Callable[[dict[str, Any], dict[str, Any]], object]] = {
    "a random state cut short": lambda t, _: t.update({"random.host": t["random.host"][:9]}),
    "a random state of numbers": lambda t, _: t.update({"random.host": torch.rand(5056)}),
    "a weight that is no number": lambda t, _: t["model.head.linear.bias"].fill_(np.nan),
    "a moment of another size": lambda t, _: t.update({"optimizer.0.exp_avg": torch.rand(2, 2)}),
    "one moment missing": lambda t, _: t.pop("optimizer.0.exp_avg"),
    "a weight too many": lambda t, _: t.update({"optimizer.99.exp_avg": torch.rand(2)}),
    "a best weight missing": lambda t, _: t.pop("best.head.linear.bias"),
    "a learning rate missing": lambda _, c: c["fit"]["groups"][0].pop("lr"),
    "another schedule": lambda _, c: c["fit"].update(schedule={"T_max": 3}),
    "no schedule": lambda _, c: c["fit"].update(schedule=None),
    "no epoch yet": lambda _, c: c["fit"].update(epoch=0),
    "an epoch behind the last": lambda _, c: c["fit"].update(epoch=3),
    "an epoch that is no number": lambda _, c: c["fit"].update(epoch="1"),
    "predictions of a fold missing": lambda t, _: t["probabilities"].fill_(np.nan),
    "predictions of fewer": lambda t, _: t.update(probabilities=t["probabilities"][:-1]),
    "a fold score missing": lambda _, c: c["fold_scores"].clear(),
    "a fold too many": lambda _, c: c["fold_scores"].append(0.5),
    "curves of one fold only": lambda _, c: c["curves"].clear(),
    "a fold model torn": lambda t, _: t.update({"fold_model.0": t["fold_model.0"][:-9]}),
    "a fold model missing": lambda t, _: t.pop("fold_model.0"),
    "a micro-batch of nothing": lambda _, c: c.update(micro_batch=0),
}


@pytest.fixture(scope="module")
def second_fold() -> bytes:
    evaluation = start(make_dataset(), CONFIG)
    for report in evaluation.epochs():
        if report.fold == 1:
            return evaluation.checkpoint()
    raise AssertionError("there is no second fold")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_checkpoint_with_a_fault_is_refused_before_anything_is_trained(
    fault: str, second_fold: bytes
) -> None:
    resume(second_fold)
    tensors, content = unpack(second_fold, what="the checkpoint")
    FAULTS[fault](tensors, content)
    with pytest.raises(DamagedCheckpoint, match="checkpoint is damaged"):
        resume(pack(tensors, content))


def test_want_of_memory_is_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    within_first_fold = make_checkpoint()

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(torch.nn.Module, "load_state_dict", full)
    with pytest.raises(torch.OutOfMemoryError):
        resume(within_first_fold)


def test_a_fit_that_is_restored_leaves_its_state_as_it_was() -> None:
    dataset = make_dataset()
    evaluation = start(dataset, CONFIG)
    next(evaluation.epochs())
    data = evaluation.checkpoint()
    resumed = start(dataset, CONFIG, resume=data)
    with pytest.raises(Interrupted):
        # Between the second batch of the next epoch and its end.
        list(resumed.epochs(should_stop=iter([False, False, True]).__next__))
    assert resumed.checkpoint() == data


def test_progress_comes_back_to_the_bit() -> None:
    progress = Progress.empty(4, 2)
    predicted = np.array([[0.1, 0.9], [1 / 3, 2 / 3]], dtype=np.float32)
    progress.end_fold(np.array([2, 0]), predicted, 0.1 + 0.2, b"model \x00\xff")
    progress.curves.append({"fold": 0, "score": 1 / 3, "fold_ended": True})
    progress.micro_batch = 4
    folds = np.array([0, 1, 0, -1])
    data = save_checkpoint(progress, None, trial=TRIAL)
    again, state = load_checkpoint(data, trial=TRIAL, folds=folds)
    assert state is None
    assert again.micro_batch == 4
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
