"""The report's charts, as plain Plotly data; colours are roles that the page fills in.

Texts are escaped here, since Plotly reads some HTML in them.
"""

from __future__ import annotations

import html
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, f1_score

from muster_ensemble.select import Candidate

Figure = dict[str, Any]
MOST_CELL_TEXTS = 12
PIXELS_A_ROW = 26


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


def curves(members: Sequence[Candidate], quantity: Literal["score", "train_loss"]) -> Figure:
    """A line a member: the mean over its folds, as far as all of them trained; folds thin."""
    traces: list[Figure] = []
    for position, member in enumerate(members):
        folds: defaultdict[int, list[tuple[int, float]]] = defaultdict(list)
        for point in member.curves:
            folds[point["fold"]].append((point["epoch"], point[quantity]))
        colour, name = f"series-{position % 8}", f"#{member.number} {_safe(member.architecture)}"
        for fold, points in sorted(folds.items()):
            traces.append(_line(points, colour, f"{name}, fold {fold}", thin=True))
        of_epochs = zip(*([y for _, y in points] for points in folds.values()), strict=False)
        shown = [(epoch, float(np.mean(each))) for epoch, each in enumerate(of_epochs)]
        traces.append(_line(shown, colour, name, thin=False))
    titles = {"score": "score on the validation fold", "train_loss": "training loss"}
    return {
        "data": traces,
        "layout": {
            "xaxis": {"title": {"text": "epoch"}, "rangemode": "tozero"},
            "yaxis": {"title": {"text": titles[quantity]}},
            "legend": {"orientation": "h", "y": -0.22},
            "height": 400,
        },
    }


def best_over_trials(points: Sequence[TrialPoint], *, direction: str, metric: str) -> Figure:
    """Every completed trial's value, and the best so far as a line."""
    done = [
        (p.number, p.value)
        for p in sorted(points, key=lambda p: p.number)
        if p.value is not None and p.state == "complete"
    ]
    numbers, values = [number for number, _ in done], [value for _, value in done]
    running = np.maximum.accumulate if direction == "maximize" else np.minimum.accumulate
    best = running(values).tolist() if values else []
    dots = {"type": "scatter", "mode": "markers", "name": "trial", "x": numbers, "y": values}
    line = {"type": "scatter", "mode": "lines", "name": "best so far", "x": numbers, "y": best}
    return {
        "data": [
            {**dots, "marker": {"color": "series-0", "size": 8, "opacity": 0.7}},
            {**line, "line": {"color": "series-1", "width": 2.5, "shape": "hv"}},
        ],
        "layout": {
            "xaxis": {"title": {"text": "trial"}},
            "yaxis": {"title": {"text": _safe(metric)}},
            "legend": {"orientation": "h", "y": -0.22},
            "height": 360,
        },
    }


def importance(values: Mapping[str, float]) -> Figure:
    """A bar a parameter, the largest on top."""
    ordered = sorted(values.items(), key=lambda item: item[1])
    return {
        "data": [
            {
                "type": "bar",
                "orientation": "h",
                "x": [value for _, value in ordered],
                "y": [_safe(name) for name, _ in ordered],
                "marker": {"color": "series-0"},
                "hovertemplate": "%{y}: %{x:.1%}<extra></extra>",
            }
        ],
        "layout": {
            "xaxis": {"tickformat": ".0%", "rangemode": "tozero"},
            "yaxis": {"type": "category", "automargin": True},
            "height": 110 + PIXELS_A_ROW * len(ordered),
        },
    }


def confusion(part: Part, classes: Sequence[str]) -> Figure:
    """Rows are the true classes, columns the decided ones; the colour is the row's share."""
    counts = confusion_matrix(part.labels, part.decided, labels=np.arange(len(classes)))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [_safe(name) for name in classes]
    heat: Figure = {
        "type": "heatmap",
        "x": names,
        "y": names,
        "z": shares.tolist(),
        "customdata": counts.tolist(),
        "colorscale": "heat",
        "zmin": 0,
        "zmax": 1,
        "xgap": 1,
        "ygap": 1,
        "showscale": False,
        "hovertemplate": "true %{y}, decided %{x}: %{customdata} (%{z:.1%})<extra></extra>",
    }
    if len(classes) <= MOST_CELL_TEXTS:
        heat |= {"text": counts.tolist(), "texttemplate": "%{text}"}
    return {
        "data": [heat],
        "layout": {
            "xaxis": {
                "title": {"text": "decided"},
                "type": "category",
                "automargin": True,
                "showgrid": False,
            },
            "yaxis": {
                "title": {"text": "true"},
                "type": "category",
                "autorange": "reversed",
                "showgrid": False,
                "automargin": True,
            },
            "height": min(720, max(300, 130 + 32 * len(classes))),
        },
    }


def class_f1(parts: Sequence[Part], classes: Sequence[str]) -> Figure:
    """F1 of each class, a bar a part."""
    traces = []
    for position, part in enumerate(parts):
        values = f1_score(
            part.labels,
            part.decided,
            labels=np.arange(len(classes)),
            average=None,
            zero_division=0,
        )
        traces.append(
            {
                "type": "bar",
                "name": part.name,
                "x": [_safe(name) for name in classes],
                "y": values.tolist(),
                "marker": {"color": f"series-{position}"},
                "hovertemplate": "class %{x}: F1 %{y:.3f}<extra>" + part.name + "</extra>",
            }
        )
    return {
        "data": traces,
        "layout": {
            "barmode": "group",
            "xaxis": {"title": {"text": "class"}, "type": "category", "automargin": True},
            "yaxis": {"title": {"text": "F1"}, "range": [0, 1]},
            "legend": {"orientation": "h", "y": 1.12},
            "showlegend": True,
            "height": 340,
        },
    }


def _line(points: Sequence[tuple[int, float]], colour: str, name: str, *, thin: bool) -> Figure:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": [epoch for epoch, _ in points],
        "y": [value for _, value in points],
        "line": {"color": colour, "width": 1 if thin else 2.5},
        "opacity": 0.3 if thin else 1.0,
        "showlegend": not thin,
        "hovertemplate": "epoch %{x}: %{y:.4f}",
    }


def _safe(text: str) -> str:
    return html.escape(text, quote=False)
