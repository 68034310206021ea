"""A trial stops in mid-epoch and loses the running epoch at most."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event

import pytest

from learning import assert_same_result, evaluate, make_config, make_dataset, start
from muster.config import TrialConfig
from muster.errors import Interrupted
from muster.evaluation import Evaluation

DATASET = make_dataset()
CONFIGS: dict[str, TrialConfig] = {
    "gru": make_config(epochs=2, dropout=0.4, options={"layers": 2}),
    "one cycle, averaged, mixed": make_config(
        "cnn", epochs=3, schedule="one_cycle", swa_start=0.3, mixup=0.3, sampler="oversample"
    ),
    "cnn": make_config(
        "cnn", epochs=3, dropout=0.3, patience=1, schedule="plateau", plateau_patience=0
    ),
    "averaged": make_config(
        "cnn", epochs=2, patience=2, swa_start=0.1, schedule="one_cycle", mixup=0.4, jitter=0.1
    ),
}
every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())


@pytest.fixture
def long_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every epoch counts as long."""
    monkeypatch.setattr("muster.evaluation.LONG_EPOCH_SECONDS", 0.0)


@dataclass
class Asked:
    """Says stop from the so manieth time on."""

    patience: int
    times: int = 0

    def __call__(self) -> bool:
        self.times += 1
        return self.times > self.patience


def interrupted_at(
    asked: Callable[[], bool], config: TrialConfig, *, resume: bytes | None = None
) -> tuple[Evaluation, list[bytes]]:
    """The evaluation after it was interrupted, and its checkpoint at each report."""
    evaluation = start(DATASET, config, resume=resume)
    checkpoints: list[bytes] = []
    with pytest.raises(Interrupted):
        for _ in evaluation.epochs(should_stop=asked):
            checkpoints.append(evaluation.checkpoint())
    return evaluation, checkpoints


def asks(config: TrialConfig) -> int:
    """How often a whole trial is asked whether to stop."""
    asked = Asked(10**9)
    for _ in start(DATASET, config).epochs(should_stop=asked):
        pass
    return asked.times


def asks_of_the_longest_epoch(config: TrialConfig) -> int:
    """How often it is asked at most between two reports."""
    asked = Asked(10**9)
    times = [0]
    for _ in start(DATASET, config).epochs(should_stop=asked):
        times.append(asked.times)
    return max(after - before for before, after in itertools.pairwise(times))


@pytest.mark.usefixtures("long_epochs")
@every_config
def test_a_trial_interrupted_before_any_batch_ends_the_same_to_the_bit(
    config: TrialConfig,
) -> None:
    undisturbed = evaluate(DATASET, config)
    times = asks(config)
    assert times > 2 * len(undisturbed.curves)
    lengths = set()
    for patience in range(times):
        evaluation, checkpoints = interrupted_at(Asked(patience), config)
        fresh = start(DATASET, config).checkpoint()
        # Nothing of the running epoch, everything of those before it.
        assert evaluation.checkpoint() == (checkpoints or [fresh])[-1]
        if len(checkpoints) not in lengths:
            resumed = evaluate(DATASET, config, resume=evaluation.checkpoint())
            assert_same_result(resumed, undisturbed)
        lengths.add(len(checkpoints))
    assert lengths == set(range(len(undisturbed.curves)))


@pytest.mark.usefixtures("long_epochs")
@every_config
def test_a_trial_that_is_interrupted_again_and_again_ends_the_same(config: TrialConfig) -> None:
    checkpoint: bytes | None = None
    attempts = 0
    # Enough to be asked in one epoch, never in two.
    patience = asks_of_the_longest_epoch(config)
    while attempts < 10:
        evaluation = start(DATASET, config, resume=checkpoint)
        try:
            for _ in evaluation.epochs(should_stop=Asked(patience)):
                pass
            break
        except Interrupted:
            checkpoint = evaluation.checkpoint()
            attempts += 1
    assert attempts > 2
    assert_same_result(evaluation.result(), evaluate(DATASET, config))


@pytest.mark.usefixtures("long_epochs")
def test_an_attempt_interrupted_in_its_first_epoch_keeps_what_it_was_resumed_from() -> None:
    config = CONFIGS["gru"]
    first, _ = interrupted_at(Asked(4), config)
    again, reports = interrupted_at(Asked(1), config, resume=first.checkpoint())
    assert reports == []
    assert again.checkpoint() == first.checkpoint()


@pytest.mark.usefixtures("long_epochs")
def test_an_interrupted_evaluation_goes_on_itself() -> None:
    config = CONFIGS["cnn"]
    evaluation, _ = interrupted_at(Asked(4), config)
    for _ in evaluation.epochs():
        pass
    assert_same_result(evaluation.result(), evaluate(DATASET, config))


def test_a_short_epoch_is_finished_and_reported() -> None:
    config = CONFIGS["gru"].model_copy(update={"epochs": 3})
    evaluation, stop = start(DATASET, config), Event()
    epochs = evaluation.epochs(should_stop=stop.is_set)
    next(epochs)
    stop.set()
    assert next(epochs).epoch == 1
    resumed = evaluate(DATASET, config, resume=evaluation.checkpoint())
    assert_same_result(resumed, evaluate(DATASET, config))


def test_predicting_the_test_part_is_interrupted_too() -> None:
    config = CONFIGS["gru"]
    evaluation = start(DATASET, config)
    for _ in evaluation.epochs():
        pass
    with pytest.raises(Interrupted):
        evaluation.result(should_stop=lambda: True)
    resumed = start(DATASET, config, resume=evaluation.checkpoint())
    assert list(resumed.epochs()) == []
    assert_same_result(resumed.result(), evaluation.result())


def test_a_trial_that_nobody_stops_is_not_changed_by_being_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = CONFIGS["cnn"]
    plain = evaluate(DATASET, config)
    monkeypatch.setattr("muster.evaluation.LONG_EPOCH_SECONDS", 0.0)
    evaluation = start(DATASET, config)
    for _ in evaluation.epochs(should_stop=lambda: False):
        pass
    assert_same_result(evaluation.result(), plain)
