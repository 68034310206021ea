"""Stochastic weight averaging (Izmailov et al., 2018) of the late epochs of a fit."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, update_bn

from muster.config import TrialConfig
from muster.models.base import Model
from muster.samples import Batch


def new_average(model: Model, config: TrialConfig) -> AveragedModel | None:
    """An average of nothing yet, or None where the configuration asks for none."""
    return AveragedModel(model) if config.swa_start < 1.0 else None


def take_in(average: AveragedModel | None, model: Model, config: TrialConfig, epoch: int) -> None:
    """Average this model's weights in, if the epoch, counted from 0, is late enough."""
    if average is None:
        return
    # The last epoch always counts, so that a short fit averages something.
    if epoch >= min(config.swa_start * config.epochs, config.epochs - 1):
        average.update_parameters(model)


def averaged(average: AveragedModel | None, batches: Iterator[Batch]) -> nn.Module | None:
    """The averaged model, its normalisation's statistics taken from batches; None without one."""
    if average is None or not int(average.n_averaged):
        return None
    update_bn(batches, _OnBatch(average.module))
    return average.module


class _OnBatch(nn.Module):
    """A model that takes a batch as one argument, as update_bn gives it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> Tensor:
        logits: Tensor = self.model(batch.values, batch.lengths, batch.static)
        return logits
