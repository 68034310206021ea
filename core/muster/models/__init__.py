"""Architectures: one file each, and their registry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from muster.config import Choice
from muster.models.base import InputShape, Model
from muster.models.cnn import Cnn
from muster.models.cnn_gru import CnnGru
from muster.models.recurrent import Gru, Lstm, Rnn
from muster.options import option_problems

ARCHITECTURES: dict[str, type[Model]] = {
    "rnn": Rnn,
    "lstm": Lstm,
    "gru": Gru,
    "cnn": Cnn,
    "cnn_gru": CnnGru,
}


def check_options(name: str, options: Mapping[str, Any]) -> list[str]:
    """What is wrong with these options of an architecture: one line a problem."""
    return option_problems(ARCHITECTURES[name], options, not_options=frozenset({"dropout"}))


def build(choice: Choice, shape: InputShape, *, dropout: float) -> Model:
    """The chosen architecture with fresh weights from torch's current random state."""
    return ARCHITECTURES[choice.name](shape, dropout=dropout, **choice.options)
