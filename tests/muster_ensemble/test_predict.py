from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from muster.data.dataset import Dataset
from muster.errors import UserError
from muster.fold_model import FoldModel
from muster.voting import vote
from muster_ensemble.bundle import Bundle, Member, write_bundle
from muster_ensemble.predict import load, predict_file

DATA = Path(__file__).parents[1] / "data/bundles"


@pytest.fixture
def folder(bundle: Bundle, tmp_path: Path) -> Path:
    write_bundle(tmp_path / "bundle", bundle)
    return tmp_path / "bundle"


def read_rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as stream:
        return list(csv.reader(stream))


BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"optuna", "sqlalchemy", "alembic", "muster_db", "pymysql"}:
            raise ImportError(name + " is not there")
sys.meta_path.insert(0, Blocked())
from muster_cli.main import main
for command in sys.argv[1].splitlines():
    sys.argv = ["muster", *command.split()]
    try:
        main()
    except SystemExit as end:
        assert not end.code, end.code
"""


def test_predicting_and_verifying_take_neither_optuna_nor_a_database(tmp_path: Path) -> None:
    shutil.copytree(DATA, tmp_path / "data")
    commands = "predict data/format2 data/input.csv --out out.csv\nbundle verify data/format2"
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, commands],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert read_rows(tmp_path / "out.csv")[1] == ["w30", "slow"]
    assert "not checked: the figure; bundles of before format 3" in done.stdout


def test_the_vote_is_over_the_mean_of_each_members_fold_models(
    bundle: Bundle, folder: Path, walks: Dataset
) -> None:
    predictor = load(folder)
    index = walks.test_index
    means = [
        np.mean(
            [
                FoldModel.from_bytes(data).predict_proba(walks, index, device=predictor.device)
                for data in member.folds
            ],
            axis=0,
            dtype=np.float64,
        )
        for member in bundle.members
    ]
    expected = vote(np.stack(means), rule="majority")
    scores = predictor.predict_proba(walks, index=index)
    np.testing.assert_array_equal(scores, expected)
    named = predictor.predict(walks, index=index)
    assert named.tolist() == [walks.schema.classes[i] for i in expected.argmax(axis=1)]
    assert predictor.predict_proba(walks).shape == (27, 3)
    assert predictor.predict_proba(walks, index=index[:0]).shape == (0, 3)


def test_predictions_keep_the_order_and_number_of_the_input(
    folder: Path, walks: Dataset, tmp_path: Path
) -> None:
    out = tmp_path / "deep" / "predictions.csv"
    assert predict_file(folder, tmp_path / "data/input.csv", out) == 4
    rows = read_rows(out)
    assert rows[0] == ["sample_index", "pace"]
    assert [row[0] for row in rows[1:]] == ["012", "7", "a,b", "003"]
    assert {row[1] for row in rows[1:]} <= set(walks.schema.classes)


@pytest.mark.parametrize("numbers", [1, 13, 10**6])
def test_the_size_of_the_pieces_changes_no_label(
    walks: Dataset, folder: Path, tmp_path: Path, numbers: int
) -> None:
    told: list[int] = []
    out, data = tmp_path / "predictions.csv", tmp_path / "data/values.csv"
    predict_file(folder, data, out, proba=True, told=told.append, numbers=numbers)
    rows = read_rows(out)[1:]
    whole = load(folder).predict_proba(walks, index=walks.train_index)
    assert told[-1] == len(rows) == 18
    assert (len(told) > 2) == (numbers < 10**6)
    assert [row[0] for row in rows] == list(walks.identifiers[:18])
    assert [row[1] for row in rows] == [walks.schema.classes[i] for i in whole.argmax(axis=1)]
    shares = np.array([row[2:] for row in rows], dtype=float)
    np.testing.assert_allclose(shares, whole, atol=2e-6)
    blocks = replace(load(folder), numbers=numbers).predict_proba(walks, index=walks.train_index)
    np.testing.assert_allclose(blocks, whole, atol=1e-6)


def test_rows_that_are_apart_are_predicted_all_the_same(
    folder: Path, walks: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = (tmp_path / "data/values.csv").read_text().splitlines()
    apart = tmp_path / "apart.csv"
    apart.write_text("\n".join([lines[0], *lines[2:], lines[1]]) + "\n")
    out = tmp_path / "predictions.csv"
    predict_file(folder, tmp_path / "data/values.csv", tmp_path / "sorted.csv")
    assert predict_file(folder, apart, out, numbers=20) == 18
    assert out.read_text() == (tmp_path / "sorted.csv").read_text()
    assert "apart.csv: rows of a sequence are apart" in caplog.text


def test_probabilities_are_a_column_a_class(folder: Path, walks: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "predictions.csv"
    predict_file(folder, tmp_path / "data/input.csv", out, proba=True)
    rows = read_rows(out)
    assert rows[0][2:] == ["probability_fast", "probability_slow", "probability_still"]
    for row in rows[1:]:
        shares = [float(text) for text in row[2:]]
        assert sum(shares) == pytest.approx(1, abs=1e-5)
        assert walks.schema.classes[int(np.argmax(shares))] == row[1]


def test_input_without_a_channel_is_one_message_and_leaves_older_predictions(
    folder: Path, walks: Dataset, tmp_path: Path
) -> None:
    out = tmp_path / "predictions.csv"
    out.write_text("older")
    (tmp_path / "lacking.csv").write_text("walk,t,x\n1,0,0.5\n")
    with pytest.raises(UserError, match="y"):
        predict_file(folder, tmp_path / "lacking.csv", out)
    with pytest.raises(UserError, match=r"nowhere\.csv"):
        predict_file(folder, tmp_path / "nowhere.csv", out)
    assert out.read_text() == "older"


def test_a_dataset_of_other_channels_is_refused(folder: Path, walks: Dataset) -> None:
    other = replace(walks, schema=walks.schema.model_copy(update={"channels": ("y", "x")}))
    with pytest.raises(UserError, match=r"channels or static columns are not those.*x, y"):
        load(folder).predict_proba(other)


def test_weights_that_are_no_numbers_or_no_model_name_their_file(
    bundle: Bundle, tmp_path: Path
) -> None:
    first = bundle.members[0]
    broken = FoldModel.from_bytes(first.folds[1])
    next(iter(broken.model.parameters())).data.fill_(float("nan"))
    for data, message in ((broken.to_bytes(), "no numbers"), (b"\x80\x04K\x01.", "fold model")):
        member = Member(first.number, first.config, (first.folds[0], data))
        write_bundle(tmp_path / "bundle", replace(bundle, members=(member,)))
        with pytest.raises(UserError, match=rf"members/4/fold1\.safetensors: .*{message}"):
            load(tmp_path / "bundle")


def test_a_model_of_another_shape_than_the_schema_is_refused(
    bundle: Bundle, tmp_path: Path
) -> None:
    schema = bundle.schema.model_copy(update={"classes": ("fast", "slow")})
    write_bundle(tmp_path / "bundle", replace(bundle, schema=schema))
    with pytest.raises(UserError, match=r"members/4/fold0\.safetensors: a model of"):
        load(tmp_path / "bundle")
