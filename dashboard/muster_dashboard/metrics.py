"""What Prometheus scrapes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from werkzeug.wrappers import Response

from muster_dashboard import figures
from muster_dashboard.board import Board, Sight

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
HELP: Final = {
    "muster_trials": ("gauge", "Trials of a study by state."),
    "muster_trials_budget": ("gauge", "Trials that a study asks for."),
    "muster_trials_left": ("gauge", "Trials of the budget that nobody has claimed yet."),
    "muster_best_value": ("gauge", "Best value of a completed trial."),
    "muster_workers": ("gauge", "Workers that are here."),
    "muster_worker_failures": ("gauge", "Attempts that failed with an error, over all workers."),
    "muster_epochs": ("gauge", "Epochs that the trials have reported."),
    "muster_epochs_per_second": ("gauge", "Epochs a second of the workers that are here."),
    "muster_database_looks_total": ("counter", "Times that the database was asked."),
    "muster_database_errors_total": ("counter", "Times that it did not answer."),
}
Sample = tuple[str, dict[str, str], float]


def respond(board: Board) -> Response:
    """All studies' figures in Prometheus's text format. Raises what looking raises."""
    names = [head.name for head in board.look().heads]
    sight = board.look(*names)
    samples: list[Sample] = sight.keep(("metrics",), lambda: list(_of_studies(sight)))
    counters: list[Sample] = [
        ("muster_database_looks_total", {}, board.looks),
        ("muster_database_errors_total", {}, board.errors),
    ]
    return Response(text([*samples, *counters]), content_type=CONTENT_TYPE)


def text(samples: list[Sample]) -> str:
    """Samples in the exposition format, those of one name together."""
    lines = []
    for name, (kind, meaning) in HELP.items():
        found = [(labels, value) for each, labels, value in samples if each == name]
        if found:
            lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
            lines += [f"{name}{_labels(labels)} {value:.10g}" for labels, value in found]
    return "\n".join(lines) + "\n"


def _of_studies(sight: Sight) -> Iterator[Sample]:
    for name, seen in sight.studies.items():
        of = {"study": name}
        states = Counter(figures.state_of(trial) for trial in seen.trials)
        for state in figures.STATES:
            yield "muster_trials", {**of, "state": state}, states[state]
        yield "muster_trials_budget", of, seen.head.budget
        yield "muster_trials_left", of, max(0, seen.head.budget - seen.head.claimed)
        search = figures.search(seen, sight.at)
        if search["best"] is not None:
            yield "muster_best_value", of, search["best"]["value"]
        yield "muster_epochs", of, search["epochs"]
        crew = figures.crew(seen, sight.at)
        yield "muster_workers", of, len(crew["here"])
        yield "muster_worker_failures", of, sum(each.failed for each in seen.workers)
        if crew["epochs_per_second"] is not None:
            yield "muster_epochs_per_second", of, crew["epochs_per_second"]


def _labels(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in labels.items()) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
