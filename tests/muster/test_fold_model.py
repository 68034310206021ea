"""A fold model is read to the bit or refused by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from learning import CPU, make_config, make_dataset
from muster.config import Choice
from muster.data.preprocess import Preprocessor
from muster.errors import UserError
from muster.fold_model import FoldModel, input_shape, make_model
from muster.models import ARCHITECTURES
from muster.tensors import pack, unpack

DATASET = make_dataset()


def make_fold_model(architecture: str = "gru", **changes: Any) -> FoldModel:
    config = make_config(architecture, window=4, **changes)
    preprocessor = Preprocessor.fit(DATASET, DATASET.train_index, normalise=config.normalise)
    torch.manual_seed(0)
    shape = input_shape(DATASET)
    return FoldModel(config, shape, preprocessor, make_model(config, shape, preprocessor))


def repacked(tensors: dict[str, Any] | None = None, **changes: Any) -> bytes:
    """A fold model's bytes with other tensors or content."""
    own, content = unpack(make_fold_model().to_bytes(), what="the model")
    return pack({**own, **(tensors or {})}, {**content, **changes})


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_fold_model_comes_back_to_the_bit(architecture: str) -> None:
    made = make_fold_model(architecture)
    read = FoldModel.from_bytes(made.to_bytes())
    assert (read.config, read.shape, read.preprocessor) == (
        made.config,
        made.shape,
        made.preprocessor,
    )
    assert read.to_bytes() == made.to_bytes()
    index = np.arange(len(DATASET))
    np.testing.assert_array_equal(
        read.predict_proba(DATASET, index, device=CPU),
        made.predict_proba(DATASET, index, device=CPU),
    )


def test_reading_a_fold_model_draws_no_random_number() -> None:
    data = make_fold_model().to_bytes()
    torch.manual_seed(5)
    undisturbed = torch.rand(3)
    torch.manual_seed(5)
    FoldModel.from_bytes(data)
    assert torch.equal(torch.rand(3), undisturbed)


def test_predictions_follow_the_order_that_was_asked_for() -> None:
    model = make_fold_model("cnn", dropout=0.5)
    index = np.array([5, 0, 11, 3])
    together = model.predict_proba(DATASET, index, device=CPU)
    alone = [model.predict_proba(DATASET, index[i : i + 1], device=CPU)[0] for i in range(4)]
    assert together.dtype == np.float32
    np.testing.assert_allclose(together, np.stack(alone), atol=1e-6)
    np.testing.assert_allclose(together.sum(axis=1), 1.0, rtol=1e-5)


def test_no_sequence_gives_no_prediction() -> None:
    empty = np.array([], dtype=np.int64)
    assert make_fold_model().predict_proba(DATASET, empty, device=CPU).shape == (0, 3)


def test_missing_values_are_predicted_too() -> None:
    values = DATASET.values.copy()
    values[::3] = np.nan
    holes = replace(DATASET, values=values)
    predicted = make_fold_model().predict_proba(holes, DATASET.test_index, device=CPU)
    assert np.isfinite(predicted).all()


def test_dropped_channels_are_dropped_in_predictions_too() -> None:
    schema = DATASET.schema.model_copy(update={"description": {"drop_constant": True}})
    values = DATASET.values.copy()
    values[:, 0] = 7.0
    dataset = replace(DATASET, schema=schema, values=values)
    preprocessor = Preprocessor.fit(dataset, dataset.train_index, normalise="standard")
    config = make_config()
    model = make_model(config, input_shape(dataset), preprocessor)
    made = FoldModel(config, input_shape(dataset), preprocessor, model)
    read = FoldModel.from_bytes(made.to_bytes())
    assert read.preprocessor.kept == (1,)
    assert read.predict_proba(dataset, dataset.test_index, device=CPU).shape == (4, 3)


@pytest.mark.parametrize("kept", [0, 7, 8, 300, -1])
def test_a_torn_fold_model_is_refused(kept: int) -> None:
    with pytest.raises(UserError, match="fold model is damaged"):
        FoldModel.from_bytes(make_fold_model().to_bytes()[:kept])


@pytest.mark.parametrize("data", [b"", b"{}", b"PK\x03\x04" * 100, bytes(1000)])
def test_something_else_is_refused(data: bytes) -> None:
    with pytest.raises(UserError, match="fold model is damaged"):
        FoldModel.from_bytes(data)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(bad: float) -> None:
    weight = torch.zeros(3, 5)
    weight[1, 2] = bad
    with pytest.raises(UserError, match=r"no numbers: head\.linear\.weight"):
        FoldModel.from_bytes(repacked({"head.linear.weight": weight}))


def test_weights_of_another_shape_or_name_are_refused() -> None:
    with pytest.raises(UserError, match="fold model is damaged"):
        FoldModel.from_bytes(repacked({"head.linear.weight": torch.zeros(3, 6)}))
    with pytest.raises(UserError, match="fold model is damaged"):
        FoldModel.from_bytes(repacked({"wings": torch.zeros(1)}))


@pytest.mark.parametrize(
    "changes",
    [
        {"config": {}},
        {"config": make_config().model_dump() | {"architecture": {"name": "oracle"}}},
        {"config": make_config(options={"wings": 2}).model_dump()},
        {"config": make_config(options={"hidden": "four"}).model_dump()},
        {"config": make_config(options={"hidden": -4}).model_dump()},
        {"shape": {"channels": 2}},
        {"shape": {"channels": 2, "static_features": 1, "classes": "c"}},
        {"shape": None},
        {"preprocessor": {}},
        {"preprocessor": None},
    ],
)
def test_strange_content_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="damaged"):
        FoldModel.from_bytes(repacked(**changes))


def test_content_without_a_part_is_refused() -> None:
    tensors, content = unpack(make_fold_model().to_bytes(), what="the model")
    for name in ("config", "shape", "preprocessor"):
        part = {key: value for key, value in content.items() if key != name}
        with pytest.raises(UserError, match="damaged"):
            FoldModel.from_bytes(pack(tensors, part))


def test_another_format_is_refused() -> None:
    with pytest.raises(UserError, match="format 99"):
        FoldModel.from_bytes(repacked(format=99))


def test_input_with_other_channels_is_refused_by_name() -> None:
    narrow = make_dataset(channels=1)
    with pytest.raises(UserError, match="channel"):
        make_fold_model().predict_proba(narrow, narrow.test_index, device=CPU)


def test_the_choice_of_an_architecture_keeps_its_options() -> None:
    model = make_fold_model(options={"hidden": 6, "bidirectional": True})
    assert FoldModel.from_bytes(model.to_bytes()).config.architecture == Choice(
        name="gru", options={"hidden": 6, "bidirectional": True}
    )
