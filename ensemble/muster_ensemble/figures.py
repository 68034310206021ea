"""The report's figures: what its charts and matrices show, as plain data and SVG."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, f1_score

from muster.confusion import decisions
from muster.diversity import disagreement
from muster_ensemble.select import Candidate
from muster_ensemble.svg import Line, chart

# Of more classes than a page is wide, the confusions that are most frequent.
MOST_CLASSES = 30
MOST_CONFUSIONS = 20
QUANTITIES = {"score": "score on the validation fold", "train_loss": "training loss"}


@dataclass(frozen=True)
class TrialPoint:
    """One trial of the search. value: None unless it was completed. state: in small letters."""

    number: int
    value: float | None
    state: str


@dataclass(frozen=True)
class Part:
    """The ensemble's decisions on one part, for the charts of classes; indices, same length."""

    name: str
    labels: NDArray[np.int64]
    decided: NDArray[np.int64]


@dataclass(frozen=True)
class Cell:
    """A matrix's cell. share: 0 to 1, its shade. text: what stands in it; title: in full."""

    share: float
    text: str
    title: str


def curves(members: Sequence[Candidate], quantity: Literal["score", "train_loss"]) -> Markup:
    """A line a member: the mean over its folds, as far as all of them trained; folds thin."""
    lines: list[Line] = []
    for position, member in enumerate(members):
        folds: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)
        for point in member.curves:
            folds[point["fold"]].append((point["epoch"], point[quantity]))
        name = f"#{member.number} {member.architecture}"
        lines += [
            Line(points, position, f"{name}, fold {fold}", "thin")
            for fold, points in sorted(folds.items())
        ]
        of_epochs = zip(*([y for _, y in points] for points in folds.values()), strict=False)
        shown = [(float(epoch), float(np.mean(each))) for epoch, each in enumerate(of_epochs)]
        lines.append(Line(shown, position, name))
    return chart(lines, x="epoch", y=QUANTITIES[quantity])


def best_over_trials(points: Sequence[TrialPoint], *, direction: str, metric: str) -> Markup:
    """Every completed trial's value, and the best so far as a line."""
    done = [
        (float(p.number), p.value)
        for p in sorted(points, key=lambda p: p.number)
        if p.value is not None and p.state == "complete"
    ]
    running = np.maximum.accumulate if direction == "maximize" else np.minimum.accumulate
    best = running([value for _, value in done]).tolist() if done else []
    steps = [(number, value) for (number, _), value in zip(done, best, strict=True)]
    lines = [Line(done, 0, "trial", "dots"), Line(steps, 1, "best so far", "steps")]
    return chart(lines, x="trial", y=metric)


def confusion(part: Part, classes: Sequence[str]) -> list[list[Cell]] | None:
    """Rows are the true classes, columns the decided ones; None for more than MOST_CLASSES."""
    if len(classes) > MOST_CLASSES:
        return None
    counts = confusion_matrix(part.labels, part.decided, labels=np.arange(len(classes)))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return [
        [
            Cell(
                float(shares[i, j]),
                str(counts[i, j]) if counts[i, j] else "",
                f"true {true}, decided {decided}: {counts[i, j]} ({shares[i, j]:.1%})",
            )
            for j, decided in enumerate(classes)
        ]
        for i, true in enumerate(classes)
    ]


def confusions(part: Part, classes: Sequence[str]) -> list[tuple[str, str, int]]:
    """(true class, decided one, sequences), the most frequent errors first."""
    counts = confusion_matrix(part.labels, part.decided, labels=np.arange(len(classes)))
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:MOST_CONFUSIONS]
    pairs = [divmod(int(each), len(classes)) for each in order]
    return [(classes[i], classes[j], int(counts[i, j])) for i, j in pairs if counts[i, j]]


def class_f1(part: Part, classes: Sequence[str]) -> list[float]:
    """F1 of each class."""
    values = f1_score(
        part.labels,
        part.decided,
        labels=np.arange(len(classes)),
        average=None,
        zero_division=0,
    )
    return [float(value) for value in values]


def disagreements(
    members: Sequence[Candidate], labels: NDArray[np.int64], rows: NDArray[np.int64]
) -> list[list[Cell]]:
    """For each two members the share of sequences that just one of them decides rightly.

    labels: (rows,) of the sequences at these positions; an own cell is the member's error.
    """
    correct = decisions(np.stack([member.oof[rows] for member in members])) == labels
    found = []
    for i, one in enumerate(members):
        cells = []
        for j, other in enumerate(members):
            share = disagreement(correct[i], correct[j]) if i != j else 1 - correct[i].mean()
            title = (
                f"#{one.number} and #{other.number}: just one of them is right on {share:.1%}"
                if i != j
                else f"#{one.number} errs on {share:.1%}"
            )
            cells.append(Cell(float(share), f"{100 * share:.1f}", title))
        found.append(cells)
    return found


def ordered(importance: Mapping[str, float]) -> list[tuple[str, float]]:
    """The parameters, the most important first."""
    return sorted(importance.items(), key=lambda item: -item[1])
