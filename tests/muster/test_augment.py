"""Augmentation keeps ends, lengths and labels, and does what its name says."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from learning import make_config
from muster import losses
from muster.augment import augment, mixed_loss, mixup, time_warp
from muster.config import Choice
from muster.samples import Batch

LENGTHS = torch.tensor([6, 1, 4])
EVERYTHING = {"jitter": 0.3, "scaling": 0.3, "time_warp": 0.5, "mirror": 0.5, "mixup": 0.4}
KINDS = [{name: value} for name, value in EVERYTHING.items()]


def make_batch(lengths: Tensor | None = LENGTHS) -> Batch:
    torch.manual_seed(0)
    values = torch.randn(3, 6, 2)
    if lengths is not None:
        values[torch.arange(6) >= lengths[:, None]] = 0.0
    return Batch(values, lengths, torch.randn(3, 1), torch.tensor([0, 1, 2]))


def changed(batch: Batch, **settings: Any) -> Batch:
    torch.manual_seed(1)
    return augment(batch, make_config(**settings))


def test_a_batch_stays_itself_where_nothing_is_asked_for() -> None:
    batch = make_batch()
    state = torch.get_rng_state()
    assert augment(batch, make_config()) is batch
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("settings", [*KINDS, EVERYTHING], ids="+".join)
def test_values_change_and_the_zeros_behind_each_end_stay(settings: dict[str, float]) -> None:
    batch = make_batch()
    made = changed(batch, **settings)
    assert made.values.shape == batch.values.shape
    assert made.values.isfinite().all()
    assert not torch.equal(made.values, batch.values)
    assert made.lengths is not None
    behind = torch.arange(6) >= made.lengths[:, None]
    assert not made.values[behind].any()
    assert torch.equal(made.labels, batch.labels)
    full = changed(make_batch(None), **settings)
    assert full.lengths is None
    assert full.values.isfinite().all()


@pytest.mark.parametrize("settings", KINDS, ids="+".join)
def test_the_same_random_state_gives_the_same_batch_to_the_bit(
    settings: dict[str, float],
) -> None:
    assert torch.equal(
        changed(make_batch(), **settings).values, changed(make_batch(), **settings).values
    )


def test_scaling_multiplies_each_channel_of_a_window() -> None:
    batch = make_batch(None)
    factors = changed(batch, scaling=0.2).values / batch.values
    torch.testing.assert_close(factors, factors[:, :1].expand_as(factors))
    assert len(set(factors[:, 0].flatten().tolist())) == 6


def test_mirroring_flips_signs_alone() -> None:
    batch = make_batch(None)
    some = changed(batch, mirror=0.5).values / batch.values
    assert set(some.flatten().tolist()) == {-1.0, 1.0}
    assert torch.equal(some, some[:, :1].expand_as(some))
    assert torch.equal(changed(batch, mirror=1.0).values, -batch.values)


@pytest.mark.parametrize("deviation", [0.1, 1.0, 8.0])
def test_warped_time_keeps_ends_and_order(deviation: float) -> None:
    # A ramp shows where each step was taken from.
    ramp = torch.arange(10.0)[None, :, None].repeat(3, 1, 1)
    lengths = torch.tensor([10, 7, 1])
    ramp[torch.arange(10) >= lengths[:, None]] = 0.0
    warped = time_warp(ramp, lengths, deviation=deviation)[..., 0]
    for row, length in zip(warped, lengths.tolist(), strict=True):
        assert row[0] == 0.0
        assert row[length - 1] == pytest.approx(length - 1, rel=1e-5)
        assert (row[:length].diff() >= -1e-5).all()
        assert not row[length:].any()


def test_padding_never_changes_warped_time() -> None:
    batch = make_batch()
    torch.manual_seed(3)
    plain = time_warp(batch.values, LENGTHS, deviation=0.5)
    longer = torch.cat([batch.values, torch.zeros(3, 5, 2)], dim=1)
    torch.manual_seed(3)
    padded = time_warp(longer, LENGTHS, deviation=0.5)
    torch.testing.assert_close(padded[:, :6], plain)
    assert not padded[:, 6:].any()


def test_mixup_mixes_values_statics_and_loss_by_one_share() -> None:
    batch = make_batch()
    torch.manual_seed(4)
    made = mixup(batch, alpha=0.5)
    assert made.partners is not None
    # The labels are the rows' numbers, so that the partners say who was mixed in.
    order = made.partners
    share = made.share
    assert 0.0 <= share <= 1.0
    for name in ("values", "static"):
        mine = getattr(batch, name)
        torch.testing.assert_close(getattr(made, name), share * mine + (1 - share) * mine[order])
    assert made.lengths is not None
    assert made.lengths.tolist() == torch.maximum(LENGTHS, LENGTHS[order]).tolist()
    logits = torch.randn(3, 3)
    loss = losses.build(Choice(name="cross_entropy"), weight=None)
    expected = share * loss(logits, batch.labels) + (1 - share) * loss(logits, order)
    torch.testing.assert_close(mixed_loss(loss, logits, made, whole=made), expected)
    plain = mixed_loss(loss, logits, batch, whole=batch)
    torch.testing.assert_close(plain, loss(logits, batch.labels))


def test_the_loss_of_a_mixed_batch_is_the_sum_over_its_parts() -> None:
    made = mixup(make_batch(), alpha=0.5)
    logits = torch.randn(3, 3)
    loss = losses.build(Choice(name="focal"), weight=torch.tensor([1.0, 3.0, 0.2]))
    parts = [
        mixed_loss(loss, logits[:2], made.part(0, 2), whole=made),
        mixed_loss(loss, logits[2:], made.part(2, 4), whole=made),
    ]
    torch.testing.assert_close(sum(parts), mixed_loss(loss, logits, made, whole=made))


def test_a_part_of_a_mixed_batch_keeps_its_partners() -> None:
    made = mixup(make_batch(), alpha=0.5)
    assert made.partners is not None
    part = made.part(1, 5)
    assert part.partners is not None
    assert torch.equal(part.partners, made.partners[1:])
    assert part.share == made.share
