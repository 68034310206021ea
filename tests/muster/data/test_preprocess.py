from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from muster.config import TrialConfig
from muster.data.dataset import Dataset
from muster.data.preprocess import Preprocessor
from muster.data.selection import rows_of
from muster.errors import UserError

Make = Callable[..., Dataset]
METHODS = get_args(TrialConfig.model_fields["normalise"].annotation)
TRAIN = np.arange(8)


@pytest.mark.parametrize("normalise", METHODS)
def test_nothing_is_learnt_from_other_sequences(normalise: str, make_dataset: Make) -> None:
    dataset = make_dataset(description={"drop_constant": True, "drop_correlated": 0.9})
    changed = replace(dataset, values=dataset.values.copy(), static=dataset.static.copy())
    changed.values[dataset.offsets[8] :] = 1e6
    changed.static[8:] = 1e6
    fitted = Preprocessor.fit(dataset, TRAIN, normalise=normalise)
    assert fitted == Preprocessor.fit(changed, TRAIN, normalise=normalise)


@pytest.mark.parametrize("normalise", METHODS)
def test_transformed_data_is_whole_and_survives_json(normalise: str, make_dataset: Make) -> None:
    dataset = make_dataset()
    dataset.static[3, 2] = np.nan
    fitted = Preprocessor.fit(dataset, TRAIN, normalise=normalise)
    index = np.array([9, 2, 3])
    values, lengths, static = fitted.transform(dataset, index)
    assert (values.dtype, lengths.dtype, static.dtype) == (np.float32, np.int64, np.float32)
    assert values.shape == (dataset.lengths[index].sum(), 3)
    assert static.shape == (3, 3)
    assert np.isfinite(values).all() and np.isfinite(static).all()
    np.testing.assert_array_equal(static[:, :2], dataset.static[index, :2])
    again = Preprocessor.from_json(json.loads(json.dumps(fitted.to_json())))
    assert again == fitted
    np.testing.assert_array_equal(again.transform(dataset, index)[0], values)


def test_standard_scaling_centres_the_training_part_and_a_gap_becomes_its_mean(
    make_dataset: Make,
) -> None:
    dataset = make_dataset()
    values, _, static = Preprocessor.fit(dataset, TRAIN, normalise="standard").transform(
        dataset, TRAIN
    )
    missing = np.isnan(dataset.values[rows_of(dataset.offsets, TRAIN)])
    np.testing.assert_allclose(values[missing], 0.0, atol=1e-6)
    known = np.where(missing, np.nan, values)
    np.testing.assert_allclose(np.nanmean(known, axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(np.nanstd(known, axis=0), 1.0, atol=1e-5)
    np.testing.assert_allclose([static[:, 2].mean(), static[:, 2].std()], [0, 1], atol=1e-5)


def test_min_max_scaling_spans_zero_to_one(make_dataset: Make) -> None:
    dataset = make_dataset()
    values, _, _ = Preprocessor.fit(dataset, TRAIN, normalise="min_max").transform(dataset, TRAIN)
    np.testing.assert_allclose([values.min(axis=0), values.max(axis=0)], [[0] * 3, [1] * 3])


def test_per_sequence_scaling_needs_nothing_of_the_training_part(make_dataset: Make) -> None:
    dataset = make_dataset()
    fitted = Preprocessor.fit(dataset, TRAIN, normalise="per_sequence")
    values, lengths, _ = fitted.transform(dataset, np.array([9]))
    rows = dataset.values[dataset.offsets[9] : dataset.offsets[10]]
    expected = (rows - np.nanmean(rows, axis=0)) / np.nanstd(rows, axis=0)
    np.testing.assert_allclose(values, np.nan_to_num(expected), atol=1e-5)
    assert lengths.tolist() == [len(rows)]


@pytest.mark.parametrize("normalise", METHODS)
def test_a_constant_channel_stays_finite(normalise: str, make_dataset: Make) -> None:
    dataset = make_dataset()
    dataset.values[:, 1] = 0.1
    dataset.values[:, 2] = np.nan
    fitted = Preprocessor.fit(dataset, TRAIN, normalise=normalise)
    values, _, _ = fitted.transform(dataset, TRAIN)
    assert np.abs(values[:, 1:]).max() <= 0.1 + 1e-6


def test_constant_and_correlated_channels_go_on_request(make_dataset: Make) -> None:
    wish = {"drop_constant": True, "drop_correlated": 0.9}
    dataset = make_dataset(description=wish)
    values = np.nan_to_num(dataset.values)
    values = np.column_stack([np.full(len(values), 3.0), values[:, 0], -2 * values[:, 0] + 1])
    dataset = replace(dataset, values=values.astype(np.float32))
    assert Preprocessor.fit(dataset, TRAIN, normalise="standard").kept == (1,)
    unasked = dataset.schema.model_copy(update={"description": {}})
    all_kept = Preprocessor.fit(replace(dataset, schema=unasked), TRAIN, normalise="standard")
    assert all_kept.kept == (0, 1, 2)


def test_a_fold_without_a_varying_channel_is_refused(make_dataset: Make) -> None:
    dataset = make_dataset(description={"drop_constant": True})
    dataset.values[:] = 1.0
    with pytest.raises(UserError, match="every channel is constant"):
        Preprocessor.fit(dataset, TRAIN, normalise="standard")


def test_an_unknown_normalisation_and_damaged_content_are_refused(make_dataset: Make) -> None:
    dataset = make_dataset()
    with pytest.raises(UserError, match="choose standard"):
        Preprocessor.fit(dataset, TRAIN, normalise="z")
    content = Preprocessor.fit(dataset, TRAIN, normalise="standard").to_json()
    for damage in ({"scale": [1.0]}, {"kept": [-1, 0, 1]}, {"fill": ["x"]}, {"more": 1}):
        with pytest.raises(UserError, match="damaged preprocessor"):
            Preprocessor.from_json({**content, **damage})


@pytest.mark.parametrize("normalise", METHODS)
def test_no_sequences_at_all_transform_to_nothing(normalise: str, make_dataset: Make) -> None:
    dataset = make_dataset()
    fitted = Preprocessor.fit(dataset, TRAIN, normalise=normalise)
    values, lengths, static = fitted.transform(dataset, np.array([], dtype=np.int64))
    assert (values.shape, lengths.shape, static.shape) == ((0, 3), (0,), (0, 3))


def test_a_dataset_without_static_columns_has_static_of_no_width(make_dataset: Make) -> None:
    dataset = make_dataset(static=np.zeros((12, 0), dtype=np.float32))
    bare = replace(dataset, schema=dataset.schema.model_copy(update={"static": ()}))
    fitted = Preprocessor.fit(bare, TRAIN, normalise="standard")
    assert fitted.transform(bare, TRAIN)[2].shape == (8, 0)
