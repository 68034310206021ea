"""What every trial of a study must share."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from muster.data.schema import Schema

LATER = frozenset({"try_first", "warm_start", "refits"})


class Refit(BaseModel):
    """A trial to train again on all labelled data: its number, value and epochs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trial: int
    value: float
    epochs: int


class Contract(BaseModel):
    """What every trial of a study must share.

    folds: (sequences,) fold numbers, -1 for what is never validated on. space: the search-space
    file's content. steps_per_fold: most epochs of a fold plus one, the fold mean's step.
    try_first, warm_start: what the first trials have, in this order, by parameters' names; the
    sampler draws what is left out. refits: of a study that trains trials of another one again,
    the trial of each number.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset_fingerprint: str
    dataset_name: str
    dataset_schema: Schema
    folds: tuple[int, ...]
    metric: str
    direction: Literal["maximize", "minimize"]
    space: dict[str, Any]
    seed: int
    sampler: str = "tpe"
    pruner: str = "median"
    steps_per_fold: int
    code_version: str
    try_first: tuple[dict[str, Any], ...] = ()
    warm_start: tuple[dict[str, Any], ...] = ()
    refits: tuple[Refit, ...] = ()

    @property
    def first(self) -> tuple[dict[str, Any], ...]:
        """What the trials from number 0 on have, as far as it goes."""
        return self.try_first + self.warm_start

    @property
    def canonical(self) -> str:
        """The contract as JSON, the same text for the same contract."""
        content = self.model_dump(mode="json")
        # Contracts of before these fields were keep their text, and so their hash.
        content = {key: each for key, each in content.items() if each != [] or key not in LATER}
        return json.dumps(content, sort_keys=True, separators=(",", ":"))

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical text."""
        return hashlib.sha256(self.canonical.encode()).hexdigest()
