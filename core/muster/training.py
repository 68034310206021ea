"""One fit: a plain loop that yields after each epoch."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from muster.augment import augment, mixed_loss
from muster.averaging import averaged, new_average, take_in
from muster.config import TrialConfig
from muster.errors import NonFiniteLoss
from muster.inference import (
    ShouldStop,
    autocast,
    halved,
    has_bfloat16,
    heed,
    mean_loss,
    never,
    repeatable,
)
from muster.losses import Loss
from muster.models.base import Model
from muster.optim import (
    Schedule,
    l1_penalty,
    make_optimizer,
    make_schedule,
    step_batch,
    step_epoch,
)
from muster.samples import Batch, Samples
from muster.sampling import epoch_order, epoch_windows

log = logging.getLogger(__name__)


@dataclass
class Fit:
    """All that one fit is made of between two epochs; epoch counts the finished ones.

    best_*: of early stopping, the lowest loss on the holdout and the weights that had it.
    average: of the weights of the late epochs, where the configuration asks for one.
    micro_batch: windows that go through the device at once, after it ran out of memory.
    """

    model: Model
    optimizer: Optimizer
    schedule: Schedule | None
    random: RandomState
    epoch: int = 0
    best_loss: float = math.inf
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    epochs_since_best: int = 0
    average: AveragedModel | None = None
    micro_batch: int | None = None

    def is_finished(self, config: TrialConfig) -> bool:
        """Whether all epochs are trained, or early stopping has ended them."""
        has_stopped = config.patience is not None and self.epochs_since_best >= config.patience
        return has_stopped or self.epoch >= config.epochs


@dataclass
class RandomState:
    """torch's random state on the host and, where that trains, on the device."""

    host: Tensor
    device: Tensor | None

    @classmethod
    def capture(cls, device: torch.device) -> RandomState:
        """The state as it is now."""
        is_cuda = device.type == "cuda"
        return cls(torch.get_rng_state(), torch.cuda.get_rng_state(device) if is_cuda else None)

    def restore(self, device: torch.device) -> None:
        """Make it torch's state again; a device that the state never saw keeps its own."""
        torch.set_rng_state(self.host)
        if self.device is not None and device.type == "cuda":
            torch.cuda.set_rng_state(self.device, device)


def new_fit(model: Model, samples: Samples, config: TrialConfig) -> Fit:
    """A fit at epoch 0 of a model that is on samples' device, from torch's random state."""
    if config.precision == "bfloat16" and not has_bfloat16(samples.device):
        say_float32(str(samples.device))
    optimizer = make_optimizer(config, model.parameters())
    windows = epoch_windows(
        samples.host_labels, sampler=config.sampler, power=config.sampler_power
    )
    steps = math.ceil(windows / config.batch_size)
    return Fit(
        model,
        optimizer,
        make_schedule(config, optimizer, steps_per_epoch=steps),
        RandomState.capture(samples.device),
        average=new_average(model, config),
    )


@cache
def say_float32(device: str) -> None:
    """Log, once a process, that this device trains in float32 whatever a trial asks for."""
    log.warning("%s has no bfloat16; what asks for it trains in float32 there", device)


def train(
    fit: Fit,
    samples: Samples,
    config: TrialConfig,
    *,
    loss: Loss,
    holdout: Samples | None = None,
    should_stop: ShouldStop = never,
) -> Iterator[float]:
    """Train to the end, yielding the mean training loss after each epoch.

    holdout: part of the training data that early stopping and the plateau schedule look at.
    After the last epoch the model has the weights to keep. Raises NonFiniteLoss, and Interrupted
    where should_stop, which is asked before each batch, says so: the fit is in mid-epoch then.
    """
    while not fit.is_finished(config):
        fit.random.restore(samples.device)
        with repeatable():
            train_loss = _epoch(fit, samples, config, loss, should_stop)
        fit.epoch += 1
        watched = train_loss
        if holdout is not None:
            watched = mean_loss(fit.model, holdout, loss, should_stop=should_stop)
        if config.patience is not None:
            _remember_best(fit, watched)
        take_in(fit.average, fit.model, config, fit.epoch - 1)
        step_epoch(fit.schedule, watched)
        fit.random = RandomState.capture(samples.device)
        if fit.is_finished(config):
            size = fit.micro_batch or config.batch_size
            batches = _in_order(samples, size=size, should_stop=should_stop)
            _settle(fit, loss=loss, batches=batches, holdout=holdout, should_stop=should_stop)
        yield train_loss


def _settle(
    fit: Fit,
    *,
    loss: Loss,
    batches: Iterator[Batch],
    holdout: Samples | None,
    should_stop: ShouldStop,
) -> None:
    """Leave the weights to keep on the model: the best epoch's, or the average of the late ones.

    Where early stopping watches a holdout, the average must be no worse there.
    """
    if fit.best_weights:
        fit.model.load_state_dict(fit.best_weights)
    with repeatable():
        average = averaged(fit.average, batches)
    if average is None:
        return
    if holdout is not None and fit.best_weights:
        watched = mean_loss(average, holdout, loss, should_stop=should_stop)
        if watched > fit.best_loss:
            return
    fit.model.load_state_dict(average.state_dict())


def _in_order(samples: Samples, *, size: int, should_stop: ShouldStop) -> Iterator[Batch]:
    for index in torch.split(torch.arange(len(samples)), size):
        heed(should_stop)
        yield samples.batch(index, index.to(samples.device))


def _epoch(
    fit: Fit, samples: Samples, config: TrialConfig, loss: Loss, should_stop: ShouldStop
) -> float:
    fit.model.train()
    parameters = list(fit.model.parameters())
    order = epoch_order(samples.host_labels, sampler=config.sampler, power=config.sampler_power)
    device_order = order.to(samples.device)
    total = torch.zeros((), device=samples.device)
    for first in range(0, len(order), config.batch_size):
        heed(should_stop)
        chosen = slice(first, first + config.batch_size)
        batch = augment(samples.batch(order[chosen], device_order[chosen]), config)
        total += _gradient(fit, batch, config, loss) * len(batch.labels)
        if config.gradient_clip is not None:
            nn.utils.clip_grad_norm_(parameters, config.gradient_clip)
        fit.optimizer.step()
        step_batch(fit.schedule)
    mean = float(total) / len(order)
    if not math.isfinite(mean):
        raise NonFiniteLoss(f"the training loss became {mean} in epoch {fit.epoch}")
    # The last step's harm shows in no loss of this epoch.
    if not all(bool(tensor.isfinite().all()) for tensor in fit.model.state_dict().values()):
        raise NonFiniteLoss(f"the weights became infinite or NaN in epoch {fit.epoch}")
    return mean


def _gradient(fit: Fit, batch: Batch, config: TrialConfig, loss: Loss) -> Tensor:
    """Leave the batch's gradient on the parameters; returns its mean loss.

    Where the device runs out of memory, the batch goes through in halves, and halves of these,
    from the random state of the first try. The gradient stays that of the whole batch, class
    weights included. A model with batch normalisation is an exception: it normalises each part by
    the part's own statistics, and has seen the first try's.
    """
    device, count = batch.labels.device, len(batch.labels)
    before = RandomState.capture(device)
    while True:
        fit.optimizer.zero_grad(set_to_none=True)
        size = min(fit.micro_batch or count, count)
        try:
            return _accumulate(fit, batch, config, loss, size)
        except RuntimeError as error:
            fit.micro_batch = halved(size, error)
        before.restore(device)


def _accumulate(fit: Fit, batch: Batch, config: TrialConfig, loss: Loss, size: int) -> Tensor:
    total = torch.zeros((), device=batch.labels.device)
    for first in range(0, len(batch.labels), size):
        part = batch.part(first, first + size)
        with autocast(batch.labels.device, config.precision):
            logits = fit.model(part.values, part.lengths, part.static)
        value = mixed_loss(loss, logits.float(), part, whole=batch)
        total += value.detach()
        value.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
    if config.l1:
        penalty = config.l1 * l1_penalty(fit.model.parameters())
        penalty.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
    return total


def _remember_best(fit: Fit, watched: float) -> None:
    fit.epochs_since_best += 1
    if watched < fit.best_loss:
        fit.best_loss = watched
        fit.best_weights = copy.deepcopy(fit.model.state_dict())
        fit.epochs_since_best = 0
