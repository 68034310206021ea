from __future__ import annotations

import os
import socket

import pytest
import torch

from muster.errors import UserError
from muster_worker.machine import find_machine, versions


def test_cpu_is_taken_with_the_threads_that_were_asked_for() -> None:
    machine = find_machine(device="cpu", threads=1)
    assert machine.device == torch.device("cpu")
    assert torch.get_num_threads() == machine.threads == 1
    assert machine.description == "CPU, 1 thread"
    assert (machine.host, machine.process) == (socket.gethostname(), os.getpid())


def test_auto_takes_the_gpu_where_there_is_one() -> None:
    machine = find_machine(threads=2)
    assert (machine.device.type == "cuda") == torch.cuda.is_available()
    assert machine.threads == 2


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("abacus", "unknown; use auto, cpu, cuda or cuda:N"),
        ("meta", "not supported; use auto"),
        ("cuda:97", r"not here: this machine shows \d+ CUDA"),
    ],
)
def test_device_that_is_not_there_is_refused(device: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_machine(device=device, threads=1)


def test_versions_name_what_decides_the_figures() -> None:
    assert set(versions()) == {"muster", "torch", "numpy", "scikit-learn", "python"}
