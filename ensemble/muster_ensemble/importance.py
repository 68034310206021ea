"""Which parameters made the difference, by Optuna's own estimate."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Literal

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

FEWEST_TRIALS = 5


def parameter_importance(
    trials: Sequence[FrozenTrial], *, direction: Literal["maximize", "minimize"]
) -> tuple[dict[str, float], str | None]:
    """Importance of each parameter, summing to 1, largest first; or nothing and the reason why.

    PED-ANOVA (Watanabe et al., 2023), which also ranks parameters of one architecture alone.
    """
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if len(complete) < FEWEST_TRIALS:
        return {}, (
            f"{len(complete)} completed trials are too few to tell; it takes {FEWEST_TRIALS}."
        )
    if len({trial.value for trial in complete}) == 1:
        return {}, "All completed trials have the same value."
    if not any(trial.params for trial in complete):
        return {}, "The search space leaves nothing to choose."
    study = optuna.create_study(direction=direction)
    study.add_trials(complete)
    with warnings.catch_warnings():
        # It warns of parameters that few trials had; the report says so once for all of them.
        warnings.simplefilter("ignore", UserWarning)
        return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator()), None
