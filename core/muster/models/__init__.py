"""Architectures: one file each, and their registry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from muster.config import Choice
from muster.models.base import InputShape, Model
from muster.models.cnn import Cnn
from muster.models.cnn2d import Cnn2d
from muster.models.cnn_recurrent import CnnGru, CnnLstm, CnnRnn
from muster.models.fcn import Fcn
from muster.models.inception_time import InceptionTime
from muster.models.recurrent import Gru, Lstm, Rnn
from muster.models.resnet import Resnet
from muster.models.resnet_gru import ResnetGru
from muster.models.transformer import Transformer
from muster.models.transformer2d import Transformer2d
from muster.options import option_problems

ARCHITECTURES: dict[str, type[Model]] = {
    "rnn": Rnn,
    "lstm": Lstm,
    "gru": Gru,
    "cnn": Cnn,
    "fcn": Fcn,
    "resnet": Resnet,
    "inception_time": InceptionTime,
    "cnn2d": Cnn2d,
    "cnn_rnn": CnnRnn,
    "cnn_lstm": CnnLstm,
    "cnn_gru": CnnGru,
    "resnet_gru": ResnetGru,
    "transformer": Transformer,
    "transformer2d": Transformer2d,
}


def check_options(name: str, options: Mapping[str, Any]) -> list[str]:
    """What is wrong with these options of an architecture: one line a problem."""
    return option_problems(ARCHITECTURES[name], options, not_options=frozenset({"dropout"}))


def build(choice: Choice, shape: InputShape, *, dropout: float) -> Model:
    """The chosen architecture with fresh weights from torch's current random state."""
    return ARCHITECTURES[choice.name](shape, dropout=dropout, **choice.options)
