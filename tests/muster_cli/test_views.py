from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from rich.console import Console

from muster_cli.views import duration, view
from muster_db.overview import Overview, Training, WorkerView
from muster_db.progress import StudyProgress
from muster_db.summary import StudySummary
from muster_db.workers import Equipment, Pace, Worker, WorkerActivity

AT = datetime(2026, 1, 1)


def worker(ordinal: int, *, silent: float = 3.0, has_left: bool = False) -> WorkerView:
    seen = AT - timedelta(seconds=silent)
    activity = WorkerActivity(
        Worker(ordinal + 1, 1, ordinal, f"host{ordinal}", "NVIDIA H200, 139 GiB"),
        joined_at=AT, seen_at=seen, left_at=seen if has_left else None,
        told=2, running=1, failed=0, equipment=Equipment(slot=ordinal), pace=Pace(40, 12.34),
    )  # fmt: skip
    is_training = silent < 60 and not has_left
    return WorkerView(activity, (Training(7, "gru", 0, 4),) if is_training else (), silent)


def overview(name: str = "s", *, told: int = 2, workers: tuple[WorkerView, ...] = ()) -> Overview:
    progress = StudyProgress(10, told, 1, 0, "open")
    summary = StudySummary(
        name=name, progress=progress, complete=told, pruned=0, failed=0, workers=1,
        best_value=0.91234, best_number=1, ensemble=None,
    )  # fmt: skip
    return Overview(summary, "macro_f1", {"gru": {"complete": told}}, workers, 4000.0, AT)


def lines(*overviews: Overview) -> list[str]:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(view(overviews))
    return [" ".join(line.split()) for line in captured.get().splitlines()]


def test_a_study_is_shown_with_its_architectures_and_workers() -> None:
    gone = [worker(1 + number, silent=100.0 + number, has_left=True) for number in range(4)]
    cut_off = worker(9, silent=90.0)
    shown = lines(overview(workers=(worker(0), *gone, cut_off)))
    assert shown == [
        "study done complete pruned failed running waiting workers best best trial ensemble "
        "time left",
        "s 2/10 2 0 0 1 0 1 0.9123 1 - 1 h 06 min",
        "",
        "architecture complete pruned failed running next waiting",
        "gru 2 0 0 0 0 0",
        "",
        "worker host device trains epochs/s told failed seen",
        "0 host0 slot 0 NVIDIA H200, 139 GiB 7 gru fold 1 epoch 5 12.3 2 0 3 s ago",
        "9 host9 slot 9 NVIDIA H200, 139 GiB - - 2 0 silent for 1 min 30 s",
        "1 host1 slot 1 NVIDIA H200, 139 GiB - - 2 0 left 1 min 40 s ago",
        "2 host2 slot 2 NVIDIA H200, 139 GiB - - 2 0 left 1 min 41 s ago",
        "and 2 more that have gone",
    ]


def test_of_several_studies_those_that_are_finished_are_a_row_alone() -> None:
    shown = lines(overview("done", told=10), overview("open"))
    assert [line.split()[0] for line in shown if line] == [
        "study", "done", "open", "open", "architecture", "gru"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (3725, "1 h 02 min"),
        (90_000, "1 d 01 h"),
    ],
)  # fmt: skip
def test_a_duration_is_told_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text
