"""A trial keeps its folds apart and repeats itself to the bit."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from learning import assert_same_result, evaluate, make_config, make_dataset, start
from muster import models
from muster.config import Choice, TrialConfig
from muster.data.dataset import Dataset
from muster.data.folds import hold_out, make_folds
from muster.errors import NonFiniteLoss
from muster.evaluation import fold_seed
from muster.fold_model import FoldModel
from muster.metrics import METRICS, score
from muster.models.recurrent import Gru

BUSY = {
    "patience": 1,
    "schedule": "plateau",
    "plateau_patience": 0,
    "dropout": 0.3,
    "epochs": 4,
    "holdout": 0.3,
    "window": 4,
    "class_weight": 0.5,
}
CONFIGS: dict[str, TrialConfig] = {
    "gru": make_config(),
    "gru with dropout between layers": make_config(dropout=0.4, options={"layers": 2}),
    "cnn": make_config("cnn", dropout=0.2, optimizer="adam"),
    "cosine": make_config("cnn_gru", schedule="cosine", weight_decay=0.1, l1=1e-4),
    "early stopping and plateau": make_config(**BUSY),
    "cnn with early stopping": make_config("cnn", **BUSY),
    "focal": make_config(loss=Choice(name="focal", options={"gamma": 1.5}), gradient_clip=None),
    "oversampled, one cycle": make_config(
        "cnn", sampler="oversample", schedule="one_cycle", mixup=0.3, time_warp=0.3, window=3
    ),
    "smote, warm-up, augmented": make_config(
        sampler="smote", schedule="warmup_cosine", window=4, jitter=0.1, scaling=0.1, mirror=0.2
    ),
    "weighted, averaged": make_config("cnn", sampler="weighted", swa_start=0.3, epochs=4),
    "averaged, early stopping": make_config(
        "cnn", swa_start=0.4, patience=2, epochs=5, holdout=0.3, precision="bfloat16"
    ),
}
every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())


def weights(model: bytes) -> dict[str, Any]:
    return dict(FoldModel.from_bytes(model).model.state_dict())


def shifted(dataset: Dataset, sequences: np.ndarray[Any, Any]) -> Dataset:
    """The dataset with 1000 added to all values and statics of these sequences."""
    values, static = dataset.values.copy(), dataset.static.copy()
    for each in np.flatnonzero(sequences):
        values[dataset.offsets[each] : dataset.offsets[each + 1]] += 1000.0
    static[sequences] += 1000.0
    return replace(dataset, values=values, static=static)


@every_config
def test_the_same_seed_gives_the_same_trial_to_the_bit(config: TrialConfig) -> None:
    dataset = make_dataset()
    torch.manual_seed(1)
    first = evaluate(dataset, config)
    torch.manual_seed(2)
    assert_same_result(first, evaluate(dataset, config))


@every_config
def test_random_numbers_that_others_draw_between_epochs_change_nothing(
    config: TrialConfig,
) -> None:
    dataset = make_dataset()
    disturbed = evaluate(dataset, config, between=lambda _: (torch.rand(7), np.random.rand(3)))
    assert_same_result(evaluate(dataset, config), disturbed)


def test_another_seed_gives_other_predictions() -> None:
    dataset = make_dataset()
    one = evaluate(dataset, make_config(seed=0))
    other = evaluate(dataset, make_config(seed=1))
    assert not np.array_equal(one.probabilities, other.probabilities, equal_nan=True)


@every_config
def test_resuming_after_any_epoch_gives_the_same_trial_to_the_bit(config: TrialConfig) -> None:
    dataset = make_dataset()
    checkpoints: list[bytes] = []
    undisturbed = evaluate(dataset, config, between=lambda e: checkpoints.append(e.checkpoint()))
    assert len(checkpoints) == len(undisturbed.curves)
    for checkpoint in checkpoints:
        torch.manual_seed(99)
        assert_same_result(evaluate(dataset, config, resume=checkpoint), undisturbed)


def test_resuming_anew_at_every_epoch_gives_the_same_trial_to_the_bit() -> None:
    dataset, config = make_dataset(), CONFIGS["early stopping and plateau"]
    undisturbed = evaluate(dataset, config)
    checkpoint = None
    for _ in undisturbed.curves:
        evaluation = start(dataset, config, resume=checkpoint)
        next(evaluation.epochs())
        checkpoint = evaluation.checkpoint()
    assert_same_result(evaluate(dataset, config, resume=checkpoint), undisturbed)


def test_a_checkpoint_before_the_first_epoch_keeps_what_it_was_resumed_from() -> None:
    dataset, config = make_dataset(), make_config()
    evaluation = start(dataset, config)
    next(evaluation.epochs())
    resumed = start(dataset, config, resume=evaluation.checkpoint())
    again = evaluate(dataset, config, resume=resumed.checkpoint())
    assert_same_result(again, evaluate(dataset, config))
    assert [each["epoch"] for each in again.curves] == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("config", [CONFIGS["cnn"], CONFIGS["early stopping and plateau"]])
def test_values_of_the_validation_fold_never_change_its_model(config: TrialConfig) -> None:
    dataset = make_dataset()
    folds = make_folds(dataset, folds=2, seed=0)
    plain = evaluate(dataset, config, folds=folds)
    for fold in range(2):
        moved = evaluate(shifted(dataset, folds == fold), config, folds=folds)
        one, other = weights(plain.fold_models[fold]), weights(moved.fold_models[fold])
        assert all(torch.equal(one[name], other[name]) for name in one)
        assert moved.fold_models[1 - fold] != plain.fold_models[1 - fold]


@pytest.mark.parametrize("config", [CONFIGS["cnn"], CONFIGS["early stopping and plateau"]])
def test_labels_of_the_validation_fold_never_change_its_model(config: TrialConfig) -> None:
    dataset = make_dataset()
    folds = make_folds(dataset, folds=2, seed=0)
    plain = evaluate(dataset, config, folds=folds)
    for fold in range(2):
        labels = np.where(folds == fold, (dataset.labels + 1) % 3, dataset.labels)
        other = evaluate(replace(dataset, labels=labels), config, folds=folds)
        assert other.fold_models[fold] == plain.fold_models[fold]
        assert other.fold_models[1 - fold] != plain.fold_models[1 - fold]


def test_the_test_part_never_changes_a_model() -> None:
    dataset, config = make_dataset(), CONFIGS["early stopping and plateau"]
    moved = evaluate(shifted(dataset, dataset.is_test), config)
    assert moved.fold_models == evaluate(dataset, config).fold_models


@pytest.mark.parametrize("groups", [None, np.arange(24) // 3], ids=["no groups", "groups"])
def test_the_holdout_lies_within_the_training_fold(groups: Any) -> None:
    dataset = make_dataset(groups=groups)
    trained = dataset.train_index[::2]
    chosen = hold_out(dataset, trained, share=0.3, seed=fold_seed(0, 0) % 2**32)
    assert 0 < len(chosen) < len(trained)
    assert set(chosen) < set(trained)
    if groups is not None:
        kept = np.setdiff1d(trained, chosen)
        assert not set(groups[chosen]) & set(groups[kept])


def test_what_a_trial_leaves_has_the_promised_shapes() -> None:
    dataset, config = make_dataset(), make_config()
    folds = make_folds(dataset, folds=2, seed=0)
    result = evaluate(dataset, config, folds=folds)
    assert result.probabilities.shape == (len(dataset), 3)
    assert result.probabilities.dtype == result.test_probabilities.dtype == np.float32
    assert np.isnan(result.probabilities[folds < 0]).all()
    np.testing.assert_allclose(result.probabilities[folds >= 0].sum(axis=1), 1.0, rtol=1e-5)
    assert result.test_probabilities.shape == (4, 3)
    np.testing.assert_allclose(result.test_probabilities.sum(axis=1), 1.0, rtol=1e-5)
    assert [(each["fold"], each["epoch"]) for each in result.curves] == [
        (fold, epoch) for fold in range(2) for epoch in range(3)
    ]
    assert [each["fold_ended"] for each in result.curves] == [False, False, True] * 2
    assert [len(each["fold_scores"]) for each in result.curves] == [0, 0, 1, 1, 1, 2]
    assert result.seconds > 0.0
    assert json.loads(json.dumps(result.curves)) == result.curves


@pytest.mark.parametrize("metric", METRICS)
def test_the_value_is_the_metric_of_all_predictions_out_of_fold(metric: str) -> None:
    dataset = make_dataset()
    folds = make_folds(dataset, folds=2, seed=0)
    result = evaluate(dataset, make_config(epochs=1), folds=folds, metric=metric)
    labels = dataset.labels
    inside = folds >= 0
    assert result.value == score(metric, labels[inside], result.probabilities[inside])
    assert result.fold_scores == tuple(
        score(metric, labels[folds == fold], result.probabilities[folds == fold])
        for fold in range(2)
    )


def test_fold_models_predict_what_the_trial_kept() -> None:
    dataset, config = make_dataset(), CONFIGS["early stopping and plateau"]
    folds = make_folds(dataset, folds=2, seed=0)
    result = evaluate(dataset, config, folds=folds)
    for fold, data in enumerate(result.fold_models):
        index = np.flatnonzero(folds == fold)
        again = FoldModel.from_bytes(data).predict_proba(
            dataset, index, device=torch.device("cpu")
        )
        np.testing.assert_array_equal(again, result.probabilities[index])


def test_a_dataset_without_a_test_part_leaves_no_test_predictions() -> None:
    result = evaluate(make_dataset(tests=0), make_config(epochs=1))
    assert result.test_probabilities.shape == (0, 3)


@pytest.mark.parametrize("normalise", ["standard", "min_max", "robust", "per_sequence", "none"])
def test_every_normalisation_trains(normalise: Any) -> None:
    result = evaluate(make_dataset(), make_config("cnn", normalise=normalise, epochs=1))
    assert np.isfinite(result.value)


def test_levels_are_learnt() -> None:
    config = make_config(epochs=25, learning_rate=0.05, options={"pooling": "mean"})
    assert evaluate(make_dataset(60, longest=12), config).value > 0.8


@pytest.mark.parametrize("architecture", ["cnn", "gru"])
@pytest.mark.parametrize("metric", METRICS)
def test_weights_that_explode_end_the_trial_by_name(architecture: str, metric: str) -> None:
    config = make_config(architecture, learning_rate=1e38, gradient_clip=None, epochs=5)
    with pytest.raises(NonFiniteLoss, match="epoch"):
        evaluate(make_dataset(), config, metric=metric)


class Lost(Gru):
    """Trains well and predicts NaN for the last sequence of a batch."""

    def forward(self, values: Tensor, lengths: Tensor | None, static: Tensor) -> Tensor:
        logits = super().forward(values, lengths, static)
        if not self.training:
            logits[-1] = torch.nan
        return logits


@pytest.mark.parametrize("metric", METRICS)
def test_predictions_that_are_no_numbers_end_the_trial_by_name(
    metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(models.ARCHITECTURES, "gru", Lost)
    with pytest.raises(NonFiniteLoss, match="predictions became NaN in epoch 0"):
        evaluate(make_dataset(), make_config(), metric=metric)


@pytest.mark.parametrize("architecture", ["cnn", "gru"])
def test_weights_that_explode_in_the_last_epoch_are_never_kept(architecture: str) -> None:
    config = make_config(
        architecture, learning_rate=1e38, gradient_clip=None, epochs=1, batch_size=100
    )
    with pytest.raises(NonFiniteLoss, match="epoch 0"):
        evaluate(make_dataset(), config)
