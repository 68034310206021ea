from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from muster.data.dataset import Dataset
from muster.selection import Choice
from muster_ensemble.estimate import decide_and_estimate
from muster_ensemble.figures import (
    Part,
    TrialPoint,
    class_f1,
    confusion,
    confusions,
    disagreements,
)
from muster_ensemble.ledger import Ledger, Truth
from muster_ensemble.report import write_report
from muster_ensemble.select import Candidate
from muster_ensemble.standings import standings, voters, weigh_rules
from muster_ensemble.summary import summarise
from muster_ensemble.svg import Line, chart, ticks

TRIALS = [
    TrialPoint(0, 0.9, "complete"),
    TrialPoint(1, None, "pruned"),
    TrialPoint(2, 0.7, "complete"),
    TrialPoint(3, 0.95, "complete"),
]
EVIL = "</script><img src=x onerror=alert(1)>"


def page_of(path: Path, dataset: Dataset, members: list[Candidate], **changes: Any) -> str:
    given: dict[str, Any] = {
        "study": "walks",
        "metric": "macro_f1",
        "importance": {"learning_rate": 0.7, "dropout": 0.3},
    }
    train = dataset.train_index
    ledger = Ledger(
        numbers=tuple(member.number for member in members),
        architectures=tuple(member.architecture for member in members),
        probabilities=np.stack([member.oof[train] for member in members]),
        exportable=np.ones(len(members), dtype=bool),
        truth=Truth(train, dataset.labels[train], np.arange(len(train)) // 3 % 3, None),
        metric="macro_f1",
    )
    rule = changes.pop("rule", "majority")
    share = 1 / len(members)
    choice = Choice("majority", tuple(range(len(members))), (share,) * len(members))
    outcome = replace(decide_and_estimate(ledger, rule=rule), choice=choice)
    summary = summarise(dataset, members[0], members, ledger, outcome, trials=4, seconds=75)
    by_number = {member.number: member for member in members}
    weighed = weigh_rules(ledger, outcome)
    assert voters(ledger, weighed) == by_number.keys()
    write_report(
        path / "report.html",
        dataset=dataset,
        summary=summary,
        standings=standings(dataset, ledger, weighed, by_number, summary),
        members=members,
        choice=choice,
        direction="maximize",
        trials=TRIALS,
        **(given | changes),
    )
    return (path / "report.html").read_text()


def rows_of(page: str) -> list[list[str]]:
    """The table of who reaches what, as texts."""
    body = (
        page.split('<table class="wide">')[1].split("</table>", maxsplit=1)[0].split("<tbody>")[1]
    )
    return [
        [re.sub("<.*?>", "", cell).strip() for cell in re.findall("<td.*?>(.*?)</td>", row)]
        for row in body.split("<tr")[1:]
    ]


def matrices_of(page: str) -> list[list[list[str]]]:
    return [
        [re.findall("<td.*?>(.*?)</td>", row) for row in table.split("<tr>")[2:]]
        for table in re.findall('<table class="matrix">(.*?)</table>', page, re.DOTALL)
    ]


def test_the_page_holds_every_part(
    tmp_path: Path, walks: Dataset, candidates: list[Candidate]
) -> None:
    page = page_of(tmp_path, walks, candidates[:3])
    assert "18 training and 9 test sequences" in page
    assert "3 complete, 1 pruned trials" in page
    assert "1 min" in page
    assert "3 trials by the majority rule" in page
    for member in candidates[:3]:
        assert f"#{member.number} {member.architecture}" in page
    between, oof, test = matrices_of(page)
    assert len(between) == 3
    assert sum(int(cell or 0) for row in oof for cell in row) == 18
    assert sum(int(cell or 0) for row in test for cell in row) == 9
    assert page.count("<svg") == 3
    assert "learning_rate</span>" in page
    assert "<title>trial 3: 0.9500</title>" in page


def test_the_table_has_guess_best_trial_and_each_rule_and_marks_what_the_bundle_does(
    tmp_path: Path, walks: Dataset, candidates: list[Candidate]
) -> None:
    page = page_of(tmp_path, walks, candidates)
    rows = rows_of(page)
    names = [
        "Random guess", "Best single trial", "Majority vote", "Soft vote", "Weighted vote",
        "Greedy vote",
    ]  # fmt: skip
    assert [row[0] for row in rows] == names
    assert all(len(row) == 8 for row in rows)
    assert page.count('<tr class="taken"') == 1
    assert '<tr class="taken"><td>Majority vote' in page
    nested, between = rows[2][1], rows[2][2].split(" to ")
    assert float(between[0]) <= float(nested) <= float(between[1])
    assert all(0 <= float(row[-1]) <= 1 for row in rows)
    assert f"<b>{nested}</b>" in page


def test_what_auto_has_taken_is_told_with_autos_own_estimate(
    tmp_path: Path, walks: Dataset, candidates: list[Candidate]
) -> None:
    rows = rows_of(page_of(tmp_path, walks, candidates, rule="auto"))
    assert rows[-1][0].startswith("Auto: ")
    assert len(rows) == 7


def test_one_trial_that_decides_alone_is_no_vote(
    tmp_path: Path, walks: Dataset, candidates: list[Candidate]
) -> None:
    page = page_of(tmp_path, walks, candidates[:1], rule="single")
    assert '<tr class="taken"><td>Best single trial' in page
    said = " ".join(page.split())
    assert "One trial decides alone. Each predicts with the mean of one model a fold." in said
    assert "by the soft rule" not in page
    assert "disagrees" not in page
    page = page_of(tmp_path, walks, candidates[:1], is_refitted=True)
    assert "trained again on all labelled data" in page
    assert "One trial decides alone: no ensemble by the majority rule scores better" in page


def test_the_page_loads_nothing_and_runs_nothing(
    tmp_path: Path, walks: Dataset, candidates: list[Candidate]
) -> None:
    page = page_of(tmp_path, walks, candidates)
    assert "default-src 'none'" in page
    assert not re.search(r"<(?:script|link|iframe|img)\b|\ssrc=|url\(|https?://", page)
    assert len(page) < 100_000


def test_whatever_a_user_has_named_is_escaped(
    tmp_path: Path, walks: Dataset, candidates: list[Candidate]
) -> None:
    schema = walks.schema.model_copy(
        update={"classes": (EVIL, "b & c", "d"), "channels": (EVIL, "y"), "label_column": EVIL}
    )
    page = page_of(
        tmp_path,
        replace(walks, name=EVIL, schema=schema),
        candidates,
        study=EVIL,
        metric=EVIL,
        predict_command=f"muster predict {EVIL}",
        importance={EVIL: 1.0},
    )
    assert EVIL not in page
    assert not re.search("<(?:script|img)", page)
    assert "b &amp; c" in page


def test_a_page_without_test_labels_shows_no_test_figures(
    tmp_path: Path, walks: Dataset, candidates: list[Candidate]
) -> None:
    bare = replace(walks, labels=np.where(walks.is_test, -1, walks.labels))
    page = page_of(tmp_path, bare, candidates)
    assert "test macro-F1" not in page
    assert "There is no labelled test part." in page
    assert len(matrices_of(page)) == 2


def test_importance_that_cannot_be_told_gives_its_reason(
    tmp_path: Path, walks: Dataset, candidates: list[Candidate]
) -> None:
    page = page_of(tmp_path, walks, candidates, importance={}, importance_reason="Too few trials.")
    assert "Not shown: Too few trials." in page


def test_more_classes_than_a_page_is_wide_show_the_most_frequent_confusions() -> None:
    classes = [f"c{i}" for i in range(31)]
    decided = np.arange(62) % 31
    decided[[3, 34, 5]] = 4, 4, 6
    part = Part("test", np.arange(62) % 31, decided)
    assert confusion(part, classes) is None
    assert confusions(part, classes) == [("c3", "c4", 2), ("c5", "c6", 1)]
    assert class_f1(part, classes)[0] == 1.0


def test_members_disagree_where_just_one_of_them_is_right(
    walks: Dataset, candidates: list[Candidate]
) -> None:
    rows, labels = walks.train_index[:4], np.array([0, 1, 0, 1])
    right = np.eye(3)[labels]
    wrong = right[:, [1, 0, 2]]
    oof = np.full((len(walks), 3), np.nan)
    members = []
    for scores in (right, np.concatenate([wrong[:3], right[3:]])):
        oof = oof.copy()
        oof[rows] = scores
        members.append(replace(candidates[0], oof=oof))
    cells = disagreements(members, labels, rows)
    assert [[cell.share for cell in row] for row in cells] == [[0.0, 0.75], [0.75, 0.75]]


@pytest.mark.parametrize(
    ("low", "high", "whole", "expected"),
    [
        (0.0, 1.0, False, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.913, 0.961, False, [0.91, 0.92, 0.93, 0.94, 0.95, 0.96, 0.97]),
        (0, 3, True, [0.0, 1.0, 2.0, 3.0]),
        (0, 0, True, [0.0, 1.0]),
        (0, 4999, True, [0.0, 1000.0, 2000.0, 3000.0, 4000.0, 5000.0]),
    ],
)
def test_ticks_are_round_and_hold_all_values(
    low: float, high: float, whole: bool, expected: list[float]
) -> None:
    assert ticks(low, high, whole=whole) == expected


def test_a_constant_line_has_an_axis_around_it() -> None:
    found = ticks(0.5, 0.5)
    assert found[0] < 0.5 < found[-1]


@pytest.mark.parametrize(
    ("curves", "charts"),
    [([], 1), ([{"fold": 0, "epoch": 0, "train_loss": np.nan, "score": 1}], 2)],
    ids=["none", "a point that is no number"],
)
def test_curves_that_are_empty_or_not_finite_are_gaps(
    tmp_path: Path,
    walks: Dataset,
    candidates: list[Candidate],
    curves: list[dict[str, Any]],
    charts: int,
) -> None:
    page = page_of(tmp_path, walks, [replace(candidates[0], curves=curves)])
    assert page.count("<svg") == charts
    assert "nan" not in page
    assert ("Not shown: the members have no curves" in page) == (not curves)


def test_a_line_is_drawn_around_its_gaps() -> None:
    points = [(0.0, 1.0), (1.0, float("nan")), (2.0, 2.0), (3.0, 1.0)]
    drawn = chart([Line(points, 9, "a")], x="x", y="y")
    assert drawn.count('class="thick c1"') == 1
    (path,) = re.findall('class="thick c1" d="(.*?)"', drawn)
    assert re.fullmatch(r"M[\d.]+ [\d.]+h0M[\d.]+ [\d.]+L[\d.]+ [\d.]+", path)
    many = chart([Line([(float(i), 0.5) for i in range(500)], 0, "t", "dots")], x="x", y="y")
    assert many.count("<circle") == 0
    assert many.count("h0") == 500
