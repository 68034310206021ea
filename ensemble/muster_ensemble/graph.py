"""A whole ensemble as one torch module without loops over data, which can be written as ONNX.

Preprocessing, windows, networks, fold means and the vote: what Predictor does, in tensors. Packed
sequences, which ONNX does not know, become its own recurrent operators, which take lengths.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from muster.calibration import SMALLEST
from muster.data.preprocess import Preprocessor
from muster.data.scaling import RESOLUTION
from muster.fold_model import FoldModel
from muster.models.base import step_mask
from muster.models.recurrent import NormalisedStack, Recurrent
from muster.voting import DIGITS
from muster_ensemble.predict import Predictor

TINY = 1e-30
# torch's order of the gates' weights in ONNX's order.
GATES: dict[type[nn.Module], tuple[str, tuple[int, ...]]] = {
    nn.RNN: ("RNN", (0,)),
    nn.GRU: ("GRU", (1, 0, 2)),
    nn.LSTM: ("LSTM", (0, 3, 1, 2)),
}


class EnsembleGraph(nn.Module):
    """forward(values, lengths, static) -> (scores, probabilities).

    values: (n, steps, channels) float32 as read, NaN where missing, anything behind a sequence's
    end. lengths: (n,) int64. static: (n, features) float32. scores: (n, classes) of the vote,
    float64. probabilities: (members, n, classes), float64.
    """

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        bundle = predictor.bundle
        self.members = nn.ModuleList(
            nn.ModuleList(FoldGraph(model) for model in folds) for folds in predictor.members
        )
        self.rule = bundle.rule
        count = len(bundle.members)
        shares = torch.tensor(bundle.weights or (1.0,) * count, dtype=torch.float64)
        self.register_buffer("shares", shares / shares.sum())
        self.temperatures = bundle.temperatures
        factors = bundle.factors or (1.0,) * len(bundle.schema.classes)
        self.register_buffer("factors", torch.tensor(factors, dtype=torch.float64))

    def forward(self, values: Tensor, lengths: Tensor, static: Tensor) -> tuple[Tensor, Tensor]:
        means = []
        for folds in self.members:
            assert isinstance(folds, nn.ModuleList)
            each = torch.stack([fold(values, lengths, static).double() for fold in folds])
            means.append(each.mean(dim=0))
        probabilities = torch.stack(means)
        return self._vote(self._tempered(probabilities)), probabilities

    def _tempered(self, probabilities: Tensor) -> Tensor:
        if not self.temperatures:
            return probabilities
        each = []
        for member, temperature in zip(probabilities, self.temperatures, strict=True):
            logits = member.clamp(min=SMALLEST).log() / temperature
            each.append(member if temperature == 1.0 else logits.softmax(dim=1))
        return torch.stack(each)

    def _vote(self, probabilities: Tensor) -> Tensor:
        members, _, classes = probabilities.shape
        shares = self.get_buffer("shares")
        if members == 1 or self.rule in {"soft", "greedy"}:
            scores = (probabilities * shares[:, None, None]).sum(dim=0)
        else:
            votes = functional.one_hot(probabilities.argmax(dim=2), classes).double()
            if self.rule == "majority":
                scores = votes.sum(dim=0) + probabilities.sum(dim=0) / (members + 1)
            else:
                counted = (votes * shares[:, None, None]).sum(dim=0)
                scale = 10.0**DIGITS
                counted = (counted * scale).round() / scale
                scores = counted + probabilities.mean(dim=0) / scale
        scores = scores * self.get_buffer("factors")
        return scores / scores.sum(dim=1, keepdim=True)


class FoldGraph(nn.Module):
    """One fold's model with its preprocessing and windows: probabilities (n, classes)."""

    def __init__(self, fold: FoldModel) -> None:
        super().__init__()
        self.scaling = Scaling(fold.preprocessor)
        self.model = exportable(copy.deepcopy(fold.model).cpu().eval())
        self.window = fold.config.window
        stride = fold.config.stride
        if self.window is not None:
            half = max(1, self.window // 2)
            self.stride = min(half if stride is None else stride, self.window)

    def forward(self, values: Tensor, lengths: Tensor, static: Tensor) -> Tensor:
        values, static = self.scaling(values, lengths, static)
        if self.window is None:
            found: Tensor = self.model(values, lengths, static).softmax(dim=1)
            return found
        steps = values.shape[1]
        # As many windows as the longest could have; the others' count for nothing.
        firsts = torch.arange(steps // self.stride + 1) * self.stride
        last = (lengths - self.window).clamp(min=0)
        starts = torch.minimum(firsts[None, :], last[:, None])
        counts = (last + self.stride - 1) // self.stride + 1
        many = firsts.shape[0]
        owner = torch.arange(lengths.shape[0] * many) // many
        padded = functional.pad(values, (0, 0, 0, self.window))
        windows = padded[owner[:, None], starts.reshape(-1, 1) + torch.arange(self.window)]
        short = lengths.clamp(max=self.window)[owner]
        each = self.model(windows, short, static[owner]).softmax(dim=1)
        is_window = (torch.arange(many)[None, :] < counts[:, None]).to(each.dtype)
        by_sequence = each.reshape(lengths.shape[0], many, each.shape[1])
        summed = (by_sequence * is_window[..., None]).sum(dim=1)
        mean: Tensor = summed / counts[:, None].to(each.dtype)
        return mean


class Scaling(nn.Module):
    """Preprocessor.transform on padded sequences, in float64 as there; zeros behind each end."""

    def __init__(self, fitted: Preprocessor) -> None:
        super().__init__()
        self.is_own = fitted.normalise == "per_sequence"
        self.register_buffer("kept", torch.tensor(fitted.kept))
        for name in ("fill", "centre", "scale", "static_fill", "static_centre", "static_scale"):
            numbers = torch.tensor(getattr(fitted, name), dtype=torch.float64)
            self.register_buffer(name, numbers)

    def forward(self, values: Tensor, lengths: Tensor, static: Tensor) -> tuple[Tensor, Tensor]:
        chosen = values.index_select(2, self.get_buffer("kept")).double()
        inside = step_mask(lengths, values.shape[1])[..., None]
        scaled = _per_sequence(chosen, inside) if self.is_own else self._scaled(chosen, "")
        scaled = torch.where(inside, scaled, 0.0)
        return scaled.float(), self._scaled(static.double(), "static_").float()

    def _scaled(self, values: Tensor, prefix: str) -> Tensor:
        filled = torch.where(values.isnan(), self.get_buffer(f"{prefix}fill"), values)
        centred = filled - self.get_buffer(f"{prefix}centre")
        return centred / self.get_buffer(f"{prefix}scale")


def _per_sequence(values: Tensor, inside: Tensor) -> Tensor:
    """muster.data.scaling.per_sequence, over the valid steps of padded sequences."""
    present = ~values.isnan() & inside
    counts = present.sum(dim=1, keepdim=True).clamp(min=1)
    means = torch.where(present, values, 0.0).sum(dim=1, keepdim=True) / counts
    centred = torch.where(present, values - means, 0.0)
    deviations = (centred.square().sum(dim=1, keepdim=True) / counts).sqrt()
    varies = deviations > RESOLUTION * means.abs().clamp(min=TINY)
    return centred / torch.where(varies, deviations, 1.0)


def exportable(model: nn.Module) -> nn.Module:
    """The same model, its recurrent layers as ONNX's operators when it is exported."""
    for module in model.modules():
        if isinstance(module, Recurrent):
            # On the instance, where it comes before the class's method.
            vars(module)["run"] = _run_as_operators(module.recurrent)
    return model


def _run_as_operators(recurrent: nn.Module) -> Any:
    def run(values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        by_step = values.transpose(0, 1)
        if isinstance(recurrent, NormalisedStack):
            for position, layer in enumerate(recurrent.layers):
                if position:
                    by_step = recurrent.normalisations[position - 1](by_step)
                by_step, state = _operator(layer, 0, by_step, lengths)
            return by_step.transpose(0, 1), state
        for level in range(int(recurrent.num_layers)):  # type: ignore[arg-type]
            by_step, state = _operator(recurrent, level, by_step, lengths)
        return by_step.transpose(0, 1), state

    return run


def _operator(
    layer: nn.Module, level: int, values: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor]:
    """ONNX's RNN, GRU or LSTM: (steps, batch, features) outputs, (directions, batch, hidden)."""
    name, order = GATES[type(layer)]
    ways = ["", "_reverse"] if layer.bidirectional else [""]
    hidden = int(layer.hidden_size)  # type: ignore[arg-type]

    def weights(kind: str) -> Tensor:
        each = []
        for way in ways:
            tensor = getattr(layer, f"{kind}_l{level}{way}").detach()
            gates = tensor.reshape(len(order), hidden, *tensor.shape[1:])
            each.append(gates[list(order)].flatten(0, 1))
        return torch.stack(each)

    bias = torch.cat([weights("bias_ih"), weights("bias_hh")], dim=1)
    attributes: dict[str, Any] = {
        "hidden_size": hidden,
        "direction": "bidirectional" if layer.bidirectional else "forward",
    }
    if name == "GRU":
        attributes["linear_before_reset"] = 1
    steps, batch = values.shape[0], values.shape[1]
    outputs, state = torch.onnx.ops.symbolic_multi_out(
        name,
        (values, weights("weight_ih"), weights("weight_hh"), bias, lengths.int()),
        attributes,
        dtypes=(torch.float32, torch.float32),
        shapes=((steps, len(ways), batch, hidden), (len(ways), batch, hidden)),
        version=14,
    )
    return outputs.transpose(1, 2).flatten(2), state
