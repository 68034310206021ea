"""report.html: one page that needs nothing else, not even a network."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from muster.data.dataset import Dataset
from muster.selection import Choice
from muster.voting import decide
from muster_ensemble import figures
from muster_ensemble.figures import Figure, Part, TrialPoint
from muster_ensemble.files import write_file
from muster_ensemble.select import Candidate
from muster_ensemble.summary import ensemble_scores, labelled_test

ROWS = (
    ("random_guess", "Random guess"),
    ("best_single", "Best single trial"),
    ("ensemble", "{rule} vote"),
)
COLUMNS = {
    "oof_macro_f1": "OOF macro-F1",
    "oof_accuracy": "OOF accuracy",
    "test_macro_f1": "Test macro-F1",
    "test_accuracy": "Test accuracy",
}


def write_report(
    path: Path,
    *,
    study: str,
    dataset: Dataset,
    summary: Mapping[str, Any],
    members: Sequence[Candidate],
    choice: Choice,
    metric: str,
    direction: str,
    trials: Sequence[TrialPoint],
    importance: Mapping[str, float],
    importance_reason: str | None = None,
    predict_command: str = "muster predict bundle INPUT --out predictions.csv",
) -> None:
    """Write the page whole. summary: what summarise gave. choice: how the members vote.

    importance: share of each parameter, or empty with importance_reason saying why.
    """
    rule = choice.rule
    parts = _parts(dataset, members, choice)
    has_test = len(parts) > 1
    columns = list(COLUMNS) if has_test else list(COLUMNS)[:2]
    classes = dataset.schema.classes
    charts = {
        "score": figures.curves(members, "score"),
        "loss": figures.curves(members, "train_loss"),
        "classes": figures.class_f1(parts, classes),
        "trials": figures.best_over_trials(trials, direction=direction, metric=metric),
    }
    charts |= {f"confusion-{n}": figures.confusion(p, classes) for n, p in enumerate(parts)}
    if importance:
        charts["importance"] = figures.importance(importance)
    page = _environment().get_template("report.html.j2").render(
        study=study,
        dataset=dataset,
        sequences={"training": len(dataset.train_index), "test": len(dataset.test_index)},
        rows=_rows(summary, rule, columns),
        columns=[COLUMNS[column] for column in columns],
        has_test=has_test,
        members=members,
        searched=[_searched(member) for member in members],
        settings=[_settings(member) for member in members],
        rule=rule,
        metric=metric,
        parts=parts,
        states=_count_states(trials),
        seconds=_duration(float(summary["seconds"])),
        importance_reason=importance_reason,
        predict_command=predict_command,
        charts=_embed(charts),
        plotly=Markup(get_plotlyjs()),
    )  # fmt: skip
    write_file(path, page.encode())


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("muster_ensemble"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _parts(dataset: Dataset, members: Sequence[Candidate], choice: Choice) -> list[Part]:
    oof, test = ensemble_scores(dataset, members, choice)
    train, known = dataset.train_index, labelled_test(dataset)
    parts = [Part("out-of-fold", dataset.labels[train], decide(oof[train]))]
    if known.any():
        labels = dataset.labels[dataset.test_index][known]
        parts.append(Part("test", labels, decide(test[known])))
    return parts


def _rows(
    summary: Mapping[str, Any], rule: str, columns: Sequence[str]
) -> list[tuple[str, list[str]]]:
    return [
        (title.format(rule=rule.capitalize()), [_number(summary[key][name]) for name in columns])
        for key, title in ROWS
    ]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"  # noqa: RUF001


def _searched(member: Candidate) -> list[tuple[str, str]]:
    """The parameters that the search chose, as texts; the architecture stands in the heading."""
    return [(n, _text(value)) for n, value in member.params.items() if n != "architecture"]


def _settings(member: Candidate) -> list[tuple[str, str]]:
    """Every setting of the member's configuration as texts, dotted names for options."""
    plain = member.config.model_dump(mode="json", exclude={"architecture", "loss", "seed"})
    named = {"loss": member.config.loss.name}
    for key, choice in (
        ("architecture", member.config.architecture),
        ("loss", member.config.loss),
    ):
        named |= {f"{key}.{name}": value for name, value in choice.options.items()}
    return [(name, _text(value)) for name, value in {**named, **plain}.items()]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "none" if value is None else str(value)


def _count_states(trials: Sequence[TrialPoint]) -> list[tuple[str, int]]:
    states = [point.state for point in trials]
    return [(state, states.count(state)) for state in dict.fromkeys(sorted(states))]


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _embed(charts: Mapping[str, Figure]) -> Markup:
    """JSON that no text in it can break out of: `<` never stands in it."""
    text = json.dumps(_finite(charts), ensure_ascii=False, allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace("&", "\\u0026"))


def _finite(value: Any) -> Any:
    """The same with None, a gap in a line, for what JSON cannot say."""
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
