"""A refit trains one model on all labelled sequences, for as many epochs as it is told."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from learning import assert_same_result, evaluate, make_config, make_dataset, start
from muster.config import TrialConfig
from muster.data.preprocess import Preprocessor
from muster.errors import DamagedCheckpoint
from muster.fold_model import FoldModel

WATCHED: dict[str, Any] = {"patience": 1, "schedule": "plateau", "epochs": 6, "holdout": 0.3}
CONFIGS = {
    "plain": make_config(dropout=0.2),
    "one that watches a holdout": make_config(**WATCHED),
    "averaged, one cycle": make_config("cnn", swa_start=0.4, schedule="one_cycle", epochs=5),
}
every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())


@every_config
def test_one_model_is_trained_on_all_labelled_sequences(config: TrialConfig) -> None:
    dataset = make_dataset()
    found = evaluate(dataset, config, refit=4)
    assert math.isnan(found.value)
    assert np.isnan(found.probabilities).all()
    assert [report["epoch"] for report in found.curves] == [0, 1, 2, 3]
    (data,) = found.fold_models
    model = FoldModel.from_bytes(data)
    assert model.config == config
    whole = Preprocessor.fit(dataset, dataset.train_index, normalise=config.normalise)
    assert model.preprocessor.to_json() == whole.to_json()
    predicted = model.predict_proba(dataset, dataset.test_index, device=torch.device("cpu"))
    np.testing.assert_array_equal(predicted, found.test_probabilities)


def test_every_labelled_sequence_counts_and_no_test_sequence_does() -> None:
    dataset, config = make_dataset(), CONFIGS["one that watches a holdout"]
    (plain,) = evaluate(dataset, config, refit=2).fold_models
    for sequence in dataset.train_index[:3]:
        labels = dataset.labels.copy()
        labels[sequence] = (labels[sequence] + 1) % 3
        (other,) = evaluate(replace(dataset, labels=labels), config, refit=2).fold_models
        assert other != plain
    values = dataset.values.copy()
    values[dataset.offsets[dataset.test_index[0]] :] += 5
    (same,) = evaluate(replace(dataset, values=values), config, refit=2).fold_models
    assert same == plain


@every_config
def test_resuming_after_any_epoch_gives_the_same_refit_to_the_bit(config: TrialConfig) -> None:
    dataset = make_dataset()
    checkpoints: list[bytes] = []
    undisturbed = evaluate(
        dataset, config, refit=3, between=lambda each: checkpoints.append(each.checkpoint())
    )
    assert len(checkpoints) == 3
    for checkpoint in checkpoints:
        torch.manual_seed(99)
        again = evaluate(dataset, config, refit=3, resume=checkpoint)
        assert again.fold_models == undisturbed.fold_models
        np.testing.assert_array_equal(again.test_probabilities, undisturbed.test_probabilities)


def test_curves_are_json_without_a_score() -> None:
    found = evaluate(make_dataset(), make_config(), refit=2)
    assert {report["score"] for report in found.curves} == {None}
    json.dumps(found.curves, allow_nan=False)


def test_a_checkpoint_of_the_trial_itself_is_not_gone_on_from() -> None:
    dataset, config = make_dataset(), make_config()
    evaluation = start(dataset, config)
    next(evaluation.epochs())
    with pytest.raises(DamagedCheckpoint, match="belongs to another configuration"):
        start(dataset, config, resume=evaluation.checkpoint(), refit=2)


def test_a_trial_says_for_how_many_epochs_the_weights_it_keeps_were_trained() -> None:
    dataset, config = make_dataset(), make_config(patience=2, epochs=60, learning_rate=0.3)
    result = evaluate(dataset, config)
    assert_same_result(result, evaluate(dataset, config))
    ended = [report for report in result.curves if report["fold_ended"]]
    assert len(ended) == 2
    for report in ended:
        assert report["kept"] == report["epoch"] + 1 - 2
