"""Windows on the device keep their sequence's steps, label and statics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learning import make_dataset, make_samples
from muster.data.preprocess import Preprocessor
from muster.data.windows import window_starts
from muster.samples import Samples


def take(samples: Samples, positions: list[int]) -> Any:
    index = torch.tensor(positions)
    return samples.batch(index, index)


@settings(max_examples=25, deadline=None)
@given(
    window=st.none() | st.integers(1, 12),
    stride=st.none() | st.integers(1, 12),
    seed=st.integers(0, 1000),
)
def test_a_batch_holds_the_steps_of_its_windows(
    window: int | None, stride: int | None, seed: int
) -> None:
    dataset = make_dataset(8, tests=0, shortest=1, longest=9, seed=seed)
    index = np.array([6, 1, 3])
    samples = make_samples(dataset, index, window=window, stride=stride)
    preprocessor = Preprocessor.fit(dataset, index, normalise="standard")
    values, lengths, static = preprocessor.transform(dataset, index)
    sequences = np.split(values, np.cumsum(lengths)[:-1])
    owner, start = window_starts(lengths, window=window, stride=stride)
    positions = list(range(len(samples)))[::-1]
    batch = take(samples, positions)
    for row, position in enumerate(positions):
        sequence = owner[position]
        expected = sequences[sequence][start[position] :][:window]
        length = len(expected)
        assert batch.lengths is None or int(batch.lengths[row]) == length
        np.testing.assert_array_equal(batch.values[row, :length], expected)
        assert not batch.values[row, length:].any()
        np.testing.assert_array_equal(batch.static[row], static[sequence])
        assert int(batch.labels[row]) == dataset.labels[index[sequence]]


def test_full_windows_need_no_lengths() -> None:
    dataset = make_dataset(shortest=6, longest=6)
    assert take(make_samples(dataset), [0, 1]).lengths is None
    assert take(make_samples(dataset, window=4), [0, 1]).lengths is None
    assert take(make_samples(dataset, window=50), [0, 1]).values.shape == (2, 6, 2)


def test_a_batch_is_as_long_as_its_longest_window() -> None:
    dataset = make_dataset(6, tests=0, shortest=2, longest=9)
    samples = make_samples(dataset)
    lengths = dataset.lengths[dataset.train_index]
    shortest = int(lengths.argmin())
    assert take(samples, [shortest]).values.shape == (1, int(lengths.min()), 2)
    assert take(samples, list(range(6))).values.shape == (6, int(lengths.max()), 2)


def test_windows_of_a_training_fold_hold_no_step_of_another() -> None:
    dataset = make_dataset()
    marked = dataset.values.copy()
    chosen = dataset.train_index[::2]
    for other in np.setdiff1d(np.arange(len(dataset)), chosen):
        marked[dataset.offsets[other] : dataset.offsets[other + 1]] = 1e6
    samples = make_samples(
        make_dataset(values=marked), chosen, window=3, stride=1, normalise="none"
    )
    batch = take(samples, list(range(len(samples))))
    assert batch.values.max() < 1e3
    assert set(samples.sequence.tolist()) == set(range(len(chosen)))


def test_missing_values_are_filled() -> None:
    dataset = make_dataset()
    values = dataset.values.copy()
    values[::4] = np.nan
    samples = make_samples(make_dataset(values=values))
    assert take(samples, [0, 1, 2]).values.isfinite().all()


@pytest.mark.parametrize("normalise", ["standard", "min_max", "robust", "per_sequence", "none"])
def test_every_normalisation_gives_finite_numbers(normalise: str) -> None:
    samples = make_samples(make_dataset(), normalise=normalise)
    assert take(samples, [0, 3]).values.isfinite().all()
