"""Class weights and samplers even out the classes, and windows stay what they were."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from learning import make_dataset, make_samples
from muster.data.dataset import Dataset
from muster.samples import Samples
from muster.sampling import add_smote, class_weights, epoch_order, epoch_windows

LABELS = np.array([0] * 60 + [1] * 30 + [2] * 10)


@pytest.mark.parametrize("power", [0.0, 0.3, 0.5, 1.0])
def test_weights_are_one_on_average_over_the_labels(power: float) -> None:
    weights = class_weights(LABELS, classes=3, power=power)
    assert weights.dtype == np.float32
    assert weights[LABELS].mean() == pytest.approx(1.0, rel=1e-6)
    assert weights[0] / weights[2] == pytest.approx((10 / 60) ** power, rel=1e-6)


def test_power_zero_counts_every_sequence_alike() -> None:
    np.testing.assert_array_equal(class_weights(LABELS, classes=3, power=0.0), np.ones(3))


def test_power_one_counts_every_class_alike() -> None:
    weights = class_weights(LABELS, classes=3, power=1.0)
    totals = weights * np.bincount(LABELS)
    np.testing.assert_allclose(totals, np.full(3, 100 / 3), rtol=1e-6)


def test_a_class_without_labels_weighs_nothing() -> None:
    weights = class_weights(LABELS, classes=5, power=1.0)
    np.testing.assert_array_equal(weights[3:], 0.0)
    assert np.isfinite(weights).all()
    assert weights[LABELS].mean() == pytest.approx(1.0, rel=1e-6)


def drawn(sampler: str, power: float = 1.0) -> list[int]:
    torch.manual_seed(0)
    order = epoch_order(torch.from_numpy(LABELS), sampler=sampler, power=power)
    assert len(order) == epoch_windows(torch.from_numpy(LABELS), sampler=sampler, power=power)
    return order.tolist()


@pytest.mark.parametrize("sampler", ["none", "smote"])
def test_an_epoch_takes_each_window_once_in_the_order_of_a_permutation(sampler: str) -> None:
    order = drawn(sampler)
    torch.manual_seed(0)
    assert order == torch.randperm(100).tolist()


@pytest.mark.parametrize(
    ("power", "expected"), [(0.0, [60, 30, 10]), (0.5, [60, 42, 24]), (1.0, [60, 60, 60])]
)
def test_oversampling_repeats_the_rarer_classes(power: float, expected: list[int]) -> None:
    order = drawn("oversample", power)
    assert set(order) == set(range(100))
    assert np.bincount(LABELS[order]).tolist() == expected
    assert order != sorted(order)


def test_the_weighted_sampler_draws_each_class_as_often_as_its_power_says() -> None:
    torch.manual_seed(0)
    labels = torch.from_numpy(np.repeat(LABELS, 100))
    even = labels[epoch_order(labels, sampler="weighted", power=1.0)]
    np.testing.assert_allclose(np.bincount(even) / len(even), np.full(3, 1 / 3), atol=0.02)
    plain = labels[epoch_order(labels, sampler="weighted", power=0.0)]
    np.testing.assert_allclose(np.bincount(plain) / len(plain), [0.6, 0.3, 0.1], atol=0.02)


def test_a_class_without_windows_is_drawn_by_nobody() -> None:
    labels = torch.tensor([0, 0, 0, 2])
    for sampler in ("weighted", "oversample"):
        order = epoch_order(labels, sampler=sampler, power=1.0)
        assert set(labels[order].tolist()) <= {0, 2}


def smoted(dataset: Dataset, *, power: float = 1.0, window: int | None = None) -> Samples:
    samples = make_samples(dataset, window=window, normalise="none")
    add_smote(samples, power=power, seed=3)
    return samples


def values_of(samples: Samples) -> torch.Tensor:
    index = torch.arange(len(samples))
    return samples.batch(index, index).values


def make_rare(counts: list[int], **changes: Any) -> Dataset:
    labels = np.repeat(np.arange(len(counts)), counts)
    return make_dataset(len(labels), tests=0, labels=labels.astype(np.int64), **changes)


def test_smote_adds_mixtures_of_two_windows_of_the_class() -> None:
    dataset = make_rare([9, 4, 2], shortest=5, longest=5)
    plain, samples = make_samples(dataset, normalise="none"), smoted(dataset)
    assert np.bincount(samples.host_labels).tolist() == [9, 9, 9]
    values = values_of(samples)
    assert torch.equal(values[: len(plain)], values_of(plain))
    one, other = values[13].flatten(), values[14].flatten()
    added = values[15:][samples.host_labels[15:] == 2]
    assert len(added) == 7
    for made in added:
        share = (made.flatten() - one) @ (other - one) / (other - one).square().sum()
        assert 0.0 <= share <= 1.0
        torch.testing.assert_close(made.flatten(), one + share * (other - one))


def test_smote_by_half_the_power_adds_less_and_none_by_zero() -> None:
    dataset = make_rare([9, 4, 2], shortest=5, longest=5)
    assert np.bincount(smoted(dataset, power=0.5).host_labels).tolist() == [9, 6, 4]
    assert len(smoted(dataset, power=0.0)) == 15


def test_smote_repeats_the_window_of_a_class_of_one_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    samples = smoted(make_rare([6, 3, 1], shortest=5, longest=5))
    assert np.bincount(samples.host_labels).tolist() == [6, 6, 6]
    values = values_of(samples)[samples.host_labels == 2]
    assert all(torch.equal(each, values[0]) for each in values)
    assert "class 2 has 1 window(s) of full length" in caplog.text


def test_smote_mixes_full_windows_alone_where_lengths_differ() -> None:
    dataset = make_rare([12, 6, 4], shortest=2, longest=9)
    plain, samples = make_samples(dataset, window=4), smoted(dataset, window=4)
    added = slice(len(plain), None)
    assert len(samples) > len(plain)
    assert not plain.is_full
    assert (samples.host_lengths[added] == 4).all()
    batch = samples.batch(torch.arange(len(samples)), torch.arange(len(samples)))
    assert batch.values.isfinite().all()
    assert torch.equal(batch.labels, samples.host_labels)


def test_smote_repeats_short_windows_with_their_length() -> None:
    lengths_of_rare = 3
    dataset = make_rare([4, 2], shortest=5, longest=5)
    offsets = np.array([0, 5, 10, 15, 20, 23, 26])
    dataset = replace(dataset, offsets=offsets, values=dataset.values[:26])
    samples = smoted(dataset)
    assert np.bincount(samples.host_labels).tolist() == [4, 4]
    assert (samples.host_lengths[4:] == lengths_of_rare).all()
