"""Packed tensors come back to the bit, and anything else is refused by name."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save

from muster.errors import UserError
from muster.tensors import bytes_tensor, pack, unpack


def test_tensors_and_content_come_back_to_the_bit() -> None:
    tensors = {
        "weights": torch.randn(3, 4),
        "transposed": torch.randn(4, 3).T,
        "none": torch.zeros(0, 2),
        "scalar": torch.tensor(7),
        "odd": torch.tensor([float("nan"), float("-inf"), -0.0]),
        "state": torch.get_rng_state(),
    }
    content = {
        "text": 'é "quoted" \n',
        "number": 0.1 + 0.2,
        "inf": float("inf"),
        "list": [1, None],
    }
    read, described = unpack(pack(tensors, content), what="it")
    assert described == content
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype
        assert read[name].shape == tensor.shape
        torch.testing.assert_close(read[name], tensor, rtol=0, atol=0, equal_nan=True)


def test_the_same_content_gives_the_same_bytes() -> None:
    one, two = torch.ones(2), torch.zeros(3)
    assert pack({"a": one, "b": two}, {"x": 1}) == pack({"b": two, "a": one}, {"x": 1})


def test_packing_leaves_gradients_out() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    assert not unpack(pack({"p": parameter}, {}), what="it")[0]["p"].requires_grad


@pytest.mark.parametrize("data", [b"", b"\x00" * 8, b"\xff" * 64, b"hello, world", b"{}" * 40])
def test_what_was_never_packed_is_refused(data: bytes) -> None:
    with pytest.raises(UserError, match="the parcel is damaged"):
        unpack(data, what="the parcel")


def test_every_cut_is_refused() -> None:
    data = pack({"a": torch.ones(2)}, {"x": 1})
    for kept in range(len(data)):
        with pytest.raises(UserError, match="the parcel is damaged"):
            unpack(data[:kept], what="the parcel")
    with pytest.raises(UserError, match="the parcel is damaged"):
        unpack(data + b"\x00", what="the parcel")


@pytest.mark.parametrize(
    "metadata",
    [None, {"other": "{}"}, {"muster": "{"}, {"muster": "[1]"}, {"muster": json.dumps("text")}],
)
def test_tensors_of_somebody_else_are_refused(metadata: dict[str, str] | None) -> None:
    with pytest.raises(UserError, match="the parcel is damaged"):
        unpack(save({"a": torch.ones(2)}, metadata=metadata), what="the parcel")


@pytest.mark.parametrize("data", [b"", b"\x00\xffabc"])
def test_bytes_come_back_from_their_tensor(data: bytes) -> None:
    tensor = bytes_tensor(data)
    assert tensor.dtype == torch.uint8
    assert tensor.numpy().tobytes() == data
    assert unpack(pack({"b": tensor}, {}), what="it")[0]["b"].numpy().tobytes() == data
