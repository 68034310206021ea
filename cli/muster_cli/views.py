"""What the terminal shows of studies: how far, by architecture, by worker."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table

from muster_db.overview import Overview, Training, WorkerView

STATES = ("complete", "pruned", "failed", "running", "next", "waiting")
UNITS = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s"))
# Of a long search hundreds of workers have gone by.
MOST_GONE = 3


def view(overviews: Sequence[Overview]) -> Group:
    """All studies in a table; of each that is not finished, or is the only one, the details."""
    shown: list[RenderableType] = [status_table(overviews)]
    for each in overviews:
        is_alone = len(overviews) == 1
        if each.summary.progress.is_finished and not is_alone:
            continue
        parts = _parts(each)
        if parts and not is_alone:
            shown += ["", each.summary.name]
        for part in parts:
            shown += ["", part]
    return Group(*shown)


def status_table(overviews: Sequence[Overview]) -> Table:
    """The figures of some studies, a row each."""
    table = Table(
        "study", "done", "complete", "pruned", "failed", "running", "waiting", "workers",
        "best", "best trial", "ensemble", "time left", box=None,
    )  # fmt: skip
    for each in overviews:
        found = each.summary
        table.add_row(
            found.name,
            f"{found.progress.told}/{found.progress.budget}",
            str(found.complete),
            str(found.pruned),
            str(found.failed),
            str(found.progress.running),
            str(found.progress.waiting),
            str(found.workers),
            "-" if found.best_value is None else f"{found.best_value:.4f}",
            "-" if found.best_number is None else str(found.best_number),
            "-" if found.ensemble is None else f"{found.ensemble.nested:.4f}",
            "-" if each.seconds_left is None else duration(each.seconds_left),
        )
    return table


def duration(seconds: float) -> str:
    """So many seconds in the two largest units: 45 s, 3 min 20 s, 2 h 05 min, 3 d 04 h."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    size, unit, part, smaller = next(each for each in UNITS if whole >= each[0])
    return f"{whole // size} {unit} {whole % size // part:02} {smaller}"


def _parts(overview: Overview) -> list[RenderableType]:
    parts: list[RenderableType] = []
    if overview.states:
        parts.append(_architectures(overview))
    if overview.workers:
        parts.append(_workers(overview))
    if (found := overview.summary.ensemble) is not None:
        parts.append(
            f"ensemble: {found.rule} of {len(found.members)}, nested {found.metric} "
            f"{found.nested:.4f} ({found.low:.4f} to {found.high:.4f})"
        )
    return parts


def _architectures(overview: Overview) -> Table:
    table = Table("architecture", *STATES, box=None)
    for name, counts in overview.states.items():
        table.add_row(name, *(str(counts.get(state, 0)) for state in STATES))
    return table


def _workers(overview: Overview) -> Table:
    """Those that are here by number, then those that left last."""
    table = Table(
        "worker", "host", "device", "trains", "epochs/s", "told", "failed", "seen", box=None
    )
    here = [each for each in overview.workers if each.is_here]
    gone = sorted(
        (each for each in overview.workers if not each.is_here),
        key=lambda each: each.silent_seconds,
    )
    for each in [*here, *gone[:MOST_GONE]]:
        activity, slot = each.activity, each.activity.equipment.slot
        pace = each.epochs_per_second
        table.add_row(
            str(activity.worker.ordinal),
            activity.worker.host + ("" if slot is None else f" slot {slot}"),
            activity.worker.device,
            ", ".join(map(_training, each.training)) or "-",
            "-" if pace is None else f"{pace:.3g}",
            str(activity.told),
            str(activity.failed),
            _seen(each),
        )
    if len(gone) > MOST_GONE:
        table.add_row("", f"and {len(gone) - MOST_GONE} more that have gone")
    return table


def _training(training: Training) -> str:
    trial = f"{training.number} {training.architecture}"
    if training.fold is None or training.epoch is None:
        return trial
    return f"{trial} fold {training.fold + 1} epoch {training.epoch + 1}"


def _seen(view: WorkerView) -> str:
    if view.activity.left_at is not None:
        return f"left {duration(view.silent_seconds)} ago"
    silent = duration(view.silent_seconds)
    return f"{silent} ago" if view.is_here else f"silent for {silent}"
