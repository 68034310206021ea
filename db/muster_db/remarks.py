"""What people write into the notes of studies and trials, in optuna-dashboard's own form."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, Engine, select

from muster_db import records
from muster_db.engine import transact
from muster_db.notes import PIECE_CHARACTERS
from muster_db.progress import study_row
from muster_db.study import Study
from muster_db.tables import optuna_study_facts, studies


def save(
    engine: Engine, study: Study, body: str, *, version: int, trial_id: int | None = None
) -> bool:
    """Make body (Markdown) the note of the study, or of one of its trials.

    version: the one after that which the writer has seen; False, and nothing is changed, where
    the note has been written since. Raises UserError where the study has been deleted.
    """
    owner = "dashboard:" if trial_id is None else f"dashboard:{trial_id}:"
    counter, start = f"{owner}note_ver", f"{owner}note_str:"
    facts = optuna_study_facts
    of_study = facts.c.study_id == study.study_id
    pieces = [
        body[begin : begin + PIECE_CHARACTERS] for begin in range(0, len(body), PIECE_CHARACTERS)
    ]
    values: dict[str, Any] = {counter: version} | {
        f"{start}{i}": piece for i, piece in enumerate(pieces)
    }

    def verb(connection: Connection) -> bool:
        # Two writers of one version must not both succeed.
        locked = select(studies.c.study_id).where(studies.c.study_id == study.study_id)
        connection.execute(locked.with_for_update())
        study_row(connection, study)
        known = connection.execute(
            select(facts.c.value_json).where(of_study, facts.c.key == counter)
        ).scalar()
        if version != 1 + (0 if known is None else int(json.loads(known))):
            return False
        # What a longer note leaves behind is emptied: a worker's account may delete nothing here.
        old = connection.execute(
            select(facts.c.key).where(of_study, facts.c.key.startswith(start, autoescape=True))
        ).scalars()
        texts = dict.fromkeys(old, "") | values
        rows = [
            {"study_id": study.study_id, "key": key, "value_json": json.dumps(value)}
            for key, value in texts.items()
        ]
        records.upsert(connection, facts, rows, keys=("study_id", "key"))
        return True

    return transact(engine, verb)
