"""From options to what all trials of a study share, and to the limits that end it early."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine

from muster.data.dataset import Dataset
from muster.data.folds import make_folds
from muster.errors import UserError
from muster.metrics import METRICS
from muster.spelling import known_names
from muster_cli.console import progress
from muster_cli.durations import in_words, seconds_of
from muster_db import warm
from muster_db.contract import Contract
from muster_db.limits import BEST, ENSEMBLE, Limits, PatienceOn
from muster_db.pruning import PRUNERS
from muster_db.samplers import SAMPLERS
from muster_db.walk import check_grid

if TYPE_CHECKING:
    from muster.space import Space


@dataclass(frozen=True)
class Terms:
    """The part of a contract that options name."""

    folds: int
    metric: str
    seed: int
    sampler: str
    pruner: str


def make_contract(
    dataset: Dataset, fingerprint: str, space: Space, terms: Terms, *, trials: int
) -> Contract:
    """What all trials of a study share. Raises UserError that names every unknown choice.

    A grid must be finite; where it has fewer combinations than trials, that is said.
    """
    problems = [
        f"unknown {kind} {name!r}; {known_names(name, known)}"
        for kind, name, known in (
            ("metric", terms.metric, METRICS),
            ("sampler", terms.sampler, SAMPLERS),
            ("pruner", terms.pruner, PRUNERS),
        )
        if name not in known
    ]
    if problems:
        raise UserError("; ".join(problems))
    if terms.sampler == "grid":
        count = check_grid(space.suggest, budget=trials)
        if count < trials:
            repeated = trials - count
            progress.print(f"the grid has {count} combinations: {repeated} trials will repeat")
    return Contract(
        dataset_fingerprint=fingerprint,
        dataset_name=dataset.name,
        dataset_schema=dataset.schema,
        folds=tuple(int(fold) for fold in make_folds(dataset, folds=terms.folds, seed=terms.seed)),
        metric=terms.metric,
        direction=METRICS[terms.metric].direction,
        space=space.source,
        seed=terms.seed,
        sampler=terms.sampler,
        pruner=terms.pruner,
        steps_per_fold=space.max_epochs + 1,
        code_version=version("muster"),
        try_first=space.try_first,
    )


def warmed(engine: Engine, contract: Contract, wanted: str | None, *, space: Space) -> Contract:
    """The contract with what --warm-start names, if anything. Raises UserError."""
    if wanted is None:
        return contract
    best = warm.warm_start(engine, wanted, suggest=space.suggest, known=contract.try_first)
    progress.print(f"warm start from {wanted}: {len(best)} tried first")
    return contract.model_copy(update={"warm_start": best})


def make_limits(
    time_limit: str | None, patience: int | None, patience_on: PatienceOn = BEST
) -> Limits:
    """The limits that --time-limit, --patience and --patience-on name. Raises UserError."""
    if patience is None and patience_on != BEST:
        raise UserError(
            f"--patience-on {patience_on} says what a patience goes by: add --patience"
        )
    if time_limit is None:
        return Limits(patience=patience, patience_on=patience_on)
    return Limits(seconds_of(time_limit, option="--time-limit"), patience, patience_on)


def limits_in_words(limits: Limits) -> str:
    """What ends a study early, e.g. `patience of 5 trials and time limit of 8h`."""
    words = []
    if limits.patience is not None:
        plural = "" if limits.patience == 1 else "s"
        on = " on the ensemble" if limits.patience_on == ENSEMBLE else ""
        words.append(f"patience of {limits.patience} trial{plural}{on}")
    if limits.seconds is not None:
        words.append(f"time limit of {in_words(limits.seconds)}")
    return " and ".join(words)


def differences(there: Contract, here: Contract) -> list[str]:
    """One line a part of two contracts that differs, in the words of the options."""
    found = []
    if there.dataset_name != here.dataset_name:
        found.append(f"dataset: {there.dataset_name} there, {here.dataset_name} here")
    elif there.dataset_fingerprint != here.dataset_fingerprint:
        found.append(f"dataset: the content of {here.dataset_name} has changed since")
    elif there.dataset_schema != here.dataset_schema:
        found.append(f"dataset: the columns of {here.dataset_name} mean something else since")
    if max(there.folds) != max(here.folds):
        found.append(f"folds: {max(there.folds) + 1} there, {max(here.folds) + 1} here")
    for name in ("metric", "seed", "sampler", "pruner"):
        if getattr(there, name) != getattr(here, name):
            found.append(f"{name}: {getattr(there, name)} there, {getattr(here, name)} here")
    if there.space != here.space:
        found.append(f"search space: {', '.join(_changed(there.space, here.space))} differ")
    if there.code_version != here.code_version:
        found.append(f"version: muster {there.code_version} there, {here.code_version} here")
    return found or (["folds: divided in another way"] if there != here else [])


def _changed(there: Any, here: Any, path: str = "") -> list[str]:
    """The dotted names of what two tables hold differently."""
    if not (isinstance(there, dict) and isinstance(here, dict)):
        return [path]
    return [
        name
        for key in sorted({*there, *here})
        if there.get(key) != here.get(key)
        for name in _changed(there.get(key), here.get(key), f"{path}.{key}".removeprefix("."))
    ]
