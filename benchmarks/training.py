"""Epoch times of muster's training loop against a plain PyTorch Dataset and DataLoader loop.

Both train the same model from the same weights with AdamW, clipping and cross-entropy, on the
same sequences, in one process and one thread, epochs in turns, so that whatever slows the machine
slows both. Run `make bench-training`; the figures also go to benchmarks/results/training.json.
Exits 1 where muster is slower by more than what runs differ by.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from muster import losses, models
from muster.config import Choice, TrialConfig
from muster.data.dataset import Dataset
from muster.data.preprocess import Preprocessor
from muster.data.schema import Schema
from muster.fold_model import input_shape
from muster.models.base import Model
from muster.samples import Samples
from muster.training import new_fit, train

RESULTS = Path(__file__).parent / "results" / "training.json"
ARCHITECTURES = {"gru": {"hidden": 64}, "cnn": {"channels": 64}}
BATCH_SIZES = (32, 128)
# (sequences, shortest, longest, channels) as the two examples have them. Short epochs and many
# of them: the loops differ by less than a shared machine's speed does from second to second.
SHAPES = {"japanese_vowels": (512, 7, 29, 12), "heartbeat": (256, 187, 187, 1)}
# Left for the noise of a shared machine.
TOLERANCE = 0.03
CLASSES = 9
LEARNING_RATE = 3e-3
CLIP = 1.0

Item = tuple[Tensor, Tensor, int]


class Sequences(TorchDataset[Item]):
    """One (values, static, label) a sequence, already scaled, as a tutorial would hold them."""

    def __init__(self, dataset: Dataset, preprocessor: Preprocessor) -> None:
        values, lengths, static = preprocessor.transform(dataset, dataset.train_index)
        self.values = torch.split(torch.from_numpy(values), lengths.tolist())
        self.static = torch.from_numpy(static)
        self.labels = dataset.labels[dataset.train_index].tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, position: int) -> Item:
        return self.values[position], self.static[position], self.labels[position]


def collate(items: list[Item]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(values padded, lengths, static, labels) of a batch."""
    values, static, labels = zip(*items, strict=True)
    lengths = torch.tensor([len(each) for each in values])
    return (
        pad_sequence(list(values), batch_first=True),
        lengths,
        torch.stack(static),
        torch.tensor(labels),
    )


def plain_epochs(
    model: Model, dataset: Dataset, config: TrialConfig, device: torch.device
) -> Iterator[float]:
    """The loop that a user writes without muster."""
    preprocessor = Preprocessor.fit(dataset, dataset.train_index, normalise=config.normalise)
    loader = DataLoader(
        Sequences(dataset, preprocessor),
        batch_size=config.batch_size,
        shuffle=True,
        collate_fn=collate,
        pin_memory=device.type == "cuda",
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=0.0)
    loss_function = nn.CrossEntropyLoss()
    while True:
        model.train()
        total = 0.0
        for values, lengths, static, labels in loader:
            # None spares the packing where all are of one length, as it does for muster.
            is_full = bool((lengths == values.shape[1]).all())
            logits = model(
                values.to(device), None if is_full else lengths.to(device), static.to(device)
            )
            loss = loss_function(logits, labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            total += loss.item() * len(labels)
        yield total / len(dataset)


def muster_epochs(
    model: Model, dataset: Dataset, config: TrialConfig, device: torch.device
) -> Iterator[float]:
    """The loop of muster."""
    index = dataset.train_index
    preprocessor = Preprocessor.fit(dataset, index, normalise=config.normalise)
    samples = Samples(dataset, index, preprocessor, window=None, stride=None, device=device)
    loss = losses.build(config.loss, weight=None)
    return train(new_fit(model, samples, config), samples, config, loss=loss)


LOOPS = {"muster": muster_epochs, "plain": plain_epochs}


def make_dataset(shape: tuple[int, int, int, int]) -> Dataset:
    """Noise with a tone of the class in it."""
    sequences, shortest, longest, channels = shape
    rng = np.random.default_rng(0)
    lengths = rng.integers(shortest, longest, size=sequences, endpoint=True)
    labels = rng.integers(CLASSES, size=sequences)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    tone = np.sin(np.arange(offsets[-1]) * (np.repeat(labels, lengths) + 1) / CLASSES)
    values = rng.normal(size=(int(offsets[-1]), channels)) + tone[:, None]
    return Dataset(
        name="bench",
        schema=Schema(
            channels=tuple(f"c{i}" for i in range(channels)),
            classes=tuple(str(i) for i in range(CLASSES)),
            description={},
        ),
        values=values.astype(np.float32),
        offsets=offsets,
        static=np.zeros((sequences, 0), dtype=np.float32),
        labels=labels.astype(np.int64),
        groups=None,
        is_test=np.zeros(sequences, dtype=bool),
        identifiers=tuple(str(i) for i in range(sequences)),
    )


def seconds_of(epochs: Iterator[float], device: torch.device) -> float:
    """Of the next epoch: on a GPU by the wall clock, on the CPU the process's own time.

    One thread that waits for nothing takes as long by either, but for what the machine's other
    programs steal, which would drown the difference.
    """
    if device.type == "cuda":
        started = time.perf_counter()
        next(epochs)
        torch.cuda.synchronize(device)
        return time.perf_counter() - started
    started = time.process_time()
    next(epochs)
    return time.process_time() - started


def compare(
    architecture: str,
    data: str,
    batch_size: int,
    *,
    repeats: int,
    rounds: int,
    device: torch.device,
) -> dict[str, Any]:
    """Median epoch seconds of both loops, epochs in turns; each round warms fresh models up."""
    dataset = make_dataset(SHAPES[data])
    config = TrialConfig(
        architecture=Choice(name=architecture, options=ARCHITECTURES[architecture]),
        learning_rate=LEARNING_RATE,
        batch_size=batch_size,
        gradient_clip=CLIP,
        epochs=repeats + 1,
    )
    times: dict[str, list[float]] = {name: [] for name in LOOPS}
    for turn in range(rounds):
        # Where its weights happen to lie makes a model a few percent faster or slower: build anew.
        loops = {}
        for name in sorted(LOOPS, reverse=bool(turn % 2)):
            torch.manual_seed(turn)
            model = models.build(config.architecture, input_shape(dataset), dropout=0.0)
            loops[name] = LOOPS[name](model.to(device), dataset, config, device)
            seconds_of(loops[name], device)
        for repeat in range(repeats):
            # Each goes first as often as the other.
            for name in sorted(LOOPS, reverse=bool(repeat % 2)):
                times[name].append(seconds_of(loops[name], device))
    mine, plain = median(times["muster"]), median(times["plain"])
    return {
        "architecture": architecture,
        "data": data,
        "batch_size": batch_size,
        "muster_seconds": round(mine, 5),
        "plain_seconds": round(plain, 5),
        "speedup": round(median(np.divide(times["plain"], times["muster"]).tolist()), 3),
    }


def main() -> int:
    """Compare, print the table, write the figures; 1 where muster is slower."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=8, help="timed epochs a round")
    parser.add_argument("--rounds", type=int, default=4, help="fresh models of each loop")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(arguments.device)
    rows = [
        compare(
            architecture,
            data,
            batch_size,
            repeats=arguments.repeats,
            rounds=arguments.rounds,
            device=device,
        )
        for architecture in ARCHITECTURES
        for data in SHAPES
        for batch_size in BATCH_SIZES
    ]
    table = Table("model", "data", "batch", "muster ms", "plain ms", "plain / muster")
    for row in rows:
        table.add_row(
            row["architecture"],
            row["data"],
            str(row["batch_size"]),
            f"{row['muster_seconds'] * 1e3:.1f}",
            f"{row['plain_seconds'] * 1e3:.1f}",
            f"{row['speedup']:.2f}x",
        )
    Console().print(table)
    facts = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "seeds": list(range(arguments.rounds)),
        "tolerance": TOLERANCE,
        "epochs": arguments.repeats * arguments.rounds,
        "clock": "wall" if device.type == "cuda" else "process",
        "unit": "median seconds of an epoch; speedup: median over pairs of epochs",
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({**facts, "rows": rows}, indent=2) + "\n")
    return int(any(row["speedup"] < 1.0 - TOLERANCE for row in rows))


if __name__ == "__main__":
    sys.exit(main())
