"""What a model says of samples; and what training minds as well: memory, stops, repeatability."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from muster.errors import Interrupted
from muster.losses import Loss
from muster.samples import Samples

ShouldStop = Callable[[], bool]
EVALUATION_BATCH = 1024
# What PyTorch's host allocator, cuBLAS and cuDNN say, which have no exception of their own.
OUT_OF_MEMORY = ("can't allocate memory", "ALLOC_FAILED", "ALLOCATION_FAILED")


def never() -> bool:
    """Nobody asks to stop."""
    return False


@torch.inference_mode()
def mean_loss(
    model: nn.Module, samples: Samples, loss: Loss, *, should_stop: ShouldStop = never
) -> float:
    """The loss over all windows, in evaluation mode. Raises Interrupted, as train does."""
    total, mass = torch.zeros((), device=samples.device), torch.zeros((), device=samples.device)
    with repeatable():
        for logits, labels in _forward(model, samples, should_stop):
            total += loss.total(logits, labels)
            mass += loss.mass(labels)
    return float(total) / float(mass)


@torch.inference_mode()
def predict_proba(
    model: nn.Module, samples: Samples, *, should_stop: ShouldStop = never
) -> Tensor:
    """(sequences, classes) probabilities on the host: the mean over each sequence's windows.

    Raises Interrupted, as train does.
    """
    with repeatable(tf32=False):
        forward = _forward(model, samples, should_stop)
        windows = torch.cat([logits.float().softmax(dim=1) for logits, _ in forward])
    sums = torch.zeros(samples.sequences, windows.shape[1], device=windows.device)
    # On the host: adding up in parallel on a GPU would depend on the order of the threads.
    sums = sums.cpu().index_add_(0, samples.sequence.cpu(), windows.cpu())
    counts = torch.bincount(samples.sequence.cpu(), minlength=samples.sequences)
    return sums / counts[:, None]


def heed(should_stop: ShouldStop) -> None:
    """Raise Interrupted where should_stop says so."""
    if should_stop():
        raise Interrupted("training was told to stop between two batches")


def repeatable(*, tf32: bool = True) -> AbstractContextManager[None]:
    """Within it, the same computation on the same GPU gives the same numbers to the bit.

    tf32: whether convolutions and recurrent layers may round to ten bits there, as a CPU does not.
    """
    # Left to itself, cuDNN may pick another algorithm, hence other sums, in the next run.
    flags: AbstractContextManager[None] = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=tf32
    )
    return flags


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Where precision is bfloat16 and the device has it, layers that bear it compute in it."""
    is_wanted = precision == "bfloat16" and has_bfloat16(device)
    return torch.autocast(device.type, torch.bfloat16, enabled=is_wanted)


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 itself; of hosts, all do."""
    return device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)


def halved(size: int, error: RuntimeError) -> int:
    """Half as many windows, where the error is want of memory and there are two; else raises."""
    if size == 1 or not is_out_of_memory(error):
        raise error
    return size // 2


def is_out_of_memory(error: Exception) -> bool:
    """Whether torch or numpy could not get the memory it asked for, on a GPU or on the host."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in OUT_OF_MEMORY)


def _forward(
    model: nn.Module, samples: Samples, should_stop: ShouldStop
) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits and labels of all windows in turn, fewer at once where the memory runs out.

    How many is found out anew each time: a resumed trial then cuts them as the first try did.
    """
    model.eval()
    first, size = 0, EVALUATION_BATCH
    while first < len(samples):
        heed(should_stop)
        count = min(size, len(samples) - first)
        try:
            logits, labels = _predict(model, samples, torch.arange(first, first + count))
        except RuntimeError as error:
            size = halved(count, error)
            continue
        yield logits, labels
        first += count


def _predict(model: nn.Module, samples: Samples, index: Tensor) -> tuple[Tensor, Tensor]:
    batch = samples.batch(index, index.to(samples.device))
    logits: Tensor = model(batch.values, batch.lengths, batch.static)
    return logits, batch.labels
