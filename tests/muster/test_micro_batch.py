"""A device that runs out of memory gets the batch in parts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from learning import CPU, make_config, make_dataset, make_samples, start
from muster import losses, models
from muster.config import Choice, TrialConfig
from muster.evaluation import Evaluation
from muster.models.base import InputShape, Model
from muster.models.recurrent import Gru
from muster.training import Fit, is_out_of_memory, new_fit, train

SHAPE = InputShape(channels=2, static_features=1, classes=3)
LOSS = losses.build(Choice(name="cross_entropy"), weight=None)


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


def trained(kind: type[Model], config: TrialConfig) -> tuple[Fit, list[float]]:
    torch.manual_seed(0)
    model = kind(SHAPE, dropout=0.0, hidden=4)  # type: ignore[call-arg]
    fit = new_fit(model, config, device=CPU)
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


def test_other_faults_are_not_taken_for_want_of_memory() -> None:
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 bytes"))


def test_the_size_is_noted_and_kept_for_later_folds_and_attempts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(models.ARCHITECTURES, "gru", Small)
    dataset, config = make_dataset(), make_config(epochs=2)
    evaluation = start(dataset, config)
    next(evaluation.epochs())
    assert evaluation.micro_batch == 2
    resumed: Evaluation = start(dataset, config, resume=evaluation.checkpoint())
    for _ in resumed.epochs():
        pass
    assert resumed.micro_batch == 2
