"""Training the members of an ensemble again on all labelled data, by workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from sqlalchemy import Engine

from muster.settings import Settings
from muster_cli import processes
from muster_cli.console import progress
from muster_cli.waiting import wait_until_told
from muster_db.refits import open_refits
from muster_db.study import Study

if TYPE_CHECKING:
    from muster_ensemble.select import Candidate

# Sees to it that every trial of a study is told.
Train = Callable[[Study], None]

RefitOption = Annotated[
    bool,
    typer.Option("--refit", help="Train the members again on all labelled data, for the bundle."),
]


def refit(
    engine: Engine, study: Study, members: Sequence[Candidate], *, train: Train
) -> list[Candidate]:
    """The members with the weights of their refits. Raises UserError where one fails."""
    from muster_ensemble.refit import jobs_of, refitted  # noqa: PLC0415 - torch, as in worker.py

    refits = open_refits(engine, study, jobs_of(members))
    progress.print(
        f"refit: {refits.budget} members are trained again on all labelled data, as study "
        f"{refits.name}"
    )
    train(refits)
    return refitted(engine, refits, members)


def trainer(engine: Engine, *, settings: Settings, workers: int, logs: Path) -> Train:
    """Trains with so many workers on this machine, beside those that are attached elsewhere.

    workers: 0 leaves it all to them.
    """

    def train(refits: Study) -> None:
        if workers:
            processes.search(engine, refits, settings=settings, workers=workers, logs=logs)
        else:
            progress.print(
                "waiting for workers: `muster worker` without --study, or with "
                f"--study {refits.name}, takes them"
            )
            wait_until_told(engine, refits)

    return train
