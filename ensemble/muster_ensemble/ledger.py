"""The ledger: every completed trial's out-of-fold probabilities, to choose and estimate by.

It needs neither a GPU nor torch, and of the dataset the labels and groups alone.
"""

from __future__ import annotations

import hashlib
import io
import logging
import zipfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, Engine, select

from muster.data.dataset import Dataset
from muster.errors import UserError
from muster_db import blobs, datasets
from muster_db.contract import Contract
from muster_db.engine import transact
from muster_db.mirror import Mirror
from muster_db.study import Study
from muster_db.tables import trial_blobs, trials
from muster_ensemble.files import write_file

log = logging.getLogger(__name__)

MOST_TOLD = 3


@dataclass(frozen=True)
class Truth:
    """What predictions are compared with. rows: (n,) positions of the sequences in the dataset.

    labels, folds: (n,), both int64. groups: (n,) codes of what belongs together, or None.
    others: how many sequences have no fold: the test part, and what has no label.
    """

    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    folds: NDArray[np.int64]
    groups: NDArray[np.int64] | None
    others: int = 0

    @classmethod
    def of(
        cls, contract: Contract, labels: NDArray[np.int64], groups: NDArray[np.int64] | None
    ) -> Truth:
        """The truth of a contract's folds; labels, groups: of all sequences of the dataset."""
        folds = np.asarray(contract.folds, dtype=np.int64)
        rows = np.flatnonzero(folds >= 0)
        inner = None if groups is None else groups[rows]
        return cls(rows, labels[rows], folds[rows], inner, len(folds) - len(rows))


@dataclass(frozen=True)
class Ledger:
    """The completed trials of one study, that is of one contract, by number.

    probabilities: (trials, n, classes), half precision where every trial's is. exportable:
    (trials,) whether the weights of all folds are still there. left_out: why trials do not vote.
    """

    numbers: tuple[int, ...]
    architectures: tuple[str, ...]
    probabilities: NDArray[np.floating[Any]]
    exportable: NDArray[np.bool_]
    truth: Truth
    metric: str
    left_out: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.numbers)


def load_trials(engine: Engine, study: Study) -> list[FrozenTrial]:
    """All trials of the study by number. Raises Unavailable."""
    mirror = Mirror(engine, study)
    mirror.refresh()
    return mirror.trials


def load_truth(engine: Engine, study: Study, *, cache: Path) -> Truth:
    """The labels and groups, out of the cache folder where this was asked before.

    Raises UserError where the database lacks the dataset.
    """
    contract = study.contract
    path = cache / f"{contract.dataset_fingerprint}.labels.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            labels, groups = stored["labels"], stored["groups"]
        if len(labels) == len(contract.folds):
            return Truth.of(contract, labels, groups if len(groups) else None)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        pass
    dataset = datasets.fetch(engine, contract.dataset_fingerprint, cache=cache)
    groups = np.zeros(0, dtype=np.int64) if dataset.groups is None else dataset.groups
    stream = io.BytesIO()
    np.savez(stream, labels=dataset.labels, groups=groups)
    _keep(path, stream.getvalue())
    return truth_of(study, dataset)


def truth_of(study: Study, dataset: Dataset) -> Truth:
    """The same, where the dataset is at hand."""
    return Truth.of(study.contract, dataset.labels, dataset.groups)


def load_ledger(
    engine: Engine,
    study: Study,
    truth: Truth,
    *,
    cache: Path | None = None,
    trials: Sequence[FrozenTrial] | None = None,
) -> Ledger:
    """The ledger as it is now, while workers may run.

    cache: folder for fetched predictions, so that they travel once. trials: what load_trials
    gave, to spare a second look. A trial whose predictions are missing or unfit is left out and
    logged. Raises UserError where that leaves none.
    """
    if study.contract.refits:
        raise UserError(
            f"study {study.name!r} trains members of another study again, so it has no votes of "
            f"its own; run `muster ensemble {study.name.rpartition('.')[0]} --refit`"
        )
    names = blob_names(engine, study)
    told = load_trials(engine, study) if trials is None else trials
    completed = [t for t in told if t.state == TrialState.COMPLETE and t.value is not None]
    kept: list[FrozenTrial] = []
    arrays: list[NDArray[Any]] = []
    left_out = []
    for trial in completed:
        try:
            found = _out_of_fold(engine, study, names.get(trial.number, {}), cache)
            arrays.append(found[truth.rows])
            kept.append(trial)
        except ValueError as fault:
            left_out.append(f"trial {trial.number}: {fault}")
    for reason in left_out:
        log.warning("study %s: %s; it does not vote", study.name, reason)
    if not kept:
        raise UserError(_nobody(study, left_out))
    return Ledger(
        numbers=tuple(trial.number for trial in kept),
        architectures=tuple(_architecture(trial, study.contract) for trial in kept),
        probabilities=_stack(arrays),
        exportable=np.array([bool(weights(names[trial.number], study)) for trial in kept]),
        truth=truth,
        metric=study.contract.metric,
        left_out=tuple(left_out),
    )


def weights(known: dict[str, str], study: Study) -> dict[str, str]:
    """The fold models' blobs, or nothing unless every fold is there."""
    wanted = [f"fold{fold}" for fold in range(max(study.contract.folds) + 1)]
    return {name: known[name] for name in wanted} if set(wanted) <= known.keys() else {}


def blob_names(engine: Engine, study: Study) -> dict[int, dict[str, str]]:
    """SHA-256 of each trial's blobs by name, by trial number."""

    def verb(connection: Connection) -> dict[int, dict[str, str]]:
        rows = connection.execute(
            select(trials.c.number, trial_blobs.c.name, trial_blobs.c.sha)
            .join_from(trials, trial_blobs, trials.c.trial_id == trial_blobs.c.trial_id)
            .where(trials.c.study_id == study.study_id)
        )
        names: defaultdict[int, dict[str, str]] = defaultdict(dict)
        for number, name, sha in rows:
            names[number][name] = sha
        return dict(names)

    return transact(engine, verb, read_only=True)


def _stack(arrays: list[NDArray[Any]]) -> NDArray[Any]:
    """np.stack, which lets go of each array: a large ledger never lies in memory twice."""
    stacked = np.empty((len(arrays), *arrays[0].shape), dtype=np.result_type(*arrays))
    for position in range(len(arrays) - 1, -1, -1):
        stacked[position] = arrays.pop()
    return stacked


def _out_of_fold(
    engine: Engine, study: Study, names: dict[str, str], cache: Path | None
) -> NDArray[Any]:
    """One trial's (sequences, classes); raises ValueError that says what is wrong with them."""
    if "oof" not in names:
        raise ValueError("it has no out-of-fold predictions")
    try:
        array = np.load(io.BytesIO(_fetch(engine, names["oof"], cache)), allow_pickle=False)
    except (blobs.DamagedBlob, ValueError, EOFError) as fault:
        raise ValueError(f"its out-of-fold predictions are damaged ({fault})") from fault
    contract = study.contract
    wanted = (len(contract.folds), len(contract.dataset_schema.classes))
    if array.shape != wanted or array.dtype.kind != "f":
        raise ValueError(
            f"its out-of-fold predictions are {array.dtype} of shape {array.shape}, the study's "
            f"contract asks for {wanted}"
        )
    is_validated = np.asarray(contract.folds) >= 0
    is_there = np.isfinite(array).all(axis=1)
    if lacking := int((is_validated & ~is_there).sum()):
        raise ValueError(
            f"its out-of-fold predictions lack {lacking} of {is_validated.sum()} sequences (NaN)"
        )
    if (is_there & ~is_validated).any():
        raise ValueError("it was evaluated on other folds than the study's contract has")
    known = array[is_validated].astype(np.float32)
    if (known < 0).any() or (abs(known.sum(axis=1) - 1) > 1e-2).any():
        raise ValueError("its out-of-fold predictions are no probabilities")
    found: NDArray[Any] = array
    return found


def _fetch(engine: Engine, sha: str, cache: Path | None) -> bytes:
    path = None if cache is None else cache / "oof" / f"{sha}.npy"
    if path is not None and path.is_file():
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() == sha:
            return data
    data = blobs.get(engine, sha)
    if path is not None:
        _keep(path, data)
    return data


def _keep(path: Path, data: bytes) -> None:
    try:
        write_file(path, data)
    except UserError as fault:
        log.warning("fetched again next time: %s", fault)


def _architecture(trial: FrozenTrial, contract: Contract) -> str:
    if "architecture" in trial.params:
        return str(trial.params["architecture"])
    fixed = contract.space.get("space", {}).get("architecture", "unknown")
    return str(fixed["choose"][0] if isinstance(fixed, dict) else fixed)


def _nobody(study: Study, left_out: Sequence[str]) -> str:
    if not left_out:
        return (
            f"study {study.name!r}: no trial is completed yet, so there is nobody to vote; "
            "wait, or run more trials"
        )
    told = "; ".join(left_out[:MOST_TOLD])
    more = f"; and {len(left_out) - MOST_TOLD} more" if len(left_out) > MOST_TOLD else ""
    return f"study {study.name!r}: no completed trial can vote ({told}{more}); run more trials"
