"""muster ensemble, export and predict: from a study's trials to predictions."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from sqlalchemy import Engine

from muster.data.dataset import Dataset
from muster.errors import UserError
from muster_cli.console import print_json, progress, results
from muster_cli.options import Db, Json, StudyName, open_database, settings_for
from muster_db import datasets, trials
from muster_db.study import Study, open_study
from muster_db.study import progress as study_progress
from muster_db.summary import seconds_spent

ROWS = {
    "random_guess": "random guess",
    "best_single": "best single trial",
    "ensemble": "majority vote",
}
COLUMNS = {
    "oof_macro_f1": "OOF macro-F1",
    "test_macro_f1": "test macro-F1",
    "oof_accuracy": "OOF accuracy",
    "test_accuracy": "test accuracy",
}
WAIT_SECONDS = 2.0

Out = Annotated[Path | None, typer.Option("--out", help="Folder of the results; runs/NAME.")]
Size = Annotated[int, typer.Option("--members", help="Trials that vote, at most.")]


def vote(
    engine: Engine, study: Study, dataset: Dataset, *, out: Path, seconds: float, size: int = 5
) -> dict[str, Any]:
    """Vote the best trials and leave bundle, predictions, summary and report in out.

    Prints the table and returns the summary. Raises UserError for fewer than two trials.
    """
    from muster_ensemble import export as exports  # noqa: PLC0415 - torch, as in worker.py
    from muster_ensemble.bundle import write_bundle  # noqa: PLC0415
    from muster_ensemble.files import write_file  # noqa: PLC0415
    from muster_ensemble.importance import parameter_importance  # noqa: PLC0415
    from muster_ensemble.predict import load, write_predictions  # noqa: PLC0415
    from muster_ensemble.report import write_report  # noqa: PLC0415
    from muster_ensemble.select import choose  # noqa: PLC0415
    from muster_ensemble.summary import summarise  # noqa: PLC0415

    contract = study.contract
    all_trials = exports.load_trials(engine, study)
    candidates = exports.load_candidates(engine, study, trials=all_trials)
    members = choose(candidates, direction=contract.direction, size=size)
    told = sum(trial.state.is_finished() for trial in all_trials)
    summary = summarise(
        dataset,
        candidates,
        members,
        "majority",
        direction=contract.direction,
        trials=told,
        seconds=seconds,
    )
    write_bundle(out / "bundle", exports.make_bundle(engine, study, members, rule="majority"))
    # Predicted by the bundle itself, not by the stored probabilities, which are rounded.
    if len(dataset.test_index):
        scores = load(out / "bundle").predict_proba(dataset, index=dataset.test_index)
        identifiers = [dataset.identifiers[position] for position in dataset.test_index]
        write_predictions(out / "predictions.csv", dataset.schema, identifiers, scores)
    write_file(out / "summary.json", (json.dumps(summary, indent=2) + "\n").encode())
    predict_command = f"muster predict {out / 'bundle'} INPUT --out predictions.csv"
    importance, reason = parameter_importance(all_trials, direction=contract.direction)
    write_report(
        out / "report.html",
        study=study.name,
        dataset=dataset,
        summary=summary,
        members=members,
        rule="majority",
        metric=contract.metric,
        direction=contract.direction,
        trials=exports.history(all_trials),
        importance=importance,
        importance_reason=reason,
        predict_command=predict_command,
    )
    results.print(figures_table(summary))
    _say_results(out, dataset, predict_command)
    return summary


def _say_results(out: Path, dataset: Dataset, predict_command: str) -> None:
    has_test = len(dataset.test_index) > 0
    names = ["report.html", *(["predictions.csv"] if has_test else []), "summary.json", "bundle/"]
    results.print(f"results: {out}/  ({', '.join(names)})")
    if not has_test:
        results.print(
            f"{dataset.name} has no test part to predict; for new data: {predict_command}"
        )


def figures_table(summary: dict[str, Any]) -> Table:
    """Random guess, best single trial and vote against each other."""
    table = Table("", *COLUMNS.values(), box=None)
    for key, title in ROWS.items():
        values = (summary[key][column] for column in COLUMNS)
        table.add_row(title, *("-" if value is None else f"{value:.4f}" for value in values))
    return table


def ensemble(
    name: StudyName,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until every trial has ended.")
    ] = False,
    out: Out = None,
    members: Size = 5,
    db: Db = None,
    json_output: Json = False,
) -> None:
    """Vote the best trials of a study.

    Writes bundle, predictions of the test part, summary and report.
    """
    settings = settings_for(db)
    engine = open_database(settings)
    study = open_study(engine, name)
    if wait:
        _wait(engine, study)
    dataset = datasets.fetch(engine, study.contract.dataset_fingerprint, cache=settings.cache_dir)
    place = out or Path("runs") / name
    started = time.monotonic()
    seconds = seconds_spent(engine, study)
    summary = vote(engine, study, dataset, out=place, seconds=seconds, size=members)
    progress.print(f"voted in {time.monotonic() - started:.1f} s")
    if json_output:
        print_json(summary)


def _wait(engine: Engine, study: Study) -> None:
    told = -1
    while True:
        trials.reap(engine, study)
        now = study_progress(engine, study)
        if now.told != told:
            told = now.told
            progress.print(f"{study.name}: {told}/{now.budget} trials done")
        if now.is_finished:
            return
        if now.is_stopped:
            raise UserError(f"study {study.name!r} is stopped at {told}/{now.budget} trials")
        time.sleep(WAIT_SECONDS)


def export(
    name: StudyName,
    out: Annotated[Path, typer.Option("--out", help="Folder of the bundle.")],
    members: Size = 5,
    db: Db = None,
) -> None:
    """Export the best trials as a bundle.

    The bundle predicts on its own, without the database.
    """
    from muster_ensemble import export as exports  # noqa: PLC0415 - torch, as in worker.py
    from muster_ensemble.bundle import write_bundle  # noqa: PLC0415
    from muster_ensemble.select import choose  # noqa: PLC0415

    engine = open_database(settings_for(db))
    study = open_study(engine, name)
    candidates = exports.load_candidates(engine, study)
    chosen = choose(candidates, direction=study.contract.direction, size=members)
    write_bundle(out, exports.make_bundle(engine, study, chosen, rule="majority"))
    numbers = ", ".join(str(member.number) for member in chosen)
    results.print(f"{out}: trials {numbers} of study {name}")


def predict(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    file: Annotated[Path, typer.Argument(metavar="INPUT", help="New data, same format.")],
    out: Annotated[Path, typer.Option("--out", help="The CSV file to write.")] = Path(
        "predictions.csv"
    ),
    proba: Annotated[bool, typer.Option("--proba", help="Add the votes of each class.")] = False,
) -> None:
    """Apply a bundle to new data.

    Writes one line a sequence, in the input's order.
    """
    from muster_ensemble.predict import predict_file  # noqa: PLC0415 - torch, as in worker.py

    count = predict_file(bundle, file, out, proba=proba)
    results.print(f"{out}: {count} predictions")
