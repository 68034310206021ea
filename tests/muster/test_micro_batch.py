"""A device that runs out of memory gets the batch in parts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from learning import (
    assert_same_result,
    evaluate,
    make_config,
    make_dataset,
    make_samples,
    start,
)
from muster import losses, models
from muster.config import Choice, TrialConfig
from muster.evaluation import Evaluation
from muster.inference import is_out_of_memory, mean_loss, predict_proba
from muster.models.base import InputShape, Model
from muster.models.recurrent import Gru
from muster.training import Fit, new_fit, train

SHAPE = InputShape(channels=2, static_features=1, classes=3)
LOSS = losses.build(Choice(name="cross_entropy"), weight=None)
WEIGHT = torch.tensor([0.2, 1.0, 5.0])
# Beside each loss's defaults, the options that change how its sum is made.
OPTIONS: dict[str, list[dict[str, float]]] = {"cross_entropy": [{"label_smoothing": 0.2}]}
every_loss = pytest.mark.parametrize(
    "choice",
    [
        pytest.param(Choice(name=name, options=options), id=f"{name}-{options}")
        for name in losses.LOSSES
        for options in [{}, *OPTIONS.get(name, [])]
    ],
)


class Small(Gru):
    """A GRU on a device that holds no more than so many sequences while it trains."""

    room = 3

    def forward(self, values: Tensor, lengths: Tensor | None, static: Tensor) -> Tensor:
        if self.training and len(values) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().forward(values, lengths, static)


class Full(Small):
    """A device that does not hold a single sequence."""

    room = 0


class Leaky(Gru):
    """A device that runs out of memory late: random numbers are drawn, gradients there."""

    room = 3

    def forward(self, values: Tensor, lengths: Tensor | None, static: Tensor) -> Tensor:
        logits = super().forward(values, lengths, static)
        if self.training and len(values) > self.room:
            logits.sum().backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return logits


class Narrow(Gru):
    """A device that holds no more than so many sequences while it predicts."""

    room = 3

    def forward(self, values: Tensor, lengths: Tensor | None, static: Tensor) -> Tensor:
        if not self.training and len(values) > self.room:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED")
        return super().forward(values, lengths, static)


def make_fit(kind: type[Model], config: TrialConfig) -> Fit:
    torch.manual_seed(0)
    model = kind(SHAPE, dropout=config.dropout, **config.architecture.options)  # type: ignore[call-arg]
    return new_fit(model, make_samples(make_dataset()), config)


def trained(
    kind: type[Model], config: TrialConfig, *, micro_batch: int | None = None
) -> tuple[Fit, list[float]]:
    fit = make_fit(kind, config)
    fit.micro_batch = micro_batch
    return fit, list(train(fit, make_samples(make_dataset()), config, loss=LOSS))


def test_the_batch_goes_through_in_halves_until_it_fits() -> None:
    fit, _ = trained(Small, make_config(epochs=1))
    assert fit.micro_batch == 2


def test_the_effective_batch_stays_what_it_was() -> None:
    config = make_config(epochs=2, l1=1e-3, dropout=0.0)
    halved, halved_losses = trained(Small, config)
    whole, whole_losses = trained(Gru, config)
    assert halved_losses == pytest.approx(whole_losses, rel=1e-5)
    for name, tensor in whole.model.state_dict().items():
        torch.testing.assert_close(halved.model.state_dict()[name], tensor, rtol=1e-3, atol=1e-4)


def test_a_device_without_room_for_one_sequence_is_an_error() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        trained(Full, make_config(epochs=1))


@every_loss
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_gradient_is_that_of_the_whole_batch(
    choice: Choice, weight: Tensor | None, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss = losses.build(choice, weight=weight)
    config = make_config(epochs=1, gradient_clip=None, l1=1e-3, batch_size=8)
    seen = []
    for micro_batch in (None, size):
        fit = make_fit(Gru, config)
        fit.micro_batch = micro_batch
        gradients: list[dict[str, Tensor]] = []
        # The weights stay: every batch is compared on the same ones.
        monkeypatch.setattr(
            fit.optimizer,
            "step",
            lambda fit=fit, into=gradients: into.append(
                {name: p.grad.clone() for name, p in fit.model.named_parameters()}
            ),
        )
        (mean,) = train(fit, make_samples(make_dataset()), config, loss=loss)
        seen.append((gradients, mean))
    (whole, whole_mean), (parts, parts_mean) = seen
    assert len(whole) == 3
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-6)
    assert parts_mean == pytest.approx(whole_mean, rel=1e-5)


def test_a_retry_draws_the_random_numbers_of_the_first_try() -> None:
    config = make_config(epochs=2, dropout=0.4, options={"layers": 2})
    retried, retried_losses = trained(Leaky, config)
    known, known_losses = trained(Leaky, config, micro_batch=retried.micro_batch)
    assert retried.micro_batch == known.micro_batch == 2
    assert retried_losses == known_losses
    for name, tensor in known.model.state_dict().items():
        assert torch.equal(retried.model.state_dict()[name], tensor)


def test_predictions_go_through_in_parts_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    samples, config = make_samples(make_dataset(), window=3, stride=1), make_config()
    loss = losses.build(Choice(name="focal"), weight=WEIGHT)
    wide, narrow = make_fit(Gru, config).model, make_fit(Narrow, config).model
    torch.testing.assert_close(predict_proba(narrow, samples), predict_proba(wide, samples))
    assert mean_loss(narrow, samples, loss) == pytest.approx(
        mean_loss(wide, samples, loss), rel=1e-5
    )
    monkeypatch.setattr(Narrow, "room", 0)
    with pytest.raises(RuntimeError, match="ALLOC_FAILED"):
        predict_proba(narrow, samples)


def test_other_faults_are_not_taken_for_want_of_memory() -> None:
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("can't allocate memory"))
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 bytes"))


@pytest.mark.parametrize("kind", [Small, Leaky], ids=["Small", "Leaky"])
def test_the_size_is_noted_and_kept_for_later_folds_and_attempts(
    kind: type[Gru], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(models.ARCHITECTURES, "gru", kind)
    dataset, config = make_dataset(), make_config(epochs=2, dropout=0.4)
    checkpoints: list[bytes] = []
    undisturbed = evaluate(dataset, config, between=lambda e: checkpoints.append(e.checkpoint()))
    assert len(checkpoints) == 4
    for checkpoint in checkpoints:
        resumed: Evaluation = start(dataset, config, resume=checkpoint)
        assert resumed.micro_batch == 2
        for _ in resumed.epochs():
            assert resumed.micro_batch == 2
        assert_same_result(resumed.result(), undisturbed)
