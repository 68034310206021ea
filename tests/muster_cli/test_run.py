from __future__ import annotations

import csv
import json
import re
import shutil
import signal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from commands import RUN, SPACE, Finished, done, finish, muster, started, wait_until, write_example
from muster.errors import UserError
from muster_cli.commands import app
from muster_db import trials
from muster_db.engine import connect
from muster_db.progress import StudyProgress, progress
from muster_db.study import open_study

ROWS = ("random_guess", "best_single", "ensemble")
FIGURES = {"oof_macro_f1", "oof_accuracy", "test_macro_f1", "test_accuracy"}
NESTED = {"nested_macro_f1", "nested_accuracy"}
LONG_SPACE = SPACE.replace("epochs = 3", "epochs = 100000")


def test_run_leaves_summary_predictions_report_and_bundle(finished: Finished) -> None:
    out = finished.folder / "out"
    summary = json.loads((out / "summary.json").read_text())
    assert set(summary) == {*ROWS, "rule", "members", "estimates", "trials", "seconds"}
    assert all(set(summary[row]) == FIGURES | NESTED for row in ROWS)
    assert summary["ensemble"]["oof_macro_f1"] >= summary["best_single"]["oof_macro_f1"]
    assert summary["trials"] == 5
    with (out / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["wave"] for row in rows] == [f"{number:03}" for number in range(8)]
    assert {row["label"] for row in rows} <= {"low", "high"}
    assert "<html" in (out / "report.html").read_text()
    assert (out / "bundle" / "manifest.json").is_file()
    assert {path.name for path in out.iterdir()} == {
        "bundle", "logs", "muster.db", "predictions.csv", "report.html", "summary.json",
    }  # fmt: skip


def test_run_prints_the_table_to_stdout_and_progress_to_stderr(finished: Finished) -> None:
    out, err = finished.ended.stdout, finished.ended.stderr
    for text in ("random guess", "best single trial", "majority vote", "test macro-F1"):
        assert text in out
    assert "5/5 trials" in err
    # Whole lines of a search that stderr did not watch on a screen: one for each change.
    shown = [line for line in err.splitlines() if line.startswith("space: ")]
    assert len(shown) == len({line.split(" trials")[0] for line in shown})
    assert "" not in err.splitlines()
    assert "A new study created" not in err
    assert "Traceback" not in out + err


def test_bundle_of_a_run_is_verified_with_the_dataset_in_its_database(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSTER_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("MUSTER_DB_URL", raising=False)
    monkeypatch.chdir(finished.folder)
    bundle = str(finished.folder / "out" / "bundle")
    call = CliRunner().invoke
    plain = call(app, ["bundle", "verify", bundle])
    assert plain.exit_code == 0, plain.output
    assert "not checked: the figure, which takes the dataset" in plain.stdout
    verified = call(app, ["bundle", "verify", bundle, *finished.db])
    assert verified.exit_code == 0, verified.output
    found = re.search(r"macro_f1 (\S+) over \d+ .* made anew; (\S+) at export", verified.stdout)
    assert found is not None, verified.stdout
    summary = json.loads((finished.folder / "out" / "summary.json").read_text())
    assert float(found[2]) == pytest.approx(summary["ensemble"]["oof_macro_f1"], abs=1e-4)
    assert float(found[1]) == pytest.approx(float(found[2]), abs=0.005)
    other = f"sqlite:///{tmp_path / 'other.db'}"
    call(app, ["db", "init", "--db", other])
    monkeypatch.setenv("MUSTER_CACHE_DIR", str(tmp_path / "empty"))
    refused = call(app, ["bundle", "verify", bundle, "--db", other])
    assert isinstance(refused.exception, UserError), refused.output


def test_bundle_predicts_the_test_part_as_the_run_did(finished: Finished, tmp_path: Path) -> None:
    test = finished.folder / "test.csv"
    predictions = tmp_path / "predictions.csv"
    done(
        "predict", finished.folder / "out" / "bundle", test, "--out", predictions, folder=tmp_path
    )
    assert predictions.read_bytes() == (finished.folder / "out" / "predictions.csv").read_bytes()


def test_run_again_is_complete_and_a_larger_budget_goes_on(
    finished: Finished, tmp_path: Path
) -> None:
    shutil.copytree(finished.folder, tmp_path, dirs_exist_ok=True)
    again = muster(*RUN, folder=tmp_path)
    assert again.returncode == 0
    assert "going on with it" in again.stderr
    assert "all 5 trials are done" in again.stderr
    done(*RUN[:5], "6", *RUN[6:], folder=tmp_path)
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["trials"] == 6


def test_another_contract_under_the_same_name_is_refused_with_what_differs(
    finished: Finished,
) -> None:
    before = (finished.folder / "out" / "summary.json").read_bytes()
    refused = muster(*RUN, "--seed", "9", "--metric", "accuracy", folder=finished.folder)
    assert refused.returncode == 2
    assert "seed: 0 there, 9 here" in refused.stderr
    assert "metric: macro_f1 there, accuracy here" in refused.stderr
    assert "muster study delete space --db sqlite:///out/muster.db" in refused.stderr
    assert "--name" in refused.stderr
    assert (finished.folder / "out" / "summary.json").read_bytes() == before


def test_unknown_metric_sampler_and_pruner_are_named_at_once(tmp_path: Path) -> None:
    write_example(tmp_path)
    loud = muster(*RUN, "--rule", "loudest", folder=tmp_path)
    assert loud.returncode == 2
    assert "unknown voting rule 'loudest'; take one of auto, single" in loud.stderr
    wrong = ("--metric", "f2", "--sampler", "dice", "--pruner", "axe")
    refused = muster(*RUN, *wrong, folder=tmp_path)
    assert refused.returncode == 2
    for text in ("unknown metric 'f2'", "unknown sampler 'dice'", "unknown pruner 'axe'"):
        assert text in refused.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_run_sees_its_workers_out_and_gives_their_trials_back(
    tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    write_example(tmp_path, space=LONG_SPACE)
    path = tmp_path / "out" / "logs" / "worker-0.log"
    with started(*RUN, folder=tmp_path) as process:
        wait_until(lambda: path.exists() and "joined study" in path.read_text())
        engine = connect(f"sqlite:///{tmp_path / 'out' / 'muster.db'}")
        study = open_study(engine, "space")
        wait_until(lambda: progress(engine, study) == StudyProgress(5, 0, 1, 0, "open", ahead=1))
        process.send_signal(sent)
        ended = finish(process)
    assert ended.returncode == code
    assert "0 of 5 trials done, 2 given back" in ended.stderr
    assert f"to go on: muster {' '.join(RUN)}\n" in ended.stderr
    assert "Traceback" not in ended.stderr + path.read_text()
    now = progress(engine, study)
    assert (now.running, now.ahead, now.waiting) == (0, 0, 2)
    assert trials.reap(engine) == 0
    engine.dispose()
