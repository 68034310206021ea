"""The note of a study that optuna-dashboard shows, in the form in which it keeps notes.

As optuna_dashboard.save_note writes it: a version, and the text in pieces, as attributes of the
study. That package is an extra which a worker lacks.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, select

from muster_db.records import upsert
from muster_db.tables import optuna_study_facts

if TYPE_CHECKING:
    from muster_db.contract import Contract

VERSION: Final = "dashboard:note_ver"
PIECE: Final = "dashboard:note_str:"
PIECE_CHARACTERS: Final = 2045
# Ours is between these, which Markdown does not show; what people write around it stays.
BEGIN: Final = "[//]: # (muster)"
END: Final = "[//]: # (end of muster)"
NO_ENSEMBLE: Final = "### Current ensemble\n\nNone yet: it takes completed trials."


def write(connection: Connection, study_id: int, contract: Contract, ensemble: str) -> None:
    """Put the contract and the ensemble, Markdown, into the study's note.

    What people wrote into the note stays. Whoever edits it at this moment in the dashboard is
    told so there and saves again.
    """
    facts = _facts(connection, study_id)
    texts = {key: str(text) for key, text in facts.items() if key.startswith(PIECE)}
    old = "".join(texts.get(f"{PIECE}{i}", "") for i in range(len(texts)))
    new = put_in(old, f"{contract_in_words(contract)}\n{ensemble}")
    if new == old:
        return
    pieces = [new[i : i + PIECE_CHARACTERS] for i in range(0, len(new), PIECE_CHARACTERS)]
    values: dict[str, Any] = dict.fromkeys(texts, "")
    values |= {f"{PIECE}{i}": piece for i, piece in enumerate(pieces)}
    values |= {VERSION: int(facts.get(VERSION, 0)) + 1}
    rows = [
        {"study_id": study_id, "key": key, "value_json": json.dumps(value)}
        for key, value in values.items()
    ]
    upsert(connection, optuna_study_facts, rows, keys=("study_id", "key"))


def put_in(note: str, text: str) -> str:
    """The note with this text in place of muster's own part, or after all else."""
    ours = f"{BEGIN}\n\n{text.strip()}\n\n{END}"
    before, begin, rest = note.partition(BEGIN)
    _, end, after = rest.partition(END)
    if begin and end:
        return f"{before}{ours}{after}"
    return f"{note.rstrip()}\n\n{ours}\n" if note.strip() else f"{ours}\n"


def literal(text: str) -> str:
    """The text in one line of Markdown, without any meaning there."""
    return re.sub(r"([\\`*_\[\]<>|#&])", r"\\\1", " ".join(text.split()))


def contract_in_words(contract: Contract) -> str:
    """Markdown of what all trials of a study share."""
    classes = contract.dataset_schema.classes
    return "\n".join(
        (
            "### Contract",
            "",
            f"- dataset {literal(contract.dataset_name)}, {len(classes)} classes, "
            f"fingerprint `{contract.dataset_fingerprint[:12]}`",
            f"- {contract.metric}, {contract.direction}d over {max(contract.folds) + 1} folds",
            f"- sampler {contract.sampler}, pruner {contract.pruner}, seed {contract.seed}",
            f"- muster {contract.code_version}, contract `{contract.hash[:12]}`",
            "",
        )
    )


def _facts(connection: Connection, study_id: int) -> dict[str, Any]:
    query = select(optuna_study_facts.c.key, optuna_study_facts.c.value_json).where(
        optuna_study_facts.c.study_id == study_id,
        optuna_study_facts.c.key.startswith("dashboard:note_", autoescape=True),
    )
    return {key: json.loads(text) for key, text in connection.execute(query)}
