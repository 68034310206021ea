"""Optimisers and schedules do what the configuration names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import Adam, AdamW

from learning import make_config
from muster.config import TrialConfig
from muster.optim import l1_penalty, make_optimizer, make_schedule, step_batch, step_epoch


def stepped(**changes: Any) -> torch.Tensor:
    """A weight of ones after one step without any gradient of its own."""
    weight = nn.Parameter(torch.ones(2, 2))
    optimizer = make_optimizer(make_config(learning_rate=0.1, **changes), [weight])
    weight.grad = torch.zeros(2, 2)
    optimizer.step()
    return weight.detach()


@pytest.mark.parametrize(("name", "kind"), [("adam", Adam), ("adamw", AdamW)])
def test_the_named_optimiser_is_made(name: Any, kind: type) -> None:
    config = make_config(optimizer=name, learning_rate=0.003, weight_decay=0.25)
    made = make_optimizer(config, [nn.Parameter(torch.ones(1))])
    assert type(made) is kind
    assert made.param_groups[0]["lr"] == 0.003
    assert made.param_groups[0]["weight_decay"] == 0.25


def test_adamw_decays_the_weights_apart_from_the_gradient() -> None:
    torch.testing.assert_close(
        stepped(optimizer="adamw", weight_decay=0.5), torch.full((2, 2), 0.95)
    )


def test_adam_takes_the_decay_for_a_gradient() -> None:
    # Adam's first step is the learning rate, whatever the gradient's size.
    torch.testing.assert_close(
        stepped(optimizer="adam", weight_decay=0.5), torch.full((2, 2), 0.9)
    )


def test_nothing_decays_without_weight_decay() -> None:
    torch.testing.assert_close(stepped(optimizer="adam"), torch.ones(2, 2))
    torch.testing.assert_close(stepped(optimizer="adamw"), torch.ones(2, 2))


def test_fused_steps_are_those_of_plain_adamw() -> None:
    results = []
    for fused in (True, False):
        torch.manual_seed(0)
        layer = nn.Linear(5, 3)
        config = make_config(learning_rate=0.01, weight_decay=0.1)
        optimizer = (
            make_optimizer(config, layer.parameters())
            if fused
            else AdamW(layer.parameters(), lr=0.01, weight_decay=0.1)
        )
        for _ in range(5):
            optimizer.zero_grad()
            layer(torch.ones(4, 5)).square().mean().backward()
            optimizer.step()
        results.append(layer.weight.detach())
    torch.testing.assert_close(*results)


def test_the_l1_penalty_sums_matrices_and_leaves_vectors_out() -> None:
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, -2.0], [0.5, 0.0]]))
        layer.bias.fill_(100.0)
    penalty = l1_penalty(layer.parameters())
    assert isinstance(penalty, torch.Tensor)
    assert penalty.detach() == 3.5
    penalty.backward()
    assert torch.equal(layer.weight.grad, torch.tensor([[1.0, -1.0], [1.0, 0.0]]))
    assert layer.bias.grad is None


def rates_of(config: TrialConfig, *, steps: int) -> list[float]:
    """The learning rate before each step of a fit, and after the last."""
    optimizer = make_optimizer(config, [nn.Parameter(torch.ones(1))])
    schedule = make_schedule(config, optimizer, steps_per_epoch=steps)
    rates = [optimizer.param_groups[0]["lr"]]
    for _ in range(config.epochs):
        for _ in range(steps):
            optimizer.step()
            step_batch(schedule)
            rates.append(optimizer.param_groups[0]["lr"])
        step_epoch(schedule, 1.0)
    return rates


@pytest.mark.parametrize("schedule", ["one_cycle", "warmup_cosine"])
@pytest.mark.parametrize("warmup", [0.01, 0.2, 0.5, 0.9])
@pytest.mark.parametrize(("epochs", "steps"), [(1, 1), (2, 1), (1, 3), (5, 1), (4, 25)])
def test_a_warm_schedule_rises_to_the_rate_and_falls_to_almost_nothing(
    schedule: Any, warmup: float, epochs: int, steps: int
) -> None:
    config = make_config(schedule=schedule, warmup=warmup, epochs=epochs, learning_rate=0.5)
    rates = rates_of(config, steps=steps)
    assert all(0.0 <= rate <= 0.5 * (1 + 1e-9) for rate in rates)
    if epochs * steps < 100:
        return
    peak = int(np.argmax(rates))
    assert rates[peak] == pytest.approx(0.5)
    assert peak == pytest.approx(warmup * 100, abs=1)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:-1] == sorted(rates[peak:-1], reverse=True)
    assert rates[-2] < 0.5 * 0.03


def test_a_cosine_goes_by_epochs() -> None:
    rates = rates_of(make_config(schedule="cosine", epochs=2, learning_rate=1.0), steps=3)
    assert rates == [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5]


def test_no_schedule_is_made_unless_named() -> None:
    assert rates_of(make_config(epochs=2), steps=3) == [0.02] * 7


def test_a_plateau_lowers_the_rate_by_its_factor_after_its_patience() -> None:
    config = make_config(
        schedule="plateau", plateau_factor=0.3, plateau_patience=2, learning_rate=1.0
    )
    optimizer = make_optimizer(config, [nn.Parameter(torch.ones(1))])
    schedule: Any = make_schedule(config, optimizer, steps_per_epoch=1)
    rates = []
    for _ in range(5):
        schedule.step(1.0)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == [1.0, 1.0, 1.0, 0.3, 0.3]
