"""The averaged weights are the mean of the late epochs' weights, kept where they are no worse."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from learning import make_config, make_dataset, make_samples
from muster import losses, models
from muster.config import Choice, TrialConfig
from muster.inference import mean_loss
from muster.models.base import InputShape
from muster.samples import Samples
from muster.training import Fit, new_fit, train

SHAPE = InputShape(channels=2, static_features=1, classes=3)
LOSS = losses.build(Choice(name="cross_entropy"), weight=None)


def trained(
    config: TrialConfig, *, holdout: Samples | None = None
) -> tuple[Fit, list[dict[str, Tensor]]]:
    """The fit, and its weights at the end of each epoch."""
    torch.manual_seed(0)
    samples = make_samples(make_dataset())
    fit = new_fit(models.build(config.architecture, SHAPE, dropout=0.0), samples, config)
    weights = []
    for _ in train(fit, samples, config, loss=LOSS, holdout=holdout):
        weights.append({name: each.clone() for name, each in fit.model.state_dict().items()})
    return fit, weights


@pytest.mark.parametrize(
    ("swa_start", "averaged_epochs"), [(0.01, [1, 2, 3]), (0.5, [2, 3]), (0.99, [3])]
)
def test_the_weights_of_the_late_epochs_are_averaged(
    swa_start: float, averaged_epochs: list[int]
) -> None:
    _, plain = trained(make_config(epochs=4))
    fit, weights = trained(make_config(epochs=4, swa_start=swa_start))
    assert all(torch.equal(plain[2][name], each) for name, each in weights[2].items())
    for name, each in fit.model.state_dict().items():
        mean = torch.stack([plain[epoch][name] for epoch in averaged_epochs]).mean(dim=0)
        torch.testing.assert_close(each, mean)


def test_the_statistics_of_the_normalisation_are_those_of_the_averaged_weights() -> None:
    config = make_config("cnn", epochs=4, swa_start=0.1, batch_size=100)
    fit, _ = trained(config)
    samples = make_samples(make_dataset())
    index = torch.arange(len(samples))
    batch = samples.batch(index, index)
    block = fit.model.get_submodule("blocks.0")
    convolved = block.get_submodule("convolution")(batch.values.transpose(1, 2))
    assert batch.lengths is not None
    valid = torch.arange(samples.steps) < batch.lengths[:, None]
    steps = convolved.transpose(1, 2)[valid]
    norm = block.get_submodule("normalisation")
    torch.testing.assert_close(norm.running_mean, steps.mean(dim=0))
    torch.testing.assert_close(norm.running_var, steps.var(dim=0))


def test_the_best_epoch_is_kept_where_the_average_is_worse_on_the_holdout() -> None:
    dataset = make_dataset()
    # The holdout's labels are wrong, so that its loss soon rises, and the average's with it.
    wrong = make_samples(replace(dataset, labels=(dataset.labels + 1) % 3))
    config = make_config(epochs=6, patience=50, learning_rate=0.1, swa_start=0.6)
    fit, _ = trained(config, holdout=wrong)
    assert mean_loss(fit.model, wrong, LOSS) == fit.best_loss


def test_the_average_is_kept_where_it_is_better_on_the_holdout() -> None:
    holdout = make_samples(make_dataset(seed=1))
    config = make_config("cnn", epochs=8, patience=50, learning_rate=0.3, swa_start=0.4)
    fit, _ = trained(config, holdout=holdout)
    assert mean_loss(fit.model, holdout, LOSS) < fit.best_loss
