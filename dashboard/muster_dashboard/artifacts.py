"""A trial's curves, confusion matrix and log as files, made when somebody asks for them.

Workers store nothing more for them than what the search needs anyway.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from optuna.trial import TrialState
from sqlalchemy import Engine, select

from muster.confusion import count, decisions
from muster_dashboard import charts
from muster_dashboard.board import StudySight
from muster_dashboard.figures import architecture_of
from muster_db import blobs
from muster_db.engine import transact
from muster_db.outline import Outline, read_outline
from muster_db.tables import trials
from muster_db.trials import blob_names
from muster_db.watching import SeenTrial

ATTRIBUTE: Final = "artifacts:"


@dataclass(frozen=True)
class Kind:
    """A file that every trial may have. code: of hexadecimal digits, as optuna-dashboard wants."""

    code: str
    filename: str
    mimetype: str


CURVES: Final = Kind("c1", "curves.svg", "image/svg+xml")
CONFUSION: Final = Kind("c2", "confusion.svg", "image/svg+xml")
TABLE: Final = Kind("c3", "curves.csv", "text/csv")
LOG: Final = Kind("c4", "log.txt", "text/plain")
KINDS: Final = {each.code: each for each in (CURVES, CONFUSION, TABLE, LOG)}


def facts_of(trial: SeenTrial) -> dict[str, str]:
    """The system attributes by which Optuna finds the trial's files, in Optuna's own form."""
    kinds = [CURVES] if trial.reports else []
    kinds += [CONFUSION] if trial.shown == TrialState.COMPLETE and trial.is_told else []
    kinds += [TABLE] if trial.reports else []
    return {f"{ATTRIBUTE}{_name(each, trial)}": _meta(each, trial) for each in [*kinds, LOG]}


def find(artifact_id: str, trial: SeenTrial) -> Kind | None:
    """Which of the trial's files that is, None where it is none."""
    return next((each for each in KINDS.values() if _name(each, trial) == artifact_id), None)


def stored_meta(facts: Mapping[str, str], artifact_id: str) -> tuple[str, str] | None:
    """Type and name of a file that somebody has stored with Optuna; None where there is none.

    facts: system attributes of the study or trial.
    """
    try:
        meta = json.loads(json.loads(facts[f"{ATTRIBUTE}{artifact_id}"]))
        return str(meta["mimetype"]), str(meta["filename"])
    except (KeyError, TypeError, ValueError):
        return None


def render(engine: Engine, sight: StudySight, trial: SeenTrial, kind: Kind) -> bytes:
    """The file's content as of now. Raises UserError where its source is gone, Unavailable."""
    title = f"trial {trial.number}, {architecture_of(trial, sight)}"
    if kind is CONFUSION:
        return _confusion(engine, sight, trial, title).encode()
    epochs = _epochs(engine, sight, trial)
    if kind is CURVES:
        lines: dict[str, list[tuple[float, float]]] = {}
        for each in epochs:
            lines.setdefault(f"fold {each.fold}", []).append((each.epoch, each.score))
        return charts.curves(title, lines, up=sight.study.contract.metric).encode()
    if kind is TABLE:
        return _table(epochs, sight.study.contract.metric).encode()
    return _log(engine, sight, trial, epochs, title).encode()


@dataclass(frozen=True)
class Epoch:
    """One line of a curve; what a trial that was not completed lacks is None."""

    fold: int
    epoch: int
    score: float
    train_loss: float | None = None
    seconds: float | None = None


def outline_of(engine: Engine, fingerprint: str) -> Outline:
    """read_outline, kept in memory: what a fingerprint stands for never changes."""
    return _outlines(engine, fingerprint)


@lru_cache(maxsize=4)
def _outlines(engine: Engine, fingerprint: str) -> Outline:
    return read_outline(engine, fingerprint)


def _name(kind: Kind, trial: SeenTrial) -> str:
    return f"{kind.code}-{trial.trial_id}"


def _meta(kind: Kind, trial: SeenTrial) -> str:
    facts = {
        "artifact_id": _name(kind, trial),
        "filename": kind.filename,
        "mimetype": kind.mimetype,
        "encoding": None,
    }
    return json.dumps(facts)


def _epochs(engine: Engine, sight: StudySight, trial: SeenTrial) -> list[Epoch]:
    """Out of the stored curves of a completed trial, of another out of its reports."""
    sha = blob_names(engine, trial.trial_id).get("curves") if trial.is_told else None
    if sha is not None:
        stored: list[Mapping[str, Any]] = json.loads(blobs.get(engine, sha))
        return [
            Epoch(each["fold"], each["epoch"], each["score"], each["train_loss"], each["seconds"])
            for each in stored
        ]
    length = sight.study.contract.steps_per_fold
    steps = ((divmod(step, length), score) for step, score in sorted(trial.reports.items()))
    return [Epoch(fold, epoch, score) for (fold, epoch), score in steps if epoch != length - 1]


def _table(epochs: Sequence[Epoch], metric: str) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["fold", "epoch", metric, "train_loss", "seconds"])
    for each in epochs:
        writer.writerow([each.fold, each.epoch, each.score, each.train_loss, each.seconds])
    return text.getvalue()


def _confusion(engine: Engine, sight: StudySight, trial: SeenTrial, title: str) -> str:
    contract = sight.study.contract
    sha = blob_names(engine, trial.trial_id).get("oof")
    if sha is None:
        return charts.curves(f"{title}: its predictions are not stored", {}, up="")
    oof = np.load(io.BytesIO(blobs.get(engine, sha)), allow_pickle=False)
    folds = np.asarray(contract.folds, dtype=np.int64)
    labels = outline_of(engine, contract.dataset_fingerprint).labels
    rows = np.flatnonzero((folds >= 0) & (labels >= 0))
    classes = contract.dataset_schema.classes
    counts = count(decisions(oof[None, rows]), labels[rows], classes=len(classes))[0]
    return charts.confusion(title, counts, classes)


def _log(
    engine: Engine, sight: StudySight, trial: SeenTrial, epochs: Sequence[Epoch], title: str
) -> str:
    query = select(trials.c.error).where(trials.c.trial_id == trial.trial_id)
    error = transact(engine, lambda each: each.execute(query).scalar(), read_only=True)
    worker = next((w for w in sight.workers if w.worker.worker_id == trial.worker_id), None)
    lines = [
        f"{title}, study {sight.head.name}",
        f"state: {trial.shown.name}, attempt {trial.attempt}, failed attempts {trial.failures}",
        f"started {trial.started} UTC, ended {trial.ended or '-'}",
    ]
    if worker is not None:
        lines.append(
            f"worker {worker.worker.ordinal} on {worker.worker.host} ({worker.worker.device})"
        )
    for name, number in trial.params:
        lines.append(f"{name} = {sight.distributions[name].to_external_repr(number)}")
    lines += [f"{key}: {text}" for key, text in sorted(trial.attributes.items()) if key != "error"]
    metric = sight.study.contract.metric
    for each in epochs:
        loss = "" if each.train_loss is None else f", train loss {each.train_loss:.5g}"
        time = "" if each.seconds is None else f", {each.seconds:.2f} s"
        lines.append(f"fold {each.fold} epoch {each.epoch}: {metric} {each.score:.5f}{loss}{time}")
    if trial.value is not None and math.isfinite(trial.value):
        lines.append(f"{metric} of all out-of-fold predictions: {trial.value:.6f}")
    # An attempt whose worker died has no error of its own.
    said = error or json.loads(trial.attributes.get("error", '""'))
    if said:
        lines += ["", "why it failed last:", str(said)]
    return "\n".join(lines) + "\n"
