"""muster ensemble and export: from a study's trials to an ensemble."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import Engine

from muster.data.dataset import Dataset
from muster.diversity import MEMBERS, Limits
from muster.selection import NO_LIMITS
from muster_cli.console import print_json, progress, results
from muster_cli.figures import figures_table, show_estimates
from muster_cli.options import Db, Json, StudyName, open_database, settings_for
from muster_cli.refitting import RefitOption, Train, refit, trainer
from muster_cli.waiting import wait_until_told
from muster_db import datasets, ensembles
from muster_db.study import Study, open_study
from muster_db.summary import seconds_spent
from muster_ensemble.estimate import (
    as_plain,
    best_single,
    check_rule,
    decide_and_estimate,
)
from muster_ensemble.ledger import load_ledger, load_trials, load_truth, truth_of
from muster_ensemble.live import look, snapshot_of

MAJORITY = "majority"

Out = Annotated[Path | None, typer.Option("--out", help="Folder of the results; runs/NAME.")]
Rule = Annotated[
    str,
    typer.Option(
        "--rule", help="How members are chosen and vote: auto, single, majority, soft, ..."
    ),
]
Members = Annotated[int, typer.Option("--members", min=1, help="Trials that vote, at most.")]
PerArchitecture = Annotated[
    int | None,
    typer.Option("--per-architecture", min=1, help="Members of one architecture, at most."),
]
MinDisagreement = Annotated[
    float,
    typer.Option(
        "--min-disagreement",
        help="Share of sequences on which just one of two members is right, at least.",
    ),
]
MaxQ = Annotated[
    float, typer.Option("--max-q", help="Q statistic of each two members, at most; -1 to 1.")
]


def vote(
    engine: Engine,
    study: Study,
    dataset: Dataset,
    *,
    out: Path,
    seconds: float,
    rule: str = MAJORITY,
    limits: Limits = NO_LIMITS,
    cache: Path | None = None,
    train: Train | None = None,
) -> dict[str, Any]:
    """Vote the trials of a study and leave bundle, predictions, summary and report in out.

    Prints the table and the estimate, and returns the summary. cache: folder for what is fetched.
    train: how the members are trained again on all labelled data; None: their fold models vote.
    Raises UserError where no completed trial can vote.
    """
    from muster_ensemble import export as exports  # noqa: PLC0415 - torch, as in worker.py
    from muster_ensemble.files import write_file  # noqa: PLC0415
    from muster_ensemble.importance import parameter_importance  # noqa: PLC0415
    from muster_ensemble.report import write_report  # noqa: PLC0415
    from muster_ensemble.results import leave_bundle  # noqa: PLC0415
    from muster_ensemble.standings import standings, voters, weigh_rules  # noqa: PLC0415
    from muster_ensemble.summary import summarise  # noqa: PLC0415

    seen = ensembles.revision(engine, study)
    all_trials = load_trials(engine, study)
    truth = truth_of(study, dataset)
    ledger = load_ledger(engine, study, truth, cache=cache, trials=all_trials)
    outcome = decide_and_estimate(ledger, rule=rule, limits=limits)
    ensembles.record(engine, study, snapshot_of(ledger, outcome), revision=seen)
    voting = [ledger.numbers[i] for i in outcome.choice.members]
    best = ledger.numbers[best_single(ledger)]
    weighed = weigh_rules(ledger, outcome, limits=limits)
    wanted = {*voters(ledger, weighed), best}
    found = exports.load_candidates(engine, study, wanted, trials=all_trials)
    members = [found[number] for number in voting]
    if train is not None:
        members = refit(engine, study, members, train=train)
    told = sum(trial.state.is_finished() for trial in all_trials)
    summary = summarise(
        dataset, found[best], members, ledger, outcome, trials=told, seconds=seconds
    )
    figure = outcome.estimates[outcome.rule].naive
    made = exports.make_bundle(engine, study, members, choice=outcome.choice, figure=figure)
    leave_bundle(out, made, dataset)
    write_file(out / "summary.json", (json.dumps(summary, indent=2) + "\n").encode())
    predict_command = f"muster predict {out / 'bundle'} INPUT --out predictions.csv"
    importance, reason = parameter_importance(all_trials, direction=study.contract.direction)
    write_report(
        out / "report.html",
        study=study.name,
        dataset=dataset,
        summary=summary,
        standings=standings(dataset, ledger, weighed, found, summary),
        members=members,
        choice=outcome.choice,
        metric=study.contract.metric,
        direction=study.contract.direction,
        trials=exports.history(all_trials),
        importance=importance,
        importance_reason=reason,
        predict_command=predict_command,
        is_refitted=train is not None,
    )
    results.print(figures_table(summary))
    show_estimates(ledger, outcome)
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


def ensemble(
    name: StudyName,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until every trial has ended.")
    ] = False,
    out: Out = None,
    rule: Rule = MAJORITY,
    members: Members = MEMBERS,
    per_architecture: PerArchitecture = None,
    min_disagreement: MinDisagreement = 0.0,
    max_q: MaxQ = 1.0,
    refit_members: RefitOption = False,
    workers: Annotated[
        int,
        typer.Option("--workers", min=0, help="Worker processes for --refit; 0: those elsewhere."),
    ] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Choose and estimate; write nothing.")
    ] = False,
    live: Annotated[bool, typer.Option("--live", hidden=True)] = False,
    db: Db = None,
    json_output: Json = False,
) -> None:
    """Vote the trials of a study.

    Writes bundle, predictions of the test part, summary and report. Works while workers run.
    """
    check_rule(rule)
    limits = Limits(members, per_architecture, min_disagreement, max_q)
    settings = settings_for(db)
    engine = open_database(settings)
    study = open_study(engine, name)
    if live:
        look(engine, study, rule=settings.ensemble_rule, cache=settings.cache_dir)
        return
    if wait:
        wait_until_told(engine, study)
    if dry_run:
        _try(engine, study, rule, limits, cache=settings.cache_dir, json_output=json_output)
        return
    dataset = datasets.fetch(engine, study.contract.dataset_fingerprint, cache=settings.cache_dir)
    place = out or Path("runs") / name
    started = time.monotonic()
    seconds = seconds_spent(engine, study)
    summary = vote(
        engine,
        study,
        dataset,
        out=place,
        seconds=seconds,
        rule=rule,
        limits=limits,
        cache=settings.cache_dir,
        train=trainer(engine, settings=settings, workers=workers, logs=place / "logs")
        if refit_members
        else None,
    )
    progress.print(f"voted in {time.monotonic() - started:.1f} s")
    if json_output:
        print_json(summary)


def _try(
    engine: Engine, study: Study, rule: str, limits: Limits, *, cache: Path, json_output: bool
) -> None:
    """Choose and estimate on the ledger alone: no values, no weights, no torch."""
    truth = load_truth(engine, study, cache=cache)
    ledger = load_ledger(engine, study, truth, cache=cache)
    outcome = decide_and_estimate(ledger, rule=rule, limits=limits)
    show_estimates(ledger, outcome)
    if json_output:
        print_json(as_plain(ledger, outcome))


def export(
    name: StudyName,
    out: Annotated[Path, typer.Option("--out", help="The bundle: a folder, or a .zip file.")],
    rule: Rule = MAJORITY,
    members: Members = MEMBERS,
    per_architecture: PerArchitecture = None,
    min_disagreement: MinDisagreement = 0.0,
    max_q: MaxQ = 1.0,
    db: Db = None,
) -> None:
    """Export the trials that vote as a bundle.

    The bundle predicts on its own, without the database.
    """
    from muster_ensemble import export as exports  # noqa: PLC0415 - torch, as in worker.py
    from muster_ensemble.bundle import write_bundle  # noqa: PLC0415

    check_rule(rule)
    limits = Limits(members, per_architecture, min_disagreement, max_q)
    settings = settings_for(db)
    engine = open_database(settings)
    study = open_study(engine, name)
    all_trials = load_trials(engine, study)
    truth = load_truth(engine, study, cache=settings.cache_dir)
    ledger = load_ledger(engine, study, truth, cache=settings.cache_dir, trials=all_trials)
    outcome = decide_and_estimate(ledger, rule=rule, limits=limits)
    numbers = [ledger.numbers[i] for i in outcome.choice.members]
    found = exports.load_candidates(engine, study, numbers, trials=all_trials)
    chosen = [found[number] for number in numbers]
    figure = outcome.estimates[outcome.rule].naive
    made = exports.make_bundle(engine, study, chosen, choice=outcome.choice, figure=figure)
    write_bundle(out, made)
    results.print(f"{out}: trials {', '.join(map(str, numbers))} of study {name}")
