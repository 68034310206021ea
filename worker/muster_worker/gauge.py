"""How much memory this process takes, and how much is left."""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch

from muster_worker.readings import Gauge, Memory

PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup")
# CUDA's context and the libraries' kernels, which PyTorch's allocator does not count.
CONTEXT_BYTES = 512 * 2**20
KIBIBYTE = 1024


def gauge_of(device: torch.device) -> Gauge:
    """Measures the host's memory and, of a GPU, the device's."""

    def measure() -> Mapping[str, Memory]:
        if device.type != "cuda":
            return {"host": host_memory()}
        return {"host": host_memory(), "device": cuda_memory(device)}

    return measure


def all_memory(device: torch.device, *, proc: Path = PROC, cgroup: Path = CGROUP) -> int | None:
    """Bytes of a GPU's memory, else of the machine's or the container's; None: nobody says."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    kibibytes = _fields(proc / "meminfo").get("MemTotal")
    found = [None if kibibytes is None else kibibytes * KIBIBYTE, _limit_of(cgroup)]
    return min((each for each in found if each is not None), default=None)


class Allocator(Protocol):
    """What PyTorch says of a GPU's memory; torch.cuda is one."""

    def mem_get_info(self, device: torch.device) -> tuple[int, int]:
        """Free and all bytes of the device, whoever holds the rest."""

    def memory_reserved(self, device: torch.device) -> int:
        """Bytes that this process holds."""

    def max_memory_reserved(self, device: torch.device) -> int:
        """The most that it held."""


def cuda_memory(device: torch.device, allocator: Allocator = torch.cuda) -> Memory:
    """Of this process what PyTorch holds on the device, its context included."""
    free, _ = allocator.mem_get_info(device)
    return Memory(
        used=allocator.memory_reserved(device) + CONTEXT_BYTES,
        peak=allocator.max_memory_reserved(device) + CONTEXT_BYTES,
        free=free,
    )


def host_memory(*, proc: Path = PROC, cgroup: Path = CGROUP) -> Memory:
    """Resident memory of this process, and what the machine or the container has left.

    Where the system says neither, free is 0: nobody can tell whether another slot fits.
    """
    own = _fields(proc / "self" / "status")
    if "VmHWM" in own:
        used, peak = own["VmRSS"] * KIBIBYTE, own["VmHWM"] * KIBIBYTE
    else:
        unit = 1 if sys.platform == "darwin" else KIBIBYTE
        used = peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    left = [each for each in (_available(proc), _left_in(cgroup)) if each is not None]
    return Memory(used=used, peak=max(peak, used), free=max(0, min(left, default=0)))


def _available(proc: Path) -> int | None:
    kibibytes = _fields(proc / "meminfo").get("MemAvailable")
    return None if kibibytes is None else kibibytes * KIBIBYTE


def _left_in(cgroup: Path) -> int | None:
    """What a container's limit leaves; the cache of files makes room when it is needed."""
    limit = _limit_of(cgroup)
    try:
        current = int((cgroup / "memory.current").read_text())
    except (OSError, ValueError):
        return None
    if limit is None:
        return None
    return limit - current + _fields(cgroup / "memory.stat").get("inactive_file", 0)


def _limit_of(cgroup: Path) -> int | None:
    try:
        limit = (cgroup / "memory.max").read_text().strip()
    except OSError:
        return None
    return int(limit) if limit.isdigit() else None


def _fields(path: Path) -> dict[str, int]:
    """`name: number unit` or `name number` lines; none where the file is not there."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    words = [line.replace(":", " ").split() for line in lines]
    return {each[0]: int(each[1]) for each in words if len(each) > 1 and each[1].isdigit()}
