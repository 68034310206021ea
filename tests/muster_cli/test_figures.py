from __future__ import annotations

import numpy as np
import pytest

from muster_cli.figures import show_estimates
from muster_ensemble.estimate import decide_and_estimate
from muster_ensemble.ledger import Ledger, Truth


def ledger(trials: int) -> Ledger:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    sure = rng.uniform(0.3, 0.9, (trials, 60, 1))
    right = np.eye(2)[labels]
    return Ledger(
        numbers=tuple(range(4, 4 + trials)),
        architectures=("gru",) * trials,
        probabilities=sure * right + (1 - sure) * (1 - right),
        exportable=np.ones(trials, dtype=bool),
        truth=Truth(np.arange(60), labels, np.arange(60) // 2 % 3, None),
        metric="macro_f1",
    )


def test_the_members_and_the_figures_of_each_rule_are_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    some = ledger(6)
    outcome = decide_and_estimate(some, rule="soft")
    show_estimates(some, outcome)
    said = capsys.readouterr().out
    assert f"soft: trials {some.numbers[outcome.choice.members[0]]} gru (" in said
    for text in (
        "nested macro_f1",
        "95 % interval",
        "naive",
        "single",
        f"{outcome.estimate.low:.4f}",
    ):
        assert text in said


def test_one_completed_trial_decides_alone_and_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    alone = ledger(1)
    show_estimates(alone, decide_and_estimate(alone))
    said = capsys.readouterr()
    assert "majority: trials 4 gru (1.00)" in said.out
    assert "one completed trial alone decides; run more trials for an ensemble" in said.err
