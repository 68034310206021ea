"""One trial: trained fold by fold, scored on the out-of-fold predictions."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from muster import losses
from muster.checkpoint import Progress, load_checkpoint, save_checkpoint
from muster.config import TrialConfig
from muster.data.dataset import Dataset
from muster.data.folds import hold_out
from muster.data.preprocess import Preprocessor
from muster.errors import DamagedCheckpoint, Interrupted, NonFiniteLoss, UserError
from muster.fit_state import FitState
from muster.fold_model import FoldModel, input_shape, make_model
from muster.inference import ShouldStop, never, predict_proba
from muster.metrics import score
from muster.samples import Samples
from muster.sampling import add_smote, class_weights
from muster.training import Fit, new_fit, train

# An epoch that took longer is worth a copy of the fit to go back to: 1 % of it or less.
LONG_EPOCH_SECONDS = 1.0


@dataclass(frozen=True)
class EpochReport:
    """One finished epoch, counted from 0.

    score: the metric on the validation fold, NaN in a refit, which has none. fold_scores: of the
    finished folds, this one's included once fold_ended. kept: epochs of training behind the
    weights that early stopping would keep now.
    """

    fold: int
    epoch: int
    train_loss: float
    score: float
    seconds: float
    fold_ended: bool
    fold_scores: tuple[float, ...]
    kept: int


@dataclass(frozen=True)
class TrialResult:
    """What a trial leaves.

    value: the metric over all out-of-fold predictions, NaN in a refit. probabilities:
    (len(dataset), classes), out-of-fold, NaN rows for all that is not validated.
    test_probabilities: (len(test_index), classes), the mean over the fold models. curves: one
    EpochReport each, as plain data. fold_models: FoldModel bytes.
    """

    value: float
    probabilities: NDArray[np.float32]
    test_probabilities: NDArray[np.float32]
    fold_scores: tuple[float, ...]
    curves: list[dict[str, Any]]
    fold_models: tuple[bytes, ...]
    seconds: float


@dataclass(frozen=True)
class _Running:
    """A fold that is trained. samples, holdout: of its training part."""

    preprocessor: Preprocessor
    samples: Samples
    holdout: Samples | None
    fit: Fit


class Evaluation:
    """Cross-validation of one configuration that can stop after any epoch and go on elsewhere.

    folds: (len(dataset),) fold numbers, negative for what is never validated on. resume: bytes of
    checkpoint(), of the same dataset, folds, configuration and metric. Raises DamagedCheckpoint
    for bytes that are not: what this takes, epochs() takes.

    refit: train one model on all sequences that have a fold instead, for so many epochs: those
    that cross-validation found. Nothing is held out then, so that nothing is scored, early
    stopping is off and the plateau schedule looks at the training loss; the other schedules are
    those of the configuration, cut off there.
    """

    def __init__(
        self,
        dataset: Dataset,
        folds: NDArray[np.int64],
        config: TrialConfig,
        *,
        metric: str,
        device: torch.device,
        resume: bytes | None = None,
        refit: int | None = None,
    ) -> None:
        self._dataset = dataset
        self._refit = refit
        # A fold that no sequence is in leaves all of them to train on.
        self._folds = folds if refit is None else np.where(folds >= 0, 1, -1)
        self._last_fold = int(folds.max()) if refit is None else 0
        self._config = config
        self._until = _trained_until(config, refit)
        self._metric = metric
        self._device = device
        # Of the running fold: its fit once an epoch is finished here; the state it was resumed
        # from and later, where epochs are long, the last finished epoch's.
        self._fit: Fit | None = None
        self._state: FitState | None = None
        self._ready: _Running | None = None
        self._progress = Progress.empty(len(dataset), len(dataset.schema.classes))
        if resume is not None:
            self._progress, self._state = load_checkpoint(
                resume, trial=self._trial(), folds=self._folds
            )
            self._check_fold_models()
        if self._state is not None:
            self._ready = self._start(len(self._progress.fold_scores))

    @property
    def micro_batch(self) -> int | None:
        """Windows that go through the device at once, once it has run out of memory."""
        return self._progress.micro_batch

    def epochs(self, *, should_stop: ShouldStop = never) -> Iterator[EpochReport]:
        """Train to the end. Raises NonFiniteLoss.

        Raises Interrupted within an epoch soon after should_stop, which is asked before each
        batch, says so: checkpoint() is then that of the last finished epoch, and epochs() would
        go on from there. Where the epoch before took less than LONG_EPOCH_SECONDS, the running
        one is finished and reported instead.
        """
        try:
            for fold in range(len(self._progress.fold_scores), self._last_fold + 1):
                yield from self._train_fold(fold, should_stop)
        except Interrupted:
            self._fit = None
            raise

    def checkpoint(self) -> bytes:
        """All that is needed to go on from the last report, on any machine."""
        state = self._state
        if state is None and self._fit is not None:
            state = FitState.of(self._fit)
        return save_checkpoint(self._progress, state, trial=self._trial())

    def result(self, *, should_stop: ShouldStop = never) -> TrialResult:
        """What the trial leaves; ask once epochs() has ended. Raises Interrupted, as epochs()."""
        index = np.flatnonzero(self._folds >= 0)
        probabilities = self._progress.probabilities
        return TrialResult(
            value=self._score(index, probabilities[index]) if self._refit is None else math.nan,
            probabilities=probabilities,
            test_probabilities=self._predict_test(should_stop),
            fold_scores=tuple(self._progress.fold_scores),
            curves=self._progress.curves,
            fold_models=tuple(self._progress.fold_models),
            seconds=sum(report["seconds"] for report in self._progress.curves),
        )

    def _trial(self) -> dict[str, Any]:
        """What a checkpoint and the one who resumes from it must agree on."""
        told = {
            "config": self._config.model_dump(mode="json"),
            "metric": self._metric,
            "labels": hashlib.sha256(self._dataset.labels.tobytes()).hexdigest(),
            "folds": hashlib.sha256(self._folds.tobytes()).hexdigest(),
        }
        return told if self._refit is None else told | {"refit": self._refit}

    def _score(self, index: NDArray[np.int64], predicted: NDArray[np.float32]) -> float:
        if not len(index):
            return math.nan
        return score(self._metric, self._dataset.labels[index], predicted)

    def _train_fold(self, fold: int, should_stop: ShouldStop) -> Iterator[EpochReport]:
        started = time.perf_counter()
        dataset, config = self._dataset, self._config
        validated = np.flatnonzero(self._folds == fold)
        running = self._ready or self._start(fold)
        self._ready = None
        fit, preprocessor = running.fit, running.preprocessor
        validation = self._samples(validated, preprocessor) if len(validated) else None

        def is_leaving() -> bool:
            can_go_back = self._fit is None or self._state is not None
            return can_go_back and should_stop()

        for train_loss in train(
            fit,
            running.samples,
            self._until,
            loss=self._loss(self._trained(fold)),
            holdout=running.holdout,
            should_stop=is_leaving,
        ):
            predicted = self._predict(fit, validation, is_leaving)
            if not np.isfinite(predicted).all():
                raise NonFiniteLoss(f"the predictions became NaN in epoch {fit.epoch - 1}")
            value = self._score(validated, predicted)
            fold_ended = fit.is_finished(self._until)
            if fold_ended:
                model = FoldModel(config, input_shape(dataset), preprocessor, fit.model)
                self._progress.end_fold(validated, predicted, value, model.to_bytes())
            report = EpochReport(
                fold=fold,
                epoch=fit.epoch - 1,
                train_loss=train_loss,
                score=value,
                seconds=time.perf_counter() - started,
                fold_ended=fold_ended,
                fold_scores=tuple(self._progress.fold_scores),
                kept=fit.epoch - fit.epochs_since_best,
            )
            self._keep(report, fit)
            yield report
            started = time.perf_counter()

    def _predict(
        self, fit: Fit, validation: Samples | None, should_stop: ShouldStop
    ) -> NDArray[np.float32]:
        if validation is None:
            return self._progress.probabilities[:0]
        predicted = predict_proba(fit.model, validation, should_stop=should_stop).numpy()
        return np.asarray(predicted, dtype=np.float32)

    def _keep(self, report: EpochReport, fit: Fit) -> None:
        """From here on, checkpoint() is that of this epoch's end."""
        # A list, as JSON gives it back: a resumed trial leaves the same curves.
        plain = {**asdict(report), "fold_scores": list(report.fold_scores)}
        if self._refit is not None:
            # JSON has no NaN.
            plain |= {"score": None, "fold_scores": []}
        self._progress.curves.append(plain)
        self._progress.micro_batch = fit.micro_batch
        self._fit = None if report.fold_ended else fit
        is_long = report.seconds > LONG_EPOCH_SECONDS
        self._state = FitState.of(fit) if is_long and not report.fold_ended else None

    def _start(self, fold: int) -> _Running:
        """The fold with a fresh fit, or with the one that was stopped within it."""
        config = self._config
        trained = self._trained(fold)
        held_out = self._hold_out(trained, fold)
        preprocessor = Preprocessor.fit(self._dataset, trained, normalise=config.normalise)
        samples = self._samples(np.setdiff1d(trained, held_out), preprocessor)
        if config.sampler == "smote":
            add_smote(samples, power=config.sampler_power, seed=self._seed(fold) % 2**32)
        holdout = self._samples(held_out, preprocessor) if len(held_out) else None
        # One generator a fold: what other code draws between two epochs changes nothing.
        torch.manual_seed(self._seed(fold))
        model = make_model(config, input_shape(self._dataset), preprocessor)
        fit = new_fit(model.to(self._device), samples, config)
        fit.micro_batch = self._progress.micro_batch
        if self._state is not None:
            self._state.restore(fit, self._until)
        return _Running(preprocessor, samples, holdout, fit)

    def _trained(self, fold: int) -> NDArray[np.int64]:
        return np.flatnonzero((self._folds >= 0) & (self._folds != fold))

    def _check_fold_models(self) -> None:
        for fold, data in enumerate(self._progress.fold_models):
            try:
                made = FoldModel.from_bytes(data)
            except UserError as error:
                raise DamagedCheckpoint(f"the checkpoint is damaged: {error}") from error
            if made.config.architecture != self._config.architecture:
                raise DamagedCheckpoint(f"the checkpoint's model of fold {fold} is another's")

    def _seed(self, fold: int) -> int:
        return fold_seed(self._config.seed, fold)

    def _hold_out(self, trained: NDArray[np.int64], fold: int) -> NDArray[np.int64]:
        is_watched = self._config.patience is not None or self._config.schedule == "plateau"
        if self._refit is not None or not is_watched:
            return trained[:0]
        seed = self._seed(fold) % 2**32
        return hold_out(self._dataset, trained, share=self._config.holdout, seed=seed)

    def _samples(self, index: NDArray[np.int64], preprocessor: Preprocessor) -> Samples:
        return Samples(
            self._dataset,
            index,
            preprocessor,
            window=self._config.window,
            stride=self._config.stride,
            device=self._device,
        )

    def _loss(self, trained: NDArray[np.int64]) -> losses.Loss:
        weight = None
        if self._config.class_weight:
            labels = self._dataset.labels[trained]
            classes = len(self._dataset.schema.classes)
            weights = class_weights(labels, classes=classes, power=self._config.class_weight)
            weight = torch.from_numpy(weights).to(self._device)
        return losses.build(self._config.loss, weight=weight)

    def _predict_test(self, should_stop: ShouldStop) -> NDArray[np.float32]:
        index = self._dataset.test_index
        each = [
            FoldModel.from_bytes(data).predict_proba(
                self._dataset, index, device=self._device, should_stop=should_stop
            )
            for data in self._progress.fold_models
        ]
        return np.asarray(np.mean(each, axis=0), dtype=np.float32)


def _trained_until(config: TrialConfig, refit: int | None) -> TrialConfig:
    """What training ends by; the schedule goes by the configuration itself."""
    if refit is None:
        return config
    return config.model_copy(update={"epochs": refit, "patience": None})


def fold_seed(seed: int, fold: int) -> int:
    """The seed of one fold of a trial, 64 bits."""
    return int(np.random.SeedSequence([seed, fold]).generate_state(1, np.uint64)[0] >> 1)
