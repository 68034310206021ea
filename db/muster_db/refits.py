"""Refits: trials of a study trained again on all labelled data, as a study of their own.

So they are claimed, leased, checkpointed, resumed and told like any other trial (ADR 0004).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine

from muster.errors import UserError
from muster_db.contract import Refit
from muster_db.study import NAME_CHARACTERS, Study, create_study, list_studies

DIGITS = 8


@dataclass(frozen=True)
class Job:
    """A trial to refit and its parameters, all of them."""

    refit: Refit
    params: Mapping[str, Any]


def open_refits(engine: Engine, study: Study, jobs: Sequence[Job]) -> Study:
    """The study that trains these trials of another study again, made where it is not there yet.

    Its trial of number n is the refit of jobs[n]; it goes before the study itself where a worker
    serves both. Raises UserError where its name would be too long.
    """
    contract = study.contract.model_copy(
        update={
            "try_first": tuple(dict(job.params) for job in jobs),
            "warm_start": (),
            "refits": tuple(job.refit for job in jobs),
            "sampler": "random",
            "pruner": "none",
        }
    )
    name = _name(study, jobs)
    known = list_studies(engine, name)
    if not known:
        try:
            return create_study(
                engine,
                name=name,
                contract=contract,
                budget=len(jobs),
                priority=study.priority + 1,
                max_attempts=study.max_attempts,
            )
        except UserError:
            # Another command may have made it a moment ago.
            known = list_studies(engine, name)
            if not known:
                raise
    return known[0]


def _name(study: Study, jobs: Sequence[Job]) -> str:
    """The same for the same refits of the same study."""
    content = json.dumps([study.contract.hash, *(job.refit.model_dump() for job in jobs)])
    ending = f".refit-{hashlib.sha256(content.encode()).hexdigest()[:DIGITS]}"
    return study.name[: NAME_CHARACTERS - len(ending)] + ending
