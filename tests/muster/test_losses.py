"""Losses against their formulas."""

from __future__ import annotations

import pytest
import torch

from muster.config import Choice
from muster.losses import LOSSES, build, check_options, focal

LOGITS = torch.randn(20, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGET = torch.arange(20) % 4
WEIGHT = torch.tensor([0.5, 1.0, 2.0, 4.0], dtype=torch.float64)


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_focal_loss_with_gamma_zero_is_cross_entropy(weight: torch.Tensor | None) -> None:
    torch.testing.assert_close(
        focal(LOGITS, TARGET, gamma=0.0, weight=weight),
        torch.nn.functional.cross_entropy(LOGITS, TARGET, weight=weight, reduction="sum"),
    )


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_focal_loss_follows_its_formula(gamma: float) -> None:
    picked = LOGITS.softmax(dim=1)[torch.arange(20), TARGET]
    each = -((1 - picked) ** gamma) * picked.log()
    torch.testing.assert_close(focal(LOGITS, TARGET, gamma=gamma), each.sum())
    weights = WEIGHT[TARGET]
    torch.testing.assert_close(
        focal(LOGITS, TARGET, gamma=gamma, weight=WEIGHT),
        (each * weights).sum(),
    )


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_gradients_are_those_of_finite_differences(gamma: float) -> None:
    logits = LOGITS[:5].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: focal(x, TARGET[:5], gamma=gamma), logits)


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_the_mean_cross_entropy_is_that_of_torch(weight: torch.Tensor | None) -> None:
    options = {"label_smoothing": 0.1}
    torch.testing.assert_close(
        build(Choice(name="cross_entropy", options=options), weight=weight)(LOGITS, TARGET),
        torch.nn.functional.cross_entropy(LOGITS, TARGET, weight=weight, **options),
    )


def test_a_class_of_weight_zero_does_not_count() -> None:
    weight = torch.tensor([0.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    others = TARGET != 0
    for name in LOSSES:
        torch.testing.assert_close(
            build(Choice(name=name), weight=weight)(LOGITS, TARGET),
            build(Choice(name=name), weight=None)(LOGITS[others], TARGET[others]),
        )


@pytest.mark.parametrize(
    ("name", "options", "problem"),
    [
        ("focal", {"gamma": -1.0}, "gamma = -1.0"),
        ("focal", {"gamma": "high"}, "gamma = 'high'"),
        ("focal", {"label_smoothing": 0.1}, "label_smoothing: unknown option; known are gamma"),
        ("cross_entropy", {"label_smoothing": 1.0}, "label_smoothing = 1.0"),
        ("cross_entropy", {"weight": 1.0}, "weight: unknown option"),
    ],
)
def test_bad_options_are_named(name: str, options: dict[str, object], problem: str) -> None:
    (found,) = check_options(name, options)
    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("name", "options"),
    [("focal", {"gamma": 2}), ("focal", {}), ("cross_entropy", {"label_smoothing": 0.0})],
)
def test_good_options_have_no_problem(name: str, options: dict[str, object]) -> None:
    assert check_options(name, options) == []
    assert build(Choice(name=name, options=options), weight=None)(LOGITS, TARGET) > 0
