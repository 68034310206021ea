"""muster run: the whole job, from a dataset file to predictions."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import Engine

from muster.data.fingerprint import fingerprint
from muster.errors import UserError
from muster.settings import Settings
from muster_cli import processes
from muster_cli.console import progress, results
from muster_cli.data import DataRoot, read
from muster_cli.ensemble import vote
from muster_cli.options import FIRST_SECONDS, Db, database_url, settings_for
from muster_cli.study import (
    Folds,
    MetricOption,
    Patience,
    Pruner,
    Sampler,
    Seed,
    TimeLimit,
    make_contract,
    make_limits,
)
from muster_db import datasets, schema
from muster_db import engine as engines
from muster_db import study as studies
from muster_db.limits import Limits
from muster_db.summary import seconds_spent

NEW_BUDGET = 30


def run(
    dataset: Annotated[Path, typer.Argument(help="The dataset file (TOML).")],
    space: Annotated[Path, typer.Option("--space", help="The search space file (TOML).")],
    trials: Annotated[
        int | None,
        typer.Option(
            "--trials", min=1, help="The budget; 30 for a new study, else as it was, or more."
        ),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Worker processes.")] = 1,
    name: Annotated[
        str | None, typer.Option("--name", help="The study's name; the space's by default.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the results; runs/NAME by default.")
    ] = None,
    folds: Folds = 3,
    metric: MetricOption = "macro_f1",
    seed: Seed = 0,
    sampler: Sampler = "tpe",
    pruner: Pruner = "median",
    patience: Patience = None,
    time_limit: TimeLimit = None,
    data_root: DataRoot = None,
    db: Db = None,
) -> None:
    """Store the dataset, search it, vote, and write bundle, predictions and report.

    Run again, it goes on where it stopped. The database is one file in the results' folder
    unless --db or MUSTER_DB_URL names another.
    """
    # It knows every architecture, so it imports torch, which the dashboard's image lacks.
    from muster.space import load_space  # noqa: PLC0415

    started = time.monotonic()
    name = name or space.stem
    out = out or Path("runs") / name
    searched = load_space(space)
    settings = settings_for(db)
    limits = make_limits(time_limit, patience)
    data = read(dataset, data_root=data_root, settings=settings)
    progress.print(f"{data.name}: {len(data.train_index)} sequences to learn from, ", end="")
    progress.print(f"{len(data.test_index)} in the test part, {len(data.schema.classes)} classes")
    contract = make_contract(
        data,
        fingerprint(data),
        searched,
        folds=folds,
        metric=metric,
        seed=seed,
        sampler=sampler,
        pruner=pruner,
        trials=trials or NEW_BUDGET,
    )
    # Nothing is written before all input is found good.
    settings = _with_database(settings, db, out)
    url = database_url(settings)
    engine = engines.connect(url)
    schema.initialise(engine.execution_options(muster_patience=FIRST_SECONDS))
    datasets.store(engine, data)
    study = _create_or_go_on(
        engine,
        name,
        contract,
        trials=trials,
        max_attempts=settings.max_attempts,
        limits=limits,
    )
    processes.search(engine, study, url=url, settings=settings, workers=workers, logs=out / "logs")
    # Where this run only went on, the search took longer than the run.
    seconds = max(time.monotonic() - started, seconds_spent(engine, study))
    vote(engine, study, data, out=out, seconds=seconds)
    results.print(f"results: {out}/  (report.html, predictions.csv, summary.json, bundle/)")


def _with_database(settings: Settings, db: str | None, out: Path) -> Settings:
    """The embedded default of a run lies beside its results; any URL that was given stays."""
    if db is None and "db_url" not in settings.model_fields_set:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{out}: cannot be made: {error.strerror}; name another --out"
            ) from error
        return settings.model_copy(update={"db_url": f"sqlite:///{out / 'muster.db'}"})
    return settings


def _create_or_go_on(
    engine: Engine,
    name: str,
    contract: studies.Contract,
    *,
    trials: int | None,
    max_attempts: int,
    limits: Limits,
) -> studies.Study:
    """Create the study, or take the one of that name where its contract is the same."""
    known = [each for each in studies.list_studies(engine) if each.name == name]
    if not known:
        return studies.create_study(
            engine,
            name=name,
            contract=contract,
            budget=trials or NEW_BUDGET,
            max_attempts=max_attempts,
            limits=limits,
        )
    study = known[0]
    differences = study.contract.differences(contract)
    if differences:
        raise UserError(
            f"study {name!r} exists already with another contract ({'; '.join(differences)}); "
            "give this run another --name, or delete that study"
        )
    if trials is not None and trials > study.budget:
        studies.extend_budget(engine, study, trials=trials - study.budget)
    studies.resume_study(engine, study)
    progress.print(f"study {name} exists already: going on with it")
    return studies.open_study(engine, name)
