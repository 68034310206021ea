"""Tensors and plain data in one safetensors byte string; nothing is ever unpickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from muster.errors import UserError

KEY = "muster"
HEADER_BYTES = 8


def pack(tensors: Mapping[str, Tensor], content: Mapping[str, Any]) -> bytes:
    """One byte string; content: whatever JSON takes."""
    host = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    data: bytes = save(host, metadata={KEY: json.dumps(content)})
    return data


def unpack(data: bytes, *, what: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What pack was given. Raises UserError naming what, if data is torn or something else."""
    try:
        tensors = load(data)
        size = int.from_bytes(data[:HEADER_BYTES], "little")
        header = json.loads(data[HEADER_BYTES : HEADER_BYTES + size])
        content = json.loads(header["__metadata__"][KEY])
    except (SafetensorError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{what} is damaged or no file of muster's ({error})") from error
    if not isinstance(content, dict):
        raise UserError(f"{what} is damaged: its description is no table")
    return tensors, content


def bytes_tensor(data: bytes) -> Tensor:
    """Bytes as a uint8 tensor."""
    return torch.from_numpy(np.frombuffer(data, dtype=np.uint8).copy())
