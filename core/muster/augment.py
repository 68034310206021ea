"""Changes that leave a window's class as it is, drawn anew for each training batch.

All of them leave the zeros behind a window's end, and draw from torch's random state.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.distributions import Beta

from muster.config import TrialConfig
from muster.losses import Loss
from muster.samples import Batch

# Between two of them a window runs at one random speed.
WARP_KNOTS = 4


def augment(batch: Batch, config: TrialConfig) -> Batch:
    """The batch as the configuration changes it; the same object where it asks for nothing.

    jitter, scaling, mirrored axes and time warping follow Um et al. (2017).
    """
    values = batch.values
    if config.time_warp:
        values = time_warp(values, batch.lengths, deviation=config.time_warp)
    if config.scaling:
        values = values * (1.0 + config.scaling * _randn(values, steps=1))
    if config.mirror:
        is_flipped = torch.rand_like(values[:, :1]) < config.mirror
        values = torch.where(is_flipped, -values, values)
    if config.jitter:
        noise = config.jitter * torch.randn_like(values)
        values = values + _zero_behind(noise, batch.lengths)
    if values is not batch.values:
        batch = replace(batch, values=values)
    return mixup(batch, alpha=config.mixup) if config.mixup else batch


def mixup(batch: Batch, *, alpha: float) -> Batch:
    """Each window mixed with another of the batch (Zhang et al., 2018).

    One share for the batch, from Beta(alpha, alpha). A mixture is as long as the longer one.
    """
    share = float(Beta(alpha, alpha).sample())
    order = torch.randperm(len(batch.labels)).to(batch.labels.device)
    lengths = batch.lengths
    return Batch(
        values=share * batch.values + (1.0 - share) * batch.values[order],
        lengths=None if lengths is None else torch.maximum(lengths, lengths[order]),
        static=share * batch.static + (1.0 - share) * batch.static[order],
        labels=batch.labels,
        partners=batch.labels[order],
        share=share,
    )


def mixed_loss(loss: Loss, logits: Tensor, part: Batch, *, whole: Batch) -> Tensor:
    """What a part of a batch adds to the loss of the whole, by the shares of mixed labels."""
    value = loss.total(logits, part.labels) / loss.mass(whole.labels)
    if part.partners is None or whole.partners is None:
        return value
    other = loss.total(logits, part.partners) / loss.mass(whole.partners)
    return part.share * value + (1.0 - part.share) * other


def time_warp(values: Tensor, lengths: Tensor | None, *, deviation: float) -> Tensor:
    """Windows that run faster here and slower there; first and last step stay in place.

    values: (batch, steps, channels). deviation: of the logarithm of the speed.
    """
    batch, steps, _ = values.shape
    if lengths is None:
        lengths = torch.full((batch,), steps, device=values.device)
    last = (lengths - 1)[:, None].to(values.dtype)
    step = torch.arange(steps, device=values.device, dtype=values.dtype)[None]
    # Where each step lies between the first and the last knot.
    place = (step / last.clamp(min=1)).clamp(max=1.0) * (WARP_KNOTS - 1)
    speeds = torch.exp(deviation * _randn(values, steps=1, channels=WARP_KNOTS - 1)[:, 0])
    ways = [torch.zeros_like(speeds[:, 0])]
    # A sum over all steps on a GPU would depend on the order of the threads.
    for speed in speeds.unbind(dim=1):
        ways.append(ways[-1] + speed)
    share = torch.stack(ways, dim=1) / ways[-1][:, None]
    warped = _between(share[..., None], place)[..., 0] * last
    return _zero_behind(_between(values, torch.minimum(warped, last)), lengths)


def _between(values: Tensor, place: Tensor) -> Tensor:
    """values (batch, points, features) at fractional points, place (batch, n), interpolated."""
    lower = place.floor().long().clamp(0, values.shape[1] - 1)
    upper = (lower + 1).clamp(max=values.shape[1] - 1)
    share = (place - lower)[..., None]
    shape = (*place.shape, values.shape[2])
    below = values.gather(1, lower[..., None].expand(shape))
    above = values.gather(1, upper[..., None].expand(shape))
    return below + share * (above - below)


def _randn(values: Tensor, *, steps: int, channels: int | None = None) -> Tensor:
    """Standard normal numbers (batch, steps, channels) where values lie."""
    size = (values.shape[0], steps, channels or values.shape[2])
    return torch.randn(size, device=values.device, dtype=values.dtype)


def _zero_behind(values: Tensor, lengths: Tensor | None) -> Tensor:
    if lengths is None:
        return values
    steps = torch.arange(values.shape[1], device=values.device)
    return values.masked_fill((steps >= lengths[:, None])[..., None], 0.0)
