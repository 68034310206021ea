from __future__ import annotations

import builtins
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import muster_ensemble
from muster.data.readers import read_input
from muster.errors import UserError
from muster_ensemble import onnx_file
from muster_ensemble.onnx_file import write_onnx

DATA = Path(__file__).parents[1] / "data/bundles"


def test_one_graph_predicts_as_the_bundle_does(tmp_path: Path) -> None:
    """A CNN over windows and an RNN over sequences scaled by themselves, and their vote."""
    whole = muster_ensemble.load(DATA / "format2", device="cpu")
    # One fold each: exporting takes a second a network.
    bundle = replace(
        whole.bundle, members=whole.bundle.members[1:], weights=(0.6, 0.4), temperatures=(1.5, 0.8)
    )
    members = tuple(folds[:1] for folds in whole.members[1:])
    predictor = replace(whole, bundle=bundle, members=members)
    assert write_onnx(predictor, tmp_path / "ensemble.onnx") < 1e-5
    dataset = read_input(predictor.schema, DATA / "input.csv")
    longest = int(dataset.lengths.max())
    values = np.full((len(dataset), longest, 2), np.nan, dtype=np.float32)
    for row, (first, end) in enumerate(zip(dataset.offsets, dataset.offsets[1:], strict=False)):
        values[row, : end - first] = dataset.values[first:end]
    session = onnxruntime.InferenceSession(tmp_path / "ensemble.onnx")
    scores, each = session.run(
        ["scores", "probabilities"],
        {"values": values, "lengths": dataset.lengths, "static": dataset.static},
    )
    np.testing.assert_allclose(scores, predictor.predict_proba(dataset), atol=1e-6)
    assert each.shape == (2, 9, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["ensemble.onnx"]


def test_without_the_extra_the_message_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def lacking(name: str, *rest: Any, **more: Any) -> Any:
        if name == "onnxscript":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", lacking)
    with pytest.raises(UserError, match=r'further packages: pip install "muster\[onnx\]"'):
        write_onnx(muster_ensemble.load(DATA / "format2"), tmp_path / "ensemble.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("where", ["opening", "running"])
def test_what_onnxruntime_says_against_a_graph_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    content = b"no graph"
    if where == "running":
        # A graph that opens, and has none of the outputs that are asked for.
        float32, shape = onnx.TensorProto.FLOAT, ["n", "t", 2]
        given = onnx.helper.make_tensor_value_info("values", float32, shape)
        same = onnx.helper.make_tensor_value_info("same", float32, shape)
        node = onnx.helper.make_node("Identity", ["values"], ["same"])
        graph = onnx.helper.make_graph([node], "g", [given], [same])
        model = onnx.helper.make_model(
            graph, ir_version=8, opset_imports=[onnx.helper.make_opsetid("", 17)]
        )
        content = model.SerializeToString()
    monkeypatch.setattr(onnx_file, "_export", lambda *given: content)
    with pytest.raises(
        UserError, match=r"e\.onnx: not written: onnxruntime cannot run the graph \(.+\); predict"
    ) as told:
        write_onnx(muster_ensemble.load(DATA / "format2", device="cpu"), tmp_path / "e.onnx")
    assert "\n" not in str(told.value)
    assert not list(tmp_path.iterdir())
