"""Waiting until a study is told, through outages of its database."""

from __future__ import annotations

from sqlalchemy import Engine

from muster.errors import UserError
from muster_cli.console import progress
from muster_cli.looking import WATCHING_PATIENCE_SECONDS, looks
from muster_db import trials
from muster_db.progress import StudyProgress
from muster_db.progress import progress as study_progress
from muster_db.study import Study

WAIT_SECONDS = 2.0


def wait_until_told(engine: Engine, study: Study) -> None:
    """Return once every trial is told, saying how far it is. Raises UserError once stopped."""
    told = -1
    watching = engine.execution_options(muster_patience=WATCHING_PATIENCE_SECONDS)

    def look() -> StudyProgress:
        trials.reap(watching, study)
        return study_progress(watching, study)

    for now in looks(look, every_seconds=WAIT_SECONDS):
        if now.told != told:
            told = now.told
            progress.print(f"{study.name}: {told}/{now.budget} trials done")
        if now.is_finished:
            return
        if now.is_stopped:
            raise UserError(f"study {study.name!r} is stopped at {told}/{now.budget} trials")
