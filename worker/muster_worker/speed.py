"""How quickly a device trains: a short probe, so that machines can be compared."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import torch
from torch import nn

log = logging.getLogger(__name__)

BATCH, STEPS, CHANNELS, HIDDEN, CLASSES = 32, 30, 8, 64, 4


def steps_per_second(
    device: torch.device, *, seconds: float, is_enough: Callable[[], bool]
) -> float | None:
    """Training steps a second of a small reference network; None where the device refuses them.

    A step is forward, backward and Adam of a GRU with 64 units on 32 sequences of 30 steps and
    8 channels. Takes so many seconds at most, and ends after a whole step once is_enough. The
    random state stays as it was.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            return _measure(device, seconds, is_enough)
        except RuntimeError as error:
            # Memory that others hold, mostly: the trial will say so where it matters.
            log.debug("the speed was not measured: %s", error)
            return None


def _measure(device: torch.device, seconds: float, is_enough: Callable[[], bool]) -> float:
    recurrent = nn.GRU(CHANNELS, HIDDEN, batch_first=True).to(device)
    head = nn.Linear(HIDDEN, CLASSES).to(device)
    optimiser = torch.optim.Adam([*recurrent.parameters(), *head.parameters()])
    values = torch.randn(BATCH, STEPS, CHANNELS, device=device)
    target = torch.arange(BATCH, device=device) % CLASSES

    def step() -> None:
        optimiser.zero_grad()
        nn.functional.cross_entropy(head(recurrent(values)[0][:, -1]), target).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        # A GPU's work is done only once it has been waited for.
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    # The first one loads kernels and takes memory, once.
    step()
    began, count = time.monotonic(), 0
    while count == 0 or (time.monotonic() - began < seconds and not is_enough()):
        step()
        count += 1
    return count / (time.monotonic() - began)
