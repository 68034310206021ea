from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from muster_worker.gauge import CONTEXT_BYTES, cuda_memory, gauge_of, host_memory
from muster_worker.readings import Memory

MIB = 2**20
CUDA = torch.device("cuda", 0)
Take = Callable[[int], object]


class FakeAllocator:
    """A GPU of 1 GiB as torch.cuda shows it: what is freed stays free, the peak stays high."""

    def __init__(self) -> None:
        self.held = self.most = 0

    def take(self, count: int) -> FakeBlock:
        """Hold that many bytes until the block is dropped."""
        return FakeBlock(self, count)

    def mem_get_info(self, device: torch.device) -> tuple[int, int]:
        return 1024 * MIB - self.held, 1024 * MIB

    def memory_reserved(self, device: torch.device) -> int:
        return self.held

    def max_memory_reserved(self, device: torch.device) -> int:
        return self.most


class FakeBlock:
    """Memory of a FakeAllocator."""

    def __init__(self, allocator: FakeAllocator, count: int) -> None:
        self.allocator, self.count = allocator, count
        allocator.held += count
        allocator.most = max(allocator.most, allocator.held)

    def __del__(self) -> None:
        self.allocator.held -= self.count


def host() -> tuple[Callable[[], Memory], Take]:
    return host_memory, lambda count: torch.ones(count, dtype=torch.uint8)


def fake() -> tuple[Callable[[], Memory], Take]:
    allocator = FakeAllocator()
    return lambda: cuda_memory(CUDA, allocator), allocator.take


def cuda() -> tuple[Callable[[], Memory], Take]:
    torch.empty(1, device=CUDA)
    return (lambda: cuda_memory(CUDA)), lambda count: torch.ones(
        count, dtype=torch.uint8, device=CUDA
    )


@pytest.mark.parametrize(
    "kind",
    [host, fake, pytest.param(cuda, marks=pytest.mark.cuda)],
    ids=["host", "fake", "cuda"],
)
def test_gauge_sees_what_is_taken_and_remembers_the_most(
    kind: Callable[[], tuple[Callable[[], Memory], Take]],
) -> None:
    measure, take = kind()
    before = measure()
    held = take(256 * MIB)
    during = measure()
    assert during.used - before.used >= 192 * MIB
    assert during.free > 0
    assert during.peak >= during.used
    del held
    torch.cuda.empty_cache()
    after = measure()
    assert during.used - after.used >= 192 * MIB
    assert after.peak - before.used >= 192 * MIB


def test_context_of_cuda_counts_since_each_slot_has_one() -> None:
    assert cuda_memory(CUDA, FakeAllocator()).used == CONTEXT_BYTES


def test_cpu_has_the_memory_of_the_host_alone() -> None:
    assert set(gauge_of(torch.device("cpu"))()) == {"host"}


def test_container_limit_counts_where_it_is_less(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:  4096 kB\n")
    free = host_memory(proc=tmp_path, cgroup=tmp_path).free
    assert free == 4096 * 1024
    for name, text in {
        "memory.max": "3000000\n",
        "memory.current": "2500000\n",
        "memory.stat": "anon 2\ninactive_file 100000\n",
    }.items():
        (tmp_path / name).write_text(text)
    assert host_memory(proc=tmp_path, cgroup=tmp_path).free == 600000
    (tmp_path / "memory.max").write_text("max\n")
    assert host_memory(proc=tmp_path, cgroup=tmp_path).free == free


def test_nothing_is_free_where_nobody_says(tmp_path: Path) -> None:
    measured = host_memory(proc=tmp_path, cgroup=tmp_path)
    assert measured.free == 0
    assert measured.used == measured.peak > 0
