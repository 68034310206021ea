"""A bundle as one ONNX file, compared with PyTorch before it is written."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from muster.data.dataset import Dataset
from muster.errors import UserError
from muster_ensemble.files import write_file
from muster_ensemble.frames import as_dataset
from muster_ensemble.graph import EnsembleGraph
from muster_ensemble.predict import Predictor

NO_ONNX = 'writing ONNX takes further packages: pip install "muster[onnx]"'
INPUTS, OUTPUTS = ["values", "lengths", "static"], ["scores", "probabilities"]
# A dimension of one step would be taken for fixed; networks halve the steps a few times.
STEPS = 64
CHECKED = (2, 7, 40)
TOLERANCE = 1e-4


def write_onnx(predictor: Predictor, path: Path) -> float:
    """Write the ensemble at path; returns the largest difference found to PyTorch's probabilities.

    Inputs: values (n, steps, channels) float32 as read, NaN where missing; lengths (n,) int64;
    static (n, features) float32, texts one-hot. Outputs: scores (n, classes) and probabilities
    (members, n, classes), float64. Raises UserError where a package is missing, a network cannot
    be written, or onnxruntime's probabilities are further than TOLERANCE from PyTorch's.
    """
    on_host = replace(predictor, device=torch.device("cpu"))
    data = _export(EnsembleGraph(on_host), _example(predictor), str(path))
    difference = _compare(on_host, data, path)
    write_file(path, data)
    return difference


def _export(graph: nn.Module, example: tuple[Tensor, ...], place: str) -> bytes:
    try:
        import onnxscript  # noqa: F401, PLC0415 - an extra
        from torch.onnx.errors import OnnxExporterError  # noqa: PLC0415
    except ImportError as fault:
        raise UserError(f"{place}: {NO_ONNX}") from fault
    any_size = torch.export.Dim.DYNAMIC
    sizes = ({0: any_size, 1: any_size}, {0: any_size}, {0: any_size})
    try:
        with _quiet():
            program = torch.export.export(
                graph.eval(), example, dynamic_shapes=sizes, strict=False
            )
            made: Any = torch.onnx.export(
                program,
                example,
                dynamo=True,
                verbose=False,
                input_names=INPUTS,
                output_names=OUTPUTS,
            )
            content: bytes = made.model_proto.SerializeToString()
    except (OnnxExporterError, RuntimeError, ValueError, TypeError) as fault:
        names = ", ".join(sorted({type(each).__name__ for each in _models(graph)}))
        reason = str(fault).strip().splitlines()[0]
        raise UserError(
            f"{place}: one of the networks {names} cannot be written as ONNX ({reason}); "
            "export an ensemble without it"
        ) from fault
    return content


def _models(graph: nn.Module) -> Iterator[nn.Module]:
    for name, module in graph.named_modules():
        if name.endswith(".model"):
            yield module


def _example(predictor: Predictor) -> tuple[Tensor, ...]:
    schema = predictor.schema
    widths = [
        int(getattr(fold.model, "width", 1)) for folds in predictor.members for fold in folds
    ]
    steps = STEPS * max(widths)
    values = torch.zeros(3, steps, len(schema.channels))
    return values, torch.tensor([steps, 2, 5]), torch.zeros(3, schema.static_features)


def _compare(predictor: Predictor, data: bytes, path: Path) -> float:
    """The largest difference over made sequences of several lengths."""
    run = _session(data, path)
    rng = np.random.default_rng(0)
    worst = 0.0
    for longest in CHECKED:
        values, lengths, dataset = _made(predictor, rng, longest)
        scores, each = run({"values": values, "lengths": lengths, "static": dataset.static})
        index = np.arange(len(dataset), dtype=np.int64)
        expected = predictor.member_proba(dataset, index)
        worst = max(worst, float(np.abs(each - expected).max()))
        voted = predictor.predict_proba(dataset)
        top = np.sort(voted, axis=1)
        is_clear = top[:, -1] - top[:, -2] > 10 * TOLERANCE
        same = scores.argmax(axis=1) == voted.argmax(axis=1)
        if not worst <= TOLERANCE or not same[is_clear].all():
            raise UserError(
                f"{path}: not written: onnxruntime's probabilities differ by {worst:.1e} from "
                "PyTorch's; predict with the bundle itself"
            )
    return worst


def _session(data: bytes, path: Path) -> Callable[[dict[str, NDArray[Any]]], list[NDArray[Any]]]:
    """The graph's outputs by onnxruntime, which gets those of the inputs that the graph has.

    Raises UserError where it is not installed, and for whatever it says against the graph.
    """
    try:
        import onnxruntime  # noqa: PLC0415 - an extra
        from onnxruntime.capi import onnxruntime_pybind11_state as core  # noqa: PLC0415
    except ImportError as fault:
        raise UserError(f"{path}: {NO_ONNX}") from fault
    # Its errors have no base of their own.
    classes: list[type] = [each for each in vars(core).values() if isinstance(each, type)]
    theirs = [each for each in classes if issubclass(each, Exception)]
    errors: tuple[type[Exception], ...] = (RuntimeError, ValueError, *theirs)

    @contextmanager
    def told() -> Iterator[None]:
        try:
            yield
        except errors as fault:
            reason = (str(fault).strip().splitlines() or [type(fault).__name__])[0]
            raise UserError(
                f"{path}: not written: onnxruntime cannot run the graph ({reason}); predict with "
                "the bundle itself, or take another version of onnxruntime"
            ) from fault

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    with told():
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    known = {each.name for each in session.get_inputs()}

    def run(feed: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        with told():
            found: list[NDArray[Any]] = session.run(
                OUTPUTS, {name: array for name, array in feed.items() if name in known}
            )
            return found

    return run


def _made(
    predictor: Predictor, rng: np.random.Generator, longest: int
) -> tuple[NDArray[np.float32], NDArray[np.int64], Dataset]:
    """Sequences of the size that training saw, padded by NaN; a value is missing now and then."""
    schema, fitted = predictor.schema, predictor.members[0][0].preprocessor
    centre, scale = np.zeros(len(schema.channels)), np.ones(len(schema.channels))
    centre[list(fitted.kept)], scale[list(fitted.kept)] = fitted.centre, fitted.scale
    lengths = rng.integers(1, longest + 1, size=8)
    lengths[0] = longest
    values = centre + scale * rng.normal(size=(8, longest, len(schema.channels)))
    # Gaps that the reader fills are not the graph's business.
    is_filled = schema.description.get("missing", "none") != "none"
    values[rng.random(values.shape) < (0.0 if is_filled else 0.05)] = np.nan
    inside = np.arange(longest) < lengths[:, None]
    padded = np.where(inside[..., None], values, np.nan).astype(np.float32)
    static = {
        column.name: rng.normal(size=8)
        if column.vocabulary is None
        else rng.choice(np.array(column.vocabulary or ("",), dtype=object), size=8)
        for column in schema.static
    }
    sequences = [row[:length] for row, length in zip(padded, lengths, strict=True)]
    return padded, lengths.astype(np.int64), as_dataset(schema, sequences, static)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch's exporter says of packages that are not there, and its fused layers."""
    log = logging.getLogger("torch.onnx")
    before, is_fused = log.level, torch.backends.mha.get_fastpath_enabled()
    log.setLevel(logging.ERROR)
    # ONNX has no operator for torch's fused transformer layer.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(is_fused)
        log.setLevel(before)
