"""The model of one fold: weights, preprocessing and configuration in one safetensors file."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from muster import models
from muster.config import TrialConfig
from muster.data.dataset import Dataset
from muster.data.preprocess import Preprocessor
from muster.errors import UserError
from muster.inference import ShouldStop, never, predict_proba
from muster.models.base import InputShape, Model
from muster.samples import Samples
from muster.tensors import pack, unpack

FORMAT = 1
# Options that count layers, and what any other may be however small the model is.
DEPTHS = {"layers", "blocks", "depth", "dense"}
SMALL = 1024


@dataclass(frozen=True)
class FoldModel:
    """Predicts on its own, with the preprocessing that was fitted on its training fold."""

    config: TrialConfig
    shape: InputShape
    preprocessor: Preprocessor
    model: Model

    def predict_proba(
        self,
        dataset: Dataset,
        index: NDArray[np.int64],
        *,
        device: torch.device,
        should_stop: ShouldStop = never,
    ) -> NDArray[np.float32]:
        """(len(index), classes) class probabilities of the sequences at index.

        Raises UserError where the dataset has not the channels that the model was trained on, and
        Interrupted where should_stop, which is asked before each batch, says so.
        """
        given = input_shape(dataset)
        if given != self.shape:
            raise UserError(f"{dataset.name} has {given}, the model was trained on {self.shape}")
        if not len(index):
            return np.zeros((0, self.shape.classes), dtype=np.float32)
        samples = Samples(
            dataset,
            index,
            self.preprocessor,
            window=self.config.window,
            stride=self.config.stride,
            device=device,
        )
        model = self.model.to(device)
        probabilities = predict_proba(model, samples, should_stop=should_stop).numpy()
        return np.asarray(probabilities, dtype=np.float32)

    def to_bytes(self) -> bytes:
        """The file's content; from_bytes makes the same model of it, to the bit."""
        content = {
            "format": FORMAT,
            "config": self.config.model_dump(mode="json"),
            "shape": asdict(self.shape),
            "preprocessor": self.preprocessor.to_json(),
        }
        return pack(self.model.state_dict(), content)

    @classmethod
    def from_bytes(cls, data: bytes) -> FoldModel:
        """Raises UserError for damaged data, a newer format and weights that are not finite."""
        tensors, content = unpack(data, what="the fold model")
        if content.get("format") != FORMAT:
            raise UserError(
                f"the fold model has format {content.get('format')!r}, this muster reads "
                f"{FORMAT}; use the version that wrote it"
            )
        try:
            config = TrialConfig.model_validate(content["config"])
            shape = InputShape(**content["shape"])
            preprocessor = Preprocessor.from_json(content["preprocessor"])
            _refuse_other_sizes(config, shape, preprocessor, tensors)
            model = _empty(config, shape, preprocessor)
            model.load_state_dict(tensors)
        except (KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise UserError(f"the fold model is damaged: {error}") from error
        broken = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
        if broken:
            raise UserError(f"the fold model has weights that are no numbers: {', '.join(broken)}")
        return cls(config, shape, preprocessor, model)


def input_shape(dataset: Dataset) -> InputShape:
    """Sizes of the whole dataset, before a fold's preprocessing drops channels."""
    return InputShape(
        channels=len(dataset.schema.channels),
        static_features=dataset.static.shape[1],
        classes=len(dataset.schema.classes),
    )


def make_model(config: TrialConfig, shape: InputShape, preprocessor: Preprocessor) -> Model:
    """Fresh weights from torch's current random state, for the channels that were kept."""
    kept = InputShape(len(preprocessor.kept), shape.static_features, shape.classes)
    return models.build(config.architecture, kept, dropout=config.dropout)


def _refuse_other_sizes(
    config: TrialConfig, shape: InputShape, preprocessor: Preprocessor, tensors: dict[str, Tensor]
) -> None:
    """Raise before memory is taken: what the configuration says must be what the tensors are."""
    name, options = config.architecture.name, config.architecture.options
    if name not in models.ARCHITECTURES:
        raise ValueError(f"unknown architecture {name!r}; a newer muster may know it")
    problems = models.check_options(name, options)
    if problems:
        raise ValueError("; ".join(problems))
    numbers = sum(tensor.numel() for tensor in tensors.values())
    for option, value in options.items():
        # Each layer has weights of its own, and none of a size is smaller than that.
        most = len(tensors) if option in DEPTHS else max(numbers, SMALL)
        if isinstance(value, int) and value > most:
            raise ValueError(f"{option} = {value} is more than its {len(tensors)} tensors hold")
    with torch.device("meta"):
        expected = make_model(config, shape, preprocessor).state_dict()
    found = {key: (tensor.shape, tensor.dtype) for key, tensor in tensors.items()}
    if found != {key: (tensor.shape, tensor.dtype) for key, tensor in expected.items()}:
        raise ValueError("its tensors are not those of its configuration")


def _empty(config: TrialConfig, shape: InputShape, preprocessor: Preprocessor) -> Model:
    # The weights are overwritten at once; the caller's random numbers must not notice.
    with torch.random.fork_rng(devices=[]):
        return make_model(config, shape, preprocessor)
