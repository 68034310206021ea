from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from muster.data.dataset import Dataset
from muster.selection import Choice
from muster_ensemble.estimate import decide_and_estimate
from muster_ensemble.figures import TrialPoint
from muster_ensemble.ledger import Ledger, Truth
from muster_ensemble.report import write_report
from muster_ensemble.select import Candidate
from muster_ensemble.summary import summarise

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
    share = 1 / len(members)
    choice = Choice("majority", tuple(range(len(members))), (share,) * len(members))
    outcome = replace(decide_and_estimate(ledger), choice=choice)
    summary = summarise(dataset, members[0], members, ledger, outcome, trials=4, seconds=75)
    write_report(
        path / "report.html",
        dataset=dataset,
        summary=summary,
        members=members,
        choice=choice,
        direction="maximize",
        trials=TRIALS,
        **(given | changes),
    )
    return (path / "report.html").read_text()


def charts_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="charts">(.*?)</script>', page, re.S)
    assert found is not None
    charts: dict[str, Any] = json.loads(found[1])
    return charts


def own(page: str) -> str:
    """The page without Plotly's own code."""
    return min(page.split("<script>", maxsplit=1)[0], page, key=len)


def test_the_page_holds_every_part_and_a_place_for_every_chart(
    tmp_path: Path, walks: Dataset, candidates: list[Candidate]
) -> None:
    page = page_of(tmp_path, walks, candidates[:3])
    for text in ("Random guess", "Best single trial", "Majority vote", "1.0000", "1 min"):
        assert text in own(page)
    assert "18 training and 9 test sequences" in own(page)
    assert "3 complete, 1 pruned trials" in own(page)
    assert "also chose the best trial and the members" in own(page)
    for member in candidates[:3]:
        assert f"#{member.number} {member.architecture}" in own(page)
    charts = charts_of(page)
    assert set(charts) == {
        "score", "loss", "classes", "trials", "confusion-0", "confusion-1", "importance",
    }  # fmt: skip
    for name in charts:
        assert f'id="{name}"' in own(page)
    assert charts["trials"]["data"][1]["y"] == [0.9, 0.9, 0.95]
    assert np.array(charts["confusion-0"]["data"][0]["customdata"]).sum() == 18
    assert np.array(charts["confusion-1"]["data"][0]["customdata"]).sum() == 9


def test_the_page_loads_nothing_from_elsewhere(
    tmp_path: Path, walks: Dataset, candidates: list[Candidate]
) -> None:
    page = page_of(tmp_path, walks, candidates)
    assert "default-src 'none'" in page
    assert page.count("plotly.js v") == 1
    assert not re.search(r"<(?:link|iframe)\b|\ssrc=|url\(|https?://", own(page))


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
        predict_command=f"muster predict {EVIL}",
        importance={EVIL: 1.0},
    )
    assert EVIL not in page
    assert "<img" not in own(page)
    assert charts_of(page)["classes"]["data"][0]["x"][0].startswith("&lt;/script&gt;&lt;img")


def test_a_page_without_test_labels_shows_no_test_figures(
    tmp_path: Path, walks: Dataset, candidates: list[Candidate]
) -> None:
    bare = replace(walks, labels=np.where(walks.is_test, -1, walks.labels))
    page = page_of(tmp_path, bare, candidates)
    assert "Test macro-F1" not in own(page)
    assert "no figure here is free of this" in own(page)
    assert "confusion-1" not in charts_of(page)


def test_importance_that_cannot_be_told_gives_its_reason(
    tmp_path: Path, walks: Dataset, candidates: list[Candidate]
) -> None:
    page = page_of(tmp_path, walks, candidates, importance={}, importance_reason="Too few trials.")
    assert "Not shown: Too few trials." in own(page)
    assert "importance" not in charts_of(page)


@pytest.mark.parametrize(
    "curves", [[], [{"fold": 0, "epoch": 0, "train_loss": np.nan, "score": 1}]]
)
def test_curves_that_are_empty_or_not_finite_are_gaps(
    tmp_path: Path, walks: Dataset, candidates: list[Candidate], curves: list[dict[str, Any]]
) -> None:
    members = [replace(candidates[0], curves=curves), candidates[1]]
    charts = charts_of(page_of(tmp_path, walks, members))
    assert charts["loss"]["data"][0]["y"] in ([], [None])
