"""One fit: stops early, clips, penalises, and gives up by name."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from learning import CPU, make_config, make_dataset, make_samples
from muster import losses, models, training
from muster.config import Choice, TrialConfig
from muster.data.preprocess import Preprocessor
from muster.errors import NonFiniteLoss
from muster.inference import mean_loss, predict_proba
from muster.losses import Loss
from muster.models.base import InputShape, Model
from muster.models.recurrent import Gru
from muster.samples import Samples
from muster.training import Fit, RandomState, new_fit, train

SHAPE = InputShape(channels=2, static_features=1, classes=3)
LOSS = losses.build(Choice(name="cross_entropy"), weight=None)


def make_fit(config: TrialConfig, samples: Samples | None = None) -> Fit:
    torch.manual_seed(0)
    model = models.build(config.architecture, SHAPE, dropout=config.dropout)
    return new_fit(model, samples or make_samples(make_dataset()), config)


def run(config: TrialConfig, samples: Samples, **changes: Any) -> tuple[Fit, list[float]]:
    fit = make_fit(config, samples)
    return fit, list(train(fit, samples, config, loss=LOSS, **changes))


def norm(model: Model) -> float:
    return float(sum(p.detach().abs().sum() for p in model.parameters() if p.dim() > 1))


def test_all_epochs_are_trained_without_patience() -> None:
    fit, train_losses = run(make_config(epochs=5), make_samples(make_dataset()))
    assert len(train_losses) == fit.epoch == 5
    assert fit.best_weights == {}
    assert train_losses[-1] < train_losses[0]


def test_early_stopping_restores_the_best_weights() -> None:
    dataset = make_dataset()
    index = dataset.train_index
    # The holdout's labels are wrong, so that its loss soon rises.
    wrong = replace(dataset, labels=(dataset.labels + 1) % 3)
    samples, holdout = make_samples(dataset, index[5:]), make_samples(wrong, index[:5])
    config = make_config("cnn", epochs=30, patience=3, learning_rate=0.05)
    fit = make_fit(config)
    watched: list[float] = []
    weights: list[dict[str, Tensor]] = []
    for _ in train(fit, samples, config, loss=LOSS, holdout=holdout):
        if not fit.is_finished(config):
            watched.append(mean_loss(fit.model, holdout, LOSS))
            weights.append({k: v.clone() for k, v in fit.model.state_dict().items()})
    best = int(np.argmin(watched))
    assert fit.epoch == best + 1 + config.patience < config.epochs
    assert fit.best_loss == watched[best]
    assert mean_loss(fit.model, holdout, LOSS) == watched[best]
    assert all(torch.equal(weights[best][k], v) for k, v in fit.model.state_dict().items())


def test_the_best_weights_are_kept_when_the_epochs_run_out_too() -> None:
    dataset = make_dataset()
    wrong = replace(dataset, labels=(dataset.labels + 1) % 3)
    config = make_config(epochs=4, patience=50, learning_rate=0.1)
    holdout = make_samples(wrong)
    fit, _ = run(config, make_samples(dataset), holdout=holdout)
    assert fit.epoch == 4
    assert mean_loss(fit.model, holdout, LOSS) == fit.best_loss


def test_a_plateau_lowers_the_learning_rate() -> None:
    dataset = make_dataset()
    wrong = replace(dataset, labels=(dataset.labels + 1) % 3)
    config = make_config(
        epochs=8, schedule="plateau", plateau_patience=0, plateau_factor=0.5, learning_rate=0.1
    )
    fit, _ = run(config, make_samples(dataset), holdout=make_samples(wrong))
    rate = fit.optimizer.param_groups[0]["lr"]
    assert rate < 0.1
    assert math.log2(0.1 / rate) == pytest.approx(round(math.log2(0.1 / rate)))


def test_a_cosine_ends_at_zero() -> None:
    config = make_config(epochs=4, schedule="cosine")
    fit, _ = run(config, make_samples(make_dataset()))
    assert fit.optimizer.param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-12)


def test_an_l1_penalty_shrinks_the_weights_and_stays_out_of_the_reported_loss() -> None:
    samples = make_samples(make_dataset())
    plain, plain_losses = run(make_config(epochs=10), samples)
    shrunk, shrunk_losses = run(make_config(epochs=10, l1=0.1), samples)
    assert norm(shrunk.model) < 0.7 * norm(plain.model)
    # One batch: both report the loss of the same fresh weights.
    whole = make_config(epochs=1, batch_size=100)
    assert run(whole, samples)[1] == run(whole.model_copy(update={"l1": 5.0}), samples)[1]
    assert all(map(math.isfinite, plain_losses + shrunk_losses))


@pytest.mark.parametrize("limit", [1e-3, 0.5])
def test_gradients_are_clipped_to_the_limit(limit: float, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config(gradient_clip=limit, epochs=1)
    fit = make_fit(config)
    seen: list[float] = []
    step = fit.optimizer.step

    def watched_step() -> None:
        gradients = [p.grad.flatten() for p in fit.model.parameters() if p.grad is not None]
        seen.append(float(torch.cat(gradients).norm()))
        step()

    monkeypatch.setattr(fit.optimizer, "step", watched_step)
    list(
        train(
            fit, make_samples(make_dataset()), config, loss=Loss(lambda *a: LOSS.total(*a) * 100)
        )
    )
    assert seen
    assert all(value <= limit * 1.001 for value in seen)
    assert max(seen) == pytest.approx(limit, rel=0.01)


@pytest.mark.parametrize("architecture", ["cnn", "cnn_gru", "gru"])
@pytest.mark.parametrize(("sequences", "batch_size"), [(9, 4), (4, 1), (1, 8)])
@pytest.mark.parametrize(("shortest", "longest"), [(3, 6), (1, 1), (1, 2)])
def test_a_batch_of_one_is_trained_on(
    architecture: str, sequences: int, batch_size: int, shortest: int, longest: int
) -> None:
    dataset = make_dataset(sequences, tests=0, shortest=shortest, longest=longest)
    config = make_config(architecture, batch_size=batch_size)
    fit, train_losses = run(config, make_samples(dataset))
    assert all(map(math.isfinite, train_losses))
    assert all(tensor.isfinite().all() for tensor in fit.model.state_dict().values())


def test_batches_of_one_learn() -> None:
    dataset = make_dataset(6, tests=0)
    _, train_losses = run(make_config(batch_size=1, epochs=6), make_samples(dataset))
    assert train_losses[-1] < train_losses[0]
    assert train_losses[0] > 0.0


def test_every_window_is_trained_on_once_an_epoch() -> None:
    samples = make_samples(make_dataset(10, tests=0), window=3, stride=2)
    config = make_config(epochs=2, batch_size=4)
    sizes: list[int] = []

    def counting(logits: Tensor, labels: Tensor) -> Tensor:
        sizes.append(len(labels))
        return LOSS.total(logits, labels)

    list(train(make_fit(config), samples, config, loss=Loss(counting)))
    assert sum(sizes) == 2 * len(samples)
    assert max(sizes) == 4


def test_a_loss_that_is_no_number_ends_training_by_name() -> None:
    config = make_config("cnn")

    def broken(logits: Tensor, labels: Tensor) -> Tensor:
        return LOSS.total(logits, labels) * math.nan

    with pytest.raises(NonFiniteLoss, match="nan in epoch 0"):
        list(train(make_fit(config), make_samples(make_dataset()), config, loss=Loss(broken)))


@pytest.mark.parametrize("architecture", ["cnn", "gru"])
def test_infinite_data_ends_training_by_name(architecture: str) -> None:
    dataset = make_dataset()
    preprocessor = Preprocessor.fit(dataset, dataset.train_index, normalise="standard")
    values = dataset.values.copy()
    values[3] = np.inf
    samples = Samples(
        replace(dataset, values=values),
        dataset.train_index,
        preprocessor,
        window=None,
        stride=None,
        device=CPU,
    )
    config = make_config(architecture)
    with pytest.raises(NonFiniteLoss, match="epoch"):
        list(train(make_fit(config), samples, config, loss=LOSS))


def test_a_sequence_is_scored_by_the_mean_of_its_windows() -> None:
    dataset = make_dataset(6, tests=0, shortest=3, longest=9)
    samples = make_samples(dataset, window=4, stride=2)
    model = make_fit(make_config()).model
    predicted = predict_proba(model, samples)
    assert predicted.shape == (6, 3)
    everything = torch.arange(len(samples))
    batch = samples.batch(everything, everything)
    with torch.inference_mode():
        windows = model.eval()(batch.values, batch.lengths, batch.static).softmax(dim=1)
    for sequence in range(6):
        expected = windows[samples.sequence == sequence].mean(dim=0)
        torch.testing.assert_close(predicted[sequence], expected)


def test_more_windows_than_an_evaluation_batch_are_all_scored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    samples = make_samples(make_dataset(), window=3, stride=1)
    model = make_fit(make_config("cnn")).model
    whole, whole_loss = predict_proba(model, samples), mean_loss(model, samples, LOSS)
    monkeypatch.setattr("muster.inference.EVALUATION_BATCH", 7)
    torch.testing.assert_close(predict_proba(model, samples), whole)
    assert mean_loss(model, samples, LOSS) == pytest.approx(whole_loss, rel=1e-5)


def test_evaluating_draws_no_random_number_and_drops_nothing() -> None:
    samples = make_samples(make_dataset())
    model = make_fit(make_config(dropout=0.9)).model.train()
    before = torch.get_rng_state()
    assert torch.equal(predict_proba(model, samples), predict_proba(model, samples))
    assert torch.equal(torch.get_rng_state(), before)


class Spy(Gru):
    """Notes cuDNN's settings at each call."""

    seen: ClassVar[list[tuple[bool, bool, bool, bool]]] = []

    def forward(self, values: Tensor, lengths: Tensor | None, static: Tensor) -> Tensor:
        cudnn = torch.backends.cudnn
        self.seen.append((self.training, cudnn.enabled, cudnn.benchmark, cudnn.deterministic))
        return super().forward(values, lengths, static)


def test_cudnn_is_used_and_always_picks_the_same_algorithm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Spy, "seen", [])
    samples, config = make_samples(make_dataset()), make_config(epochs=1)
    fit = new_fit(Spy(SHAPE, hidden=4), samples, config)
    with torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=False):
        list(train(fit, samples, config, loss=LOSS, holdout=samples))
        predict_proba(fit.model, samples)
        assert torch.backends.cudnn.benchmark
    assert set(Spy.seen) == {(True, True, False, True), (False, True, False, True)}


def test_a_random_state_is_restored_to_the_bit() -> None:
    state = RandomState.capture(CPU)
    first = torch.rand(4)
    state.restore(CPU)
    assert torch.equal(torch.rand(4), first)
    assert state.device is None


@pytest.mark.parametrize("architecture", ["cnn", "gru", "lstm", "rnn", "cnn_gru"])
def test_bfloat16_trains_to_about_the_same_and_predicts_in_float32(architecture: str) -> None:
    samples = make_samples(make_dataset())
    _, plain = run(make_config(architecture, epochs=4), samples)
    fit, halved = run(make_config(architecture, epochs=4, precision="bfloat16"), samples)
    assert halved == pytest.approx(plain, abs=0.1)
    assert {p.dtype for p in fit.model.parameters()} == {torch.float32}
    assert predict_proba(fit.model, samples).dtype == torch.float32


def test_bfloat16_computes_in_bfloat16() -> None:
    samples = make_samples(make_dataset())
    _, plain = run(make_config("cnn"), samples)
    _, halved = run(make_config("cnn", precision="bfloat16"), samples)
    assert plain != halved


def test_a_device_without_bfloat16_trains_in_float32_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    training.say_float32.cache_clear()
    samples = make_samples(make_dataset())
    _, plain = run(make_config("cnn"), samples)
    for module in ("training", "inference"):
        monkeypatch.setattr(f"muster.{module}.has_bfloat16", lambda device: False)
    _, fallen_back = run(make_config("cnn", precision="bfloat16"), samples)
    assert fallen_back == plain
    run(make_config("cnn", precision="bfloat16", epochs=1), samples)
    assert caplog.text.count("cpu has no bfloat16") == 1
