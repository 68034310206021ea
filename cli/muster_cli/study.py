"""muster study: one search and its contract."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Table
from sqlalchemy import Engine

from muster_cli.console import print_json, results
from muster_cli.contract import Terms, limits_in_words, make_contract, make_limits, warmed
from muster_cli.options import (
    Db,
    Folds,
    Json,
    Metric,
    Patience,
    PatienceOn,
    Pruner,
    Sampler,
    Seed,
    SpaceFile,
    StudyName,
    TimeLimit,
    WarmStart,
    open_database,
    open_or_make,
    settings_for,
)
from muster_db import datasets, joining, study
from muster_db.budget import extend_budget
from muster_db.progress import progress

app = typer.Typer(help="Create, list, stop, resume and delete studies.", no_args_is_help=True)


@app.command()
def create(
    name: StudyName,
    data: Annotated[str, typer.Option("--data", help="A stored dataset: name or fingerprint.")],
    space: SpaceFile,
    trials: Annotated[int, typer.Option("--trials", help="So many trials are run.")] = 100,
    folds: Folds = 3,
    metric: Metric = "macro_f1",
    seed: Seed = 0,
    sampler: Sampler = "tpe",
    pruner: Pruner = "median",
    warm_start: WarmStart = None,
    patience: Patience = None,
    patience_on: PatienceOn = "best",
    time_limit: TimeLimit = None,
    priority: Annotated[int, typer.Option("--priority", help="Higher is served first.")] = 0,
    if_absent: Annotated[
        bool, typer.Option("--if-absent", help="Leave a study of that name as it is.")
    ] = False,
    db: Db = None,
) -> None:
    """Create a study for workers to serve.

    Dataset, folds, metric and search space are fixed from here on.
    """
    # It knows every architecture, so it imports torch, which the dashboard's image lacks.
    from muster.space import load_space  # noqa: PLC0415

    settings = settings_for(db)
    searched = load_space(space)
    limits = make_limits(time_limit, patience, patience_on)
    engine = open_or_make(settings)
    if if_absent and _exists(engine, name):
        results.print(f"{name}: exists already, left as it is")
        return
    fingerprint = datasets.find(engine, data).fingerprint
    dataset = datasets.fetch(engine, fingerprint, cache=settings.cache_dir)
    terms = Terms(folds, metric, seed, sampler, pruner)
    contract = make_contract(dataset, fingerprint, searched, terms, trials=trials)
    contract = warmed(engine, contract, warm_start, space=searched)
    study.create_study(
        engine,
        name=name,
        contract=contract,
        budget=trials,
        priority=priority,
        max_attempts=settings.max_attempts,
        limits=limits,
    )
    results.print(f"{name}: created, {trials} trials to run; attach workers with `muster worker`")


def _exists(engine: Engine, name: str) -> bool:
    return any(each.name == name for each in study.list_studies(engine))


@app.command("list")
def list_studies(db: Db = None, json: Json = False) -> None:
    """List the studies and how far they are."""
    engine = open_database(settings_for(db))
    rows = [(each, progress(engine, each)) for each in study.list_studies(engine)]
    if json:
        print_json(
            [
                {"name": each.name, "state": each.state, "told": done.told, "budget": done.budget}
                for each, done in rows
            ]
        )
        return
    table = Table("name", "state", "done", "running", "dataset", "metric", box=None)
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
def show(name: StudyName, db: Db = None, json: Json = False) -> None:
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
        "tried_first": list(contract.first),
        "code_version": contract.code_version,
        "contract_hash": contract.hash,
        "limits": asdict(found.limits),
        "space": contract.space,
    }
    if json:
        print_json(facts)
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    for key, value in facts.items():
        if key not in ("space", "limits"):
            text = ", ".join(value) if isinstance(value, list) else str(value)
            table.add_row(key.removeprefix("dataset_").replace("_", " "), text)
    table.add_row("limits", limits_in_words(found.limits) or "none")
    results.print(table)
    results.print("search space")
    for line in space_lines(contract.space.get("space", {})):
        results.print(f"  {line}")


def space_lines(table: dict[str, Any], path: str = "") -> list[str]:
    """A search space in one line a setting, named by its dotted path."""
    lines = []
    for key, value in table.items():
        name = f"{path}{key}"
        if not isinstance(value, dict):
            lines.append(f"{name.removesuffix('.choose')} = {_text(value)}")
        elif "choices" in value:
            lines.append(f"{name}: {_text(value['choices'])}")
        elif "low" in value and "high" in value:
            extra = ", logarithmic" if value.get("log") else ""
            extra += f", step {value['step']}" if "step" in value else ""
            lines.append(f"{name}: {value['low']} to {value['high']}{extra}")
        else:
            lines += space_lines(value, f"{name}.")
    return lines


def _text(value: Any) -> str:
    return " | ".join(map(str, value)) if isinstance(value, list) else str(value)


@app.command()
def stop(name: StudyName, db: Db = None) -> None:
    """Let the workers of a study save and leave."""
    engine = open_database(settings_for(db))
    study.stop_study(engine, study.open_study(engine, name))
    results.print(f"{name}: stopped; `muster study resume {name}` goes on")


@app.command()
def resume(
    name: StudyName,
    trials: Annotated[int, typer.Option("--trials", help="Trials to add to the budget.")] = 0,
    db: Db = None,
) -> None:
    """Let workers go on, with more trials on request."""
    engine = open_database(settings_for(db))
    found = study.open_study(engine, name)
    joining.check_dataset(engine, found)
    if trials:
        extend_budget(engine, found, trials=trials)
    study.resume_study(engine, found)
    now = progress(engine, found)
    if now.is_finished:
        results.print(f"{name}: open, but all {now.told} trials are done; add some with --trials")
        return
    results.print(
        f"{name}: open, {now.budget - now.told} trials to run; attach workers with `muster worker`"
    )


@app.command()
def delete(
    name: StudyName,
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
