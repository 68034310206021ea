"""muster study: one search and its contract."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from sqlalchemy import Engine

from muster.data.dataset import Dataset
from muster.data.folds import make_folds
from muster.errors import UserError
from muster.metrics import METRICS
from muster_cli.console import print_json, progress, results
from muster_cli.options import Db, Json, open_database, settings_for
from muster_db import datasets, joining, study
from muster_db.limits import Limits
from muster_db.pruning import PRUNERS
from muster_db.samplers import SAMPLERS
from muster_db.walk import check_grid

if TYPE_CHECKING:
    from muster.space import Space

UNIT_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

app = typer.Typer(help="Create, list, stop, resume and delete studies.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The study's name.")]
Trials = Annotated[int, typer.Option("--trials", help="The budget: so many trials are told.")]
Folds = Annotated[int, typer.Option("--folds", help="Folds of the cross-validation.")]
MetricOption = Annotated[
    str, typer.Option("--metric", help=f"A trial's value: {', '.join(METRICS)}.")
]
Seed = Annotated[int, typer.Option("--seed", help="Decides folds, sampling and training.")]
Sampler = Annotated[str, typer.Option("--sampler", help=f"One of {', '.join(SAMPLERS)}.")]
Patience = Annotated[
    int | None,
    typer.Option("--patience", help="End after so many trials without a better value."),
]
TimeLimit = Annotated[
    str | None,
    typer.Option("--time-limit", help="Begin no trial after so long: 90s, 45m, 8h or 2d."),
]
Pruner = Annotated[str, typer.Option("--pruner", help=f"One of {', '.join(PRUNERS)}.")]


def make_contract(
    dataset: Dataset,
    fingerprint: str,
    space: Space,
    *,
    folds: int,
    metric: str,
    seed: int,
    sampler: str,
    pruner: str,
    trials: int,
) -> study.Contract:
    """What all trials of a study share. Raises UserError that names every unknown choice.

    A grid must be finite; where it has fewer combinations than trials, that is said.
    """
    problems = [
        f"unknown {kind} {name!r}; known are {', '.join(known)}"
        for kind, name, known in (
            ("metric", metric, METRICS),
            ("sampler", sampler, SAMPLERS),
            ("pruner", pruner, PRUNERS),
        )
        if name not in known
    ]
    if problems:
        raise UserError("; ".join(problems))
    if sampler == "grid" and (count := check_grid(space.suggest, budget=trials)) < trials:
        progress.print(f"the grid has {count} combinations: {trials - count} trials will repeat")
    return study.Contract(
        dataset_fingerprint=fingerprint,
        dataset_name=dataset.name,
        dataset_schema=dataset.schema,
        folds=tuple(int(fold) for fold in make_folds(dataset, folds=folds, seed=seed)),
        metric=metric,
        direction=METRICS[metric].direction,
        space=space.source,
        seed=seed,
        sampler=sampler,
        pruner=pruner,
        steps_per_fold=space.max_epochs + 1,
        code_version=version("muster"),
    )


def make_limits(time_limit: str | None, patience: int | None) -> Limits:
    """The limits that --time-limit and --patience name. Raises UserError."""
    if time_limit is None:
        return Limits(patience=patience)
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", time_limit.strip())
    if match is None:
        raise UserError(f"--time-limit {time_limit!r}: write a number and a unit, as in 90s or 8h")
    return Limits(seconds=float(match[1]) * UNIT_SECONDS[match[2]], patience=patience)


@app.command()
def create(
    name: Name,
    data: Annotated[str, typer.Option("--data", help="A stored dataset: name or fingerprint.")],
    space: Annotated[Path, typer.Option("--space", help="The search space file (TOML).")],
    trials: Trials = 100,
    folds: Folds = 3,
    metric: MetricOption = "macro_f1",
    seed: Seed = 0,
    sampler: Sampler = "tpe",
    pruner: Pruner = "median",
    patience: Patience = None,
    time_limit: TimeLimit = None,
    priority: Annotated[int, typer.Option("--priority", help="Higher is served first.")] = 0,
    if_absent: Annotated[
        bool, typer.Option("--if-absent", help="Leave a study of that name as it is.")
    ] = False,
    db: Db = None,
) -> None:
    """Create a study: freeze the dataset, the folds, the metric and the search space."""
    # It knows every architecture, so it imports torch, which the dashboard's image lacks.
    from muster.space import load_space  # noqa: PLC0415

    settings = settings_for(db)
    engine = open_database(settings)
    searched = load_space(space)
    if if_absent and _exists(engine, name):
        results.print(f"{name}: exists already, left as it is")
        return
    fingerprint = datasets.find(engine, data).fingerprint
    dataset = datasets.fetch(engine, fingerprint, cache=settings.cache_dir)
    contract = make_contract(
        dataset,
        fingerprint,
        searched,
        folds=folds,
        metric=metric,
        seed=seed,
        sampler=sampler,
        pruner=pruner,
        trials=trials,
    )
    study.create_study(
        engine,
        name=name,
        contract=contract,
        budget=trials,
        priority=priority,
        max_attempts=settings.max_attempts,
        limits=make_limits(time_limit, patience),
    )
    results.print(f"{name}: created, {trials} trials to run; attach workers with `muster worker`")


def _exists(engine: Engine, name: str) -> bool:
    return any(each.name == name for each in study.list_studies(engine))


@app.command("list")
def list_studies(db: Db = None, json: Json = False) -> None:
    """List the studies and how far they are."""
    engine = open_database(settings_for(db))
    rows = [(each, study.progress(engine, each)) for each in study.list_studies(engine)]
    if json:
        print_json(
            [
                {"name": each.name, "state": each.state, "told": done.told, "budget": done.budget}
                for each, done in rows
            ]
        )
        return
    table = Table("name", "state", "told", "running", "dataset", "metric", box=None)
    for each, done in rows:
        table.add_row(
            each.name,
            each.state,
            f"{done.told}/{done.budget}",
            str(done.running),
            each.contract.dataset_name,
            each.contract.metric,
        )
    results.print(table)


@app.command()
def show(name: Name, db: Db = None, json: Json = False) -> None:
    """Show a study's contract."""
    found = study.open_study(open_database(settings_for(db)), name)
    contract = found.contract
    facts = {
        "name": found.name,
        "state": found.state,
        "budget": found.budget,
        "priority": found.priority,
        "dataset": contract.dataset_name,
        "dataset_fingerprint": contract.dataset_fingerprint,
        "classes": list(contract.dataset_schema.classes),
        "folds": max(contract.folds) + 1,
        "metric": contract.metric,
        "direction": contract.direction,
        "sampler": contract.sampler,
        "pruner": contract.pruner,
        "seed": contract.seed,
        "code_version": contract.code_version,
        "contract_hash": contract.hash,
        "space": contract.space,
    }
    if json:
        print_json(facts)
        return
    table = Table(box=None, show_header=False)
    for key, value in facts.items():
        table.add_row(key.replace("_", " "), str(value))
    results.print(table)


@app.command()
def stop(name: Name, db: Db = None) -> None:
    """Drain every worker of a study: they save, give their trials back and leave."""
    engine = open_database(settings_for(db))
    study.stop_study(engine, study.open_study(engine, name))
    results.print(f"{name}: stopped; `muster study resume {name}` goes on")


@app.command()
def resume(
    name: Name,
    trials: Annotated[int, typer.Option("--trials", help="Trials to add to the budget.")] = 0,
    db: Db = None,
) -> None:
    """Let workers claim again, with a larger budget on request."""
    engine = open_database(settings_for(db))
    found = study.open_study(engine, name)
    joining.check_dataset(engine, found)
    if trials:
        study.extend_budget(engine, found, trials=trials)
    study.resume_study(engine, found)
    results.print(f"{name}: open; attach workers with `muster worker`")


@app.command()
def delete(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    db: Db = None,
) -> None:
    """Delete a study with its trials."""
    engine = open_database(settings_for(db))
    found = study.open_study(engine, name)
    if not yes:
        typer.confirm(f"Delete the study {name} and all its trials?", abort=True)
    study.delete_study(engine, found)
    results.print(f"{name}: deleted")
