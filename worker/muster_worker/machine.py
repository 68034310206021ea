"""What this machine offers a worker: device, threads, names."""

from __future__ import annotations

import os
import platform
import socket
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version

import torch

from muster.errors import UserError
from muster_worker.gauge import all_memory


@dataclass(frozen=True)
class Machine:
    """Where a worker trains; description is one line for people.

    memory_bytes: all memory of the device, None where the system does not say. slot: the worker's
    number where several train on this machine.
    """

    host: str
    process: int
    device: torch.device
    threads: int
    description: str
    memory_bytes: int | None = None
    slot: int | None = None


def find_machine(
    *, device: str = "auto", threads: int | None = None, slot: int | None = None
) -> Machine:
    """Take the named device, or the GPU where there is one, and set the CPU threads.

    Raises UserError where the device does not exist.
    """
    chosen = _device(device)
    count = threads or os.cpu_count() or 1
    torch.set_num_threads(count)
    return Machine(
        host=socket.gethostname(),
        process=os.getpid(),
        device=chosen,
        threads=count,
        description=_describe(chosen, count),
        memory_bytes=all_memory(chosen),
        slot=slot,
    )


@cache
def versions() -> dict[str, str]:
    """The versions that decide a trial's figures, stored with it; the same dict, to be read."""
    names = ("muster", "torch", "numpy", "scikit-learn")
    return {name: version(name) for name in names} | {"python": platform.python_version()}


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"device {name!r} is unknown; use auto, cpu, cuda or cuda:N") from error
    if device.type == "cpu":
        return device
    if device.type != "cuda":
        raise UserError(f"device {name!r} is not supported; use auto, cpu, cuda or cuda:N")
    count = torch.cuda.device_count()
    if (device.index or 0) >= count:
        raise UserError(f"device {name!r} is not here: this machine shows {count} CUDA device(s)")
    return torch.device("cuda", device.index or 0)


def _describe(device: torch.device, threads: int) -> str:
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}"
