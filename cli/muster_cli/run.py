"""muster run: the whole job, from a dataset file to predictions."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Annotated

import typer

from muster.data.dataset import Dataset
from muster.data.fingerprint import fingerprint
from muster.errors import UserError
from muster.settings import Settings
from muster_cli import going_on, processes
from muster_cli.console import progress
from muster_cli.contract import Terms, make_contract, make_limits, warmed
from muster_cli.data import read
from muster_cli.ensemble import MAJORITY, Rule, vote
from muster_cli.options import (
    DataRoot,
    DatasetFile,
    Folds,
    Metric,
    Patience,
    PatienceOn,
    Pruner,
    Sampler,
    Seed,
    SpaceFile,
    TimeLimit,
    WarmStart,
    make_database,
    settings_for,
)
from muster_cli.refitting import RefitOption, trainer
from muster_db import datasets
from muster_db.study import create_study, open_study
from muster_db.summary import seconds_spent
from muster_ensemble.estimate import check_rule

NEW_BUDGET = 30

Trials = Annotated[
    int | None,
    typer.Option("--trials", min=1, help="Trials in all; 30 at first, then as before, or more."),
]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Worker processes.")]
Name = Annotated[
    str | None, typer.Option("--name", help="The study's name; the space's by default.")
]
Out = Annotated[
    Path | None, typer.Option("--out", help="Folder of the results; runs/NAME by default.")
]
RunDb = Annotated[
    str | None,
    typer.Option("--db", help="The database's URL.  [MUSTER_DB_URL; OUT/muster.db]"),
]


def run(
    dataset: DatasetFile,
    space: SpaceFile,
    trials: Trials = None,
    workers: Workers = 1,
    name: Name = None,
    out: Out = None,
    folds: Folds = 3,
    metric: Metric = "macro_f1",
    seed: Seed = 0,
    sampler: Sampler = "tpe",
    pruner: Pruner = "median",
    warm_start: WarmStart = None,
    patience: Patience = None,
    patience_on: PatienceOn = "best",
    time_limit: TimeLimit = None,
    rule: Rule = MAJORITY,
    refit_members: RefitOption = False,
    data_root: DataRoot = None,
    db: RunDb = None,
) -> None:
    """Do the whole job: search, vote, predict.

    Stores the dataset, runs the trials on this machine, lets the best vote, and writes bundle,
    predictions and report. Run again, it goes on where it stopped.
    """
    # It knows every architecture, so it imports torch, which the dashboard's image lacks.
    from muster.space import load_space  # noqa: PLC0415

    started = time.monotonic()
    name = name or space.stem
    out = out or Path("runs") / name
    check_rule(rule)
    searched = load_space(space)
    settings = settings_for(db)
    limits = make_limits(time_limit, patience, patience_on)
    data = read(dataset, data_root=data_root, settings=settings)
    progress.print(_in_short(data))
    terms, budget = Terms(folds, metric, seed, sampler, pruner), trials or NEW_BUDGET
    contract = make_contract(data, fingerprint(data), searched, terms, trials=budget)
    # Nothing is written before all input is found good.
    settings, db_option = _with_database(settings, db, out)
    engine = make_database(settings)
    known = going_on.find(engine, name, contract, db_option=db_option)
    if known is None:
        contract = warmed(engine, contract, warm_start, space=searched)
    datasets.store(engine, data)
    if known is None:
        study = create_study(
            engine,
            name=name,
            contract=contract,
            budget=budget,
            max_attempts=settings.max_attempts,
            limits=limits,
        )
    else:
        study = going_on.go_on(engine, known, trials=trials, limits=limits)
    settings = settings.model_copy(update={"ensemble_rule": rule})
    processes.search(engine, study, settings=settings, workers=workers, logs=out / "logs")
    going_on.say_if_cut(open_study(engine, name))
    # Where this run only went on, the search took longer than the run.
    seconds = max(time.monotonic() - started, seconds_spent(engine, study))
    again = trainer(engine, settings=settings, workers=workers, logs=out / "logs" / "refit")
    vote(
        engine,
        study,
        data,
        out=out,
        seconds=seconds,
        rule=rule,
        cache=settings.cache_dir,
        train=again if refit_members else None,
    )


def _in_short(data: Dataset) -> str:
    return (
        f"{data.name}: {len(data.train_index)} sequences to learn from, "
        f"{len(data.test_index)} in the test part, {len(data.schema.classes)} classes"
    )


def _with_database(settings: Settings, db: str | None, out: Path) -> tuple[Settings, str]:
    """The embedded default of a run lies beside its results; any URL that was given stays.

    The second is what other commands need to find that database.
    """
    if db is not None:
        return settings, f"--db {shlex.quote(going_on.without_password(db))}"
    if "db_url" in settings.model_fields_set:
        return settings, ""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out}: cannot be made: {error.strerror}; name another --out") from error
    url = f"sqlite:///{out / 'muster.db'}"
    return settings.model_copy(update={"db_url": url}), f"--db {shlex.quote(url)}"
