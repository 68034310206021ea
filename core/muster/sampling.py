"""How much each class counts in training: weights of the loss, and what an epoch draws."""

from __future__ import annotations

import logging

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from muster.samples import Samples

log = logging.getLogger(__name__)

SMOTE_NEIGHBOURS = 5
# Of fewer windows there is nothing to mix.
SMOTE_FEWEST = 2


def class_weights(labels: NDArray[np.int64], *, classes: int, power: float) -> NDArray[np.float32]:
    """(classes,) weights: the inverse class frequency to this power, 1 on average over labels.

    power 0 counts every sequence alike, power 1 every class alike (King & Zeng, 2001). A class
    without a label gets the weight 0.
    """
    counts = np.bincount(labels, minlength=classes).astype(np.float64)
    present = counts > 0
    weights = np.zeros(classes)
    weights[present] = (len(labels) / counts[present]) ** power
    return np.asarray(weights * len(labels) / (weights * counts).sum(), dtype=np.float32)


def wanted_counts(counts: NDArray[np.int64], *, power: float) -> NDArray[np.int64]:
    """(classes,) windows of each class after oversampling: none less, none more than the largest.

    power 0 leaves the counts, power 1 makes all equal; a class without windows stays without.
    """
    ratio = counts.max() / np.maximum(counts, 1)
    return np.asarray(np.round(counts * ratio**power), dtype=np.int64)


def epoch_order(labels: Tensor, *, sampler: str, power: float) -> Tensor:
    """Positions of the windows of one epoch, shuffled, drawn from torch's state on the host.

    labels: (windows,) int64 on the host. weighted: as many as there are, with replacement, by
    class weights of this power. oversample: each once, and the rarer classes' again up to
    wanted_counts. Otherwise each once; the windows that smote adds are among them.
    """
    if sampler == "weighted":
        classes = int(labels.max()) + 1
        weights = class_weights(labels.numpy(), classes=classes, power=power)
        # Unlike torch.multinomial, without a limit on the number of windows.
        edges = torch.from_numpy(weights).double()[labels].cumsum(0)
        drawn = torch.rand(len(labels), dtype=torch.float64) * edges[-1]
        return torch.searchsorted(edges, drawn, right=True).clamp(max=len(labels) - 1)
    positions = torch.arange(len(labels))
    if sampler == "oversample":
        counts = torch.bincount(labels).numpy()
        extra = wanted_counts(counts, power=power) - counts
        parts = [positions]
        for code in np.flatnonzero(extra):
            members = positions[labels == code]
            parts.append(members[torch.randint(len(members), (int(extra[code]),))])
        positions = torch.cat(parts)
    return positions[torch.randperm(len(positions))]


def epoch_windows(labels: Tensor, *, sampler: str, power: float) -> int:
    """How many positions epoch_order gives."""
    if sampler != "oversample":
        return len(labels)
    return int(wanted_counts(torch.bincount(labels).numpy(), power=power).sum())


def add_smote(samples: Samples, *, power: float, seed: int) -> None:
    """Add mixtures of near windows of the rarer classes to samples (SMOTE, Chawla et al., 2002).

    Full windows alone are mixed, statics along with values, up to wanted_counts of them; a class
    with fewer than two has its windows repeated instead, which is logged. samples: of a training
    fold, nothing else. seed: 32 bits.
    """
    labels = samples.host_labels.numpy()
    counts = np.bincount(labels)
    full = np.flatnonzero(samples.host_lengths.numpy() == samples.steps)
    full_counts = np.bincount(labels[full], minlength=len(counts))
    wanted = wanted_counts(full_counts, power=power)
    rng = np.random.default_rng(seed)
    repeated = wanted_counts(counts, power=power) - counts
    for code in np.flatnonzero((counts > 0) & (full_counts < SMOTE_FEWEST)):
        log.warning(
            "smote: class %d has %d window(s) of full length in this training fold, too few to "
            "mix; its windows are repeated instead",
            code,
            full_counts[code],
        )
        members = np.flatnonzero(labels == code)
        samples.repeat(torch.from_numpy(rng.choice(members, int(repeated[code]))))
    mixed = np.flatnonzero((full_counts >= SMOTE_FEWEST) & (wanted > full_counts))
    if len(mixed):
        _add_mixtures(samples, full, {int(code): int(wanted[code]) for code in mixed}, seed=seed)


def _add_mixtures(
    samples: Samples, full: NDArray[np.int64], wanted: dict[int, int], *, seed: int
) -> None:
    """wanted: windows at full of each class, the added ones included."""
    # Its import takes more than a second, which other searches should not pay.
    from imblearn.over_sampling import SMOTE  # noqa: PLC0415

    index = torch.from_numpy(full)
    batch = samples.batch(index, index.to(samples.device))
    flat = torch.cat([batch.values.flatten(1), batch.static], dim=1).cpu().numpy()
    labels = batch.labels.cpu().numpy()
    counts = np.bincount(labels)
    for neighbours in sorted({min(SMOTE_NEIGHBOURS, counts[code] - 1) for code in wanted}):
        chosen = {
            code: count
            for code, count in wanted.items()
            if min(SMOTE_NEIGHBOURS, counts[code] - 1) == neighbours
        }
        smote = SMOTE(sampling_strategy=chosen, k_neighbors=int(neighbours), random_state=seed)
        made, codes = smote.fit_resample(flat, labels)
        # What was given comes first.
        new = torch.from_numpy(np.asarray(made[len(flat) :], dtype=np.float32))
        size = batch.values[0].numel()
        samples.add(
            new[:, :size].reshape(len(new), samples.steps, -1),
            new[:, size:],
            torch.from_numpy(np.asarray(codes[len(flat) :], dtype=np.int64)),
        )
