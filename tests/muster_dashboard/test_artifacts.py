from __future__ import annotations

import csv
import io
from xml.etree import ElementTree

import numpy as np
from sqlalchemy import Engine
from werkzeug.test import Client, TestResponse

from dashboards import Opened
from muster_dashboard import charts
from muster_db.artifacts import DatabaseArtifactStore
from muster_db.tables import OPTUNA
from shows import Show


def fetch(client: Client, show: Show, ending: str, code: str) -> TestResponse:
    trial_id = (show.held if ending == "held" else show.ended[ending]).trial_id
    return client.get(f"/artifacts/1/{trial_id}/{code}-{trial_id}")


def test_a_completed_trial_has_curves_a_confusion_matrix_and_a_log(
    dashboard: Opened, show: Show
) -> None:
    client = dashboard.log_in("viewer")
    curves, confusion, table, log = (
        fetch(client, show, "complete", code) for code in ("c1", "c2", "c3", "c4")
    )
    for image in (curves, confusion):
        assert image.mimetype == "image/svg+xml"
        assert ElementTree.fromstring(image.text).tag.endswith("svg")
        assert "sandbox" in image.headers["Content-Security-Policy"]
    assert curves.text.count("<polyline") == 2
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert (len(rows), rows[0]["fold"], rows[-1]["train_loss"]) == (20, "0", "0.1")
    assert "gpu-box" in log.text
    assert "learning_rate = " in log.text
    assert "macro_f1 of all out-of-fold predictions: 0.85" in log.text
    assert sum(line.startswith("fold ") for line in log.text.splitlines()) == 20


def test_others_have_what_there_is(dashboard: Opened, show: Show) -> None:
    client = dashboard.log_in("viewer")
    assert "the loss is NaN" in fetch(client, show, "pruned", "c4").text
    assert fetch(client, show, "pruned", "c3").text.splitlines()[1:] == ["0,0,0.3,,", "0,1,nan,,"]
    assert "boom" in fetch(client, show, "failed", "c4").text
    assert "no epoch yet" in fetch(client, show, "failed", "c1").text
    assert fetch(client, show, "held", "c3").text.count("\n") == 4
    assert "not stored" in fetch(client, show, "pruned", "c2").text


def test_files_that_people_stored_with_optuna_are_served_too(
    dashboard: Opened, show: Show, show_engine: Engine
) -> None:
    DatabaseArtifactStore(show_engine).write("abc1", io.BytesIO(b"<script>alert(1)</script>"))
    meta = r'"{\"artifact_id\": \"abc1\", \"filename\": \"a.html\", \"mimetype\": \"text/html\"}"'
    row = {"study_id": show.study.study_id, "key": "artifacts:abc1", "value_json": meta}
    with show_engine.begin() as connection:
        connection.execute(OPTUNA.tables["study_system_attributes"].insert().values(row))
    client = dashboard.log_in("viewer")
    shown = client.get("/artifacts/1/abc1")
    while shown.status_code == 404:
        shown = client.get("/artifacts/1/abc1")
    assert shown.data == b"<script>alert(1)</script>"
    assert "sandbox" in shown.headers["Content-Security-Policy"]


def test_the_confusion_matrix_counts_labels_by_decisions() -> None:
    counts = np.array([[5, 1], [2, 7]])
    text = charts.confusion("<title>", counts, ["a & b", "c" * 40])
    found = [each.text for each in ElementTree.fromstring(text).iter() if each.text]
    assert [each for each in found if each.isdigit()] == ["5", "1", "2", "7"]
    assert "<title>" in found
    many = charts.confusion("many", np.eye(50, dtype=np.int64), [str(n) for n in range(50)])
    assert "the first 30 of 50 classes" in many


def test_a_curve_of_one_point_or_of_none_is_drawn() -> None:
    assert "stroke-linecap" in charts.curves("one", {"fold 0": [(0.0, 0.5)]}, up="f1")
    assert "no epoch yet" in charts.curves("none", {"fold 0": [(0.0, float("nan"))]}, up="f1")
