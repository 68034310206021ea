"""A trial of any architecture ends the same to the bit wherever it was resumed."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch

from learning import assert_same_result, evaluate, make_dataset, start
from muster import models
from muster.config import Choice, TrialConfig

SMALL = {"hidden": 4, "channels": 4}
SAMPLERS = get_args(TrialConfig.model_fields["sampler"].annotation)


def make_config(name: str, **changes: Any) -> TrialConfig:
    """Two epochs of dropout, of a model as small as its options allow."""
    options = {
        option: size
        for option, size in SMALL.items()
        if not models.check_options(name, {option: size})
    }
    facts: dict[str, Any] = {"dropout": 0.3, "batch_size": 8, "epochs": 2, "class_weight": 0.5}
    return TrialConfig(architecture=Choice(name=name, options=options), **(facts | changes))


@pytest.mark.parametrize(
    ("name", "sampler"),
    # A sampler draws from the same random state whatever it feeds.
    [(name, "none") for name in models.ARCHITECTURES]
    + [(name, each) for name in ("gru", "cnn") for each in SAMPLERS if each != "none"],
)
def test_a_trial_resumed_after_every_epoch_ends_the_same_to_the_bit(
    name: str, sampler: str
) -> None:
    dataset, config = make_dataset(16, tests=2), make_config(name, sampler=sampler)
    undisturbed = evaluate(dataset, config)
    checkpoint: bytes | None = None
    for _ in undisturbed.curves:
        torch.manual_seed(99)
        evaluation = start(dataset, config, resume=checkpoint)
        next(evaluation.epochs())
        checkpoint = evaluation.checkpoint()
    assert_same_result(evaluate(dataset, config, resume=checkpoint), undisturbed)
