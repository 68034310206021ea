"""Every loss keeps the contract of muster.losses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from muster import losses
from muster.config import Choice

VARIANTS: dict[str, list[dict[str, Any]]] = {
    "cross_entropy": [{"label_smoothing": 0.1}],
    "focal": [{"gamma": 0.0}, {"gamma": 0.5}, {"gamma": 4.0}],
}
CASES = [
    pytest.param(Choice(name=name, options=options), id=f"{name}-{options}")
    for name in losses.LOSSES
    for options in [{}, *VARIANTS.get(name, [])]
]
every_loss = pytest.mark.parametrize("choice", CASES)
TARGET = torch.tensor([0, 2, 1, 2, 2])


def make_logits() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(5, 3, generator=generator).requires_grad_()


@every_loss
def test_a_loss_is_one_number_that_is_not_negative(choice: Choice) -> None:
    value = losses.build(choice, weight=None)(make_logits(), TARGET)
    assert value.shape == ()
    assert value.detach() > 0.0


@every_loss
def test_gradients_reach_every_logit(choice: Choice) -> None:
    logits = make_logits()
    losses.build(choice, weight=None)(logits, TARGET).backward()
    assert logits.grad is not None
    assert (logits.grad != 0.0).all()


@every_loss
@pytest.mark.parametrize("size", [1.0, 30.0, 1000.0])
def test_sure_predictions_right_or_wrong_leave_loss_and_gradients_finite(
    choice: Choice, size: float
) -> None:
    for sign in (1.0, -1.0):
        sure = torch.nn.functional.one_hot(TARGET, 3).float() * size * sign
        logits = sure.requires_grad_()
        value = losses.build(choice, weight=None)(logits, TARGET)
        value.backward()
        assert value.isfinite()
        assert logits.grad is not None
        assert logits.grad.isfinite().all()


@every_loss
def test_a_better_prediction_costs_less(choice: Choice) -> None:
    loss = losses.build(choice, weight=None)
    right = torch.nn.functional.one_hot(TARGET, 3).float()
    assert loss(right * 2.0, TARGET) < loss(right, TARGET) < loss(-right, TARGET)


@every_loss
def test_equal_class_weights_change_nothing(choice: Choice) -> None:
    plain = losses.build(choice, weight=None)(make_logits(), TARGET)
    weighted = losses.build(choice, weight=torch.full((3,), 2.0))(make_logits(), TARGET)
    torch.testing.assert_close(weighted, plain)


@every_loss
def test_a_heavier_class_pulls_the_loss_towards_its_own(choice: Choice) -> None:
    logits = torch.tensor([[3.0, 0.0], [3.0, 0.0]])
    target = torch.tensor([0, 1])
    plain = losses.build(choice, weight=None)(logits, target)
    weighted = losses.build(choice, weight=torch.tensor([1.0, 5.0]))(logits, target)
    assert weighted > plain


@every_loss
def test_the_same_input_gives_the_same_loss_to_the_bit(choice: Choice) -> None:
    loss = losses.build(choice, weight=torch.tensor([0.5, 1.0, 2.0]))
    assert torch.equal(loss(make_logits(), TARGET), loss(make_logits(), TARGET))


@pytest.mark.parametrize("name", losses.LOSSES)
def test_defaults_are_options_and_strangers_are_named(name: str) -> None:
    assert losses.check_options(name, {}) == []
    assert any("wings" in problem for problem in losses.check_options(name, {"wings": 2}))
    assert any("weight" in problem for problem in losses.check_options(name, {"weight": 1.0}))


def test_focal_without_gamma_is_weighted_cross_entropy() -> None:
    weight = torch.tensor([0.5, 1.0, 2.0])
    torch.testing.assert_close(
        losses.focal(make_logits(), TARGET, weight=weight, gamma=0.0),
        losses.cross_entropy(make_logits(), TARGET, weight=weight),
    )
