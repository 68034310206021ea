"""Members trained again on all labelled data, in place of their fold models.

The mean of k fold models has seen all data, but each of them 1/k less; one model that was trained
on everything costs a k-th to predict with. Which of them is better is not known beforehand, since
nothing is left to compare them on: the estimate stays that of the trials.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np
from optuna.trial import TrialState
from sqlalchemy import Engine

from muster.errors import UserError
from muster_db import blobs
from muster_db.contract import Refit
from muster_db.refits import Job
from muster_db.study import Study
from muster_ensemble.ledger import blob_names, load_trials
from muster_ensemble.select import Candidate

WEIGHTS = "fold0"


def jobs_of(members: Sequence[Candidate]) -> list[Job]:
    """What to train again: each member for the epochs that its folds found."""
    return [
        Job(
            Refit(trial=member.number, value=member.value, epochs=epochs_of(member)),
            member.params,
        )
        for member in members
    ]


def epochs_of(member: Candidate) -> int:
    """The median over the folds of the epochs behind the weights that each fold kept.

    They are not scaled by the larger training part: an epoch over more data has more steps.
    Raises UserError where the curves do not say.
    """
    kept: defaultdict[int, int] = defaultdict(int)
    for report in member.curves:
        # Trials of before this was noted: all epochs of a fold, less those without a better loss.
        waited = member.config.patience or 0
        ended_early = report["epoch"] + 1 < member.config.epochs
        guess = report["epoch"] + 1 - (waited if ended_early else 0)
        if report["fold_ended"]:
            kept[report["fold"]] = report.get("kept", max(guess, 1))
    if not kept:
        raise UserError(f"trial {member.number}: no fold has ended, so it cannot be refitted")
    return max(1, round(median(kept.values())))


def refitted(engine: Engine, refits: Study, members: Sequence[Candidate]) -> list[Candidate]:
    """The members with the weights and test predictions of their refits, in the same order.

    refits: of open_refits for jobs_of these members, told. Raises UserError, which says why,
    where one could not be trained.
    """
    told, names = load_trials(engine, refits), blob_names(engine, refits)
    failed = [
        f"trial {member.number} ({trial.state.name.lower()})"
        for member, trial in zip(members, told, strict=True)
        if trial.state != TrialState.COMPLETE
    ]
    if failed:
        raise UserError(
            f"study {refits.name}: cannot be trained again: {', '.join(failed)}; see why in the "
            "dashboard, or vote without --refit"
        )
    return [
        replace(
            member,
            test=_array(blobs.get(engine, names[number]["test"])),
            weights={WEIGHTS: names[number][WEIGHTS]},
        )
        for number, member in enumerate(members)
    ]


def _array(data: bytes) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.asarray(np.load(io.BytesIO(data), allow_pickle=False), dtype=np.float32)
