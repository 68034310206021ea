"""report.html: one page that needs nothing else, neither a network nor a script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from muster.data.dataset import Dataset
from muster.selection import Choice
from muster.voting import decide
from muster_ensemble import figures
from muster_ensemble.figures import Cell, Part, TrialPoint
from muster_ensemble.files import write_file
from muster_ensemble.select import Candidate
from muster_ensemble.standings import Standing
from muster_ensemble.summary import ensemble_scores, labelled_test
from muster_ensemble.svg import COLOURS

METRICS = {"macro_f1": "macro-F1", "accuracy": "accuracy", "log_loss": "log loss"}
# Of the range of the intervals, what is left free on either side.
MARGIN = 0.06


@dataclass(frozen=True)
class Bar:
    """A standing's interval and figures on the scale of all of them, in percent."""

    left: float
    width: float
    point: float
    test: float | None


def write_report(
    path: Path,
    *,
    study: str,
    dataset: Dataset,
    summary: Mapping[str, Any],
    standings: Sequence[Standing],
    members: Sequence[Candidate],
    choice: Choice,
    metric: str,
    direction: str,
    trials: Sequence[TrialPoint],
    importance: Mapping[str, float],
    importance_reason: str | None = None,
    predict_command: str = "muster predict bundle INPUT --out predictions.csv",
    is_refitted: bool = False,
) -> None:
    """Write the page whole. summary: what summarise gave. choice: how the members vote.

    importance: share of each parameter, or empty with importance_reason saying why. is_refitted:
    whether the members were trained again on all labelled data.
    """
    parts = _parts(dataset, members, choice)
    between = figures.disagreements(
        members, dataset.labels[dataset.train_index], dataset.train_index
    )
    classes = dataset.schema.classes
    page = _environment().get_template("report.html.j2").render(
        study=study,
        dataset=dataset,
        sequences={"training": len(dataset.train_index), "test": len(dataset.test_index)},
        standings=list(zip(standings, _bars(standings), strict=True)),
        taken=next(each for each in standings if each.is_taken),
        single=next(each for each in standings if each.estimate is not None),
        has_test=len(parts) > 1,
        members=members,
        weights=choice.weights,
        searched=[_searched(member) for member in members],
        settings=[_settings(member) for member in members],
        rule=summary["rule"],
        metric=METRICS.get(metric, metric),
        is_larger_better=direction == "maximize",
        parts=parts,
        classes=classes,
        confusions=[figures.confusion(part, classes) for part in parts],
        errors=[figures.confusions(part, classes) for part in parts],
        class_f1=[figures.class_f1(part, classes) for part in parts],
        disagreements=between,
        most_disagreement=_most(between),
        score_chart=figures.curves(members, "score"),
        loss_chart=figures.curves(members, "train_loss"),
        trials_chart=figures.best_over_trials(
            trials, direction=direction, metric=METRICS.get(metric, metric)
        ),
        importance=figures.ordered(importance),
        importance_reason=importance_reason,
        states=_count_states(trials),
        seconds=_duration(float(summary["seconds"])),
        predict_command=predict_command,
        is_refitted=is_refitted,
        colours=COLOURS,
        number=_number,
    )  # fmt: skip
    write_file(path, page.encode())


def _most(between: Sequence[Sequence[Cell]]) -> float:
    """The largest share of two members, for the darkest shade; never 0."""
    shares = [cell.share for i, row in enumerate(between) for j, cell in enumerate(row) if i != j]
    return max(shares, default=0.0) or 1.0


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


def _bars(standings: Sequence[Standing]) -> list[Bar | None]:
    """None for what has no interval. The scale is the intervals' and their test figures'."""
    known = [each for each in standings if each.estimate is not None]
    ends = [end for each in known if (e := each.estimate) for end in (e.low, e.high, e.nested)]
    ends += [test for each in known if (test := _test(each)) is not None]
    low, high = min(ends), max(ends)
    margin = MARGIN * (high - low) or MARGIN
    low, size = low - margin, high - low + 2 * margin

    def at(value: float) -> float:
        return round(100 * (value - low) / size, 2)

    return [
        None
        if (e := each.estimate) is None
        else Bar(
            at(e.low),
            round(at(e.high) - at(e.low), 2),
            at(e.nested),
            None if (test := _test(each)) is None else at(test),
        )
        for each in standings
    ]


def _test(standing: Standing) -> float | None:
    """The test part's figure of the study's metric, where it is one of the two."""
    metric = None if standing.estimate is None else standing.estimate.metric
    figures = {"macro_f1": standing.test_macro_f1, "accuracy": standing.test_accuracy}
    return None if metric is None else figures.get(metric)


def _number(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}f}"  # noqa: RUF001


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
