"""The real heartbeats and Pirate Pain sequences, or made ones of their shape where none are."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from commands import done

REPOSITORY = Path(__file__).parents[2]
BEATS = "heartbeat_train_sample.csv.gz"
PIRATES = ("pirate_pain_train_11.csv", "pirate_pain_train_labels.csv")
REAL_PIRATES = tuple(f"pirate_pain/{name}" for name in PIRATES)
SPACE = """[space]
learning_rate = { low = 7e-3, high = 1e-2, log = true }
batch_size = 32
schedule = "cosine"
epochs = 6
[space.architecture]
choose = ["cnn"]
[space.architecture.cnn]
channels = 16
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the real files."""
    folder = Path(os.environ.get("MUSTER_DATA", REPOSITORY.parent / "shared" / "data"))
    if (folder / "heartbeat" / BEATS).is_file() and (
        folder / "pirate_pain" / PIRATES[0]
    ).is_file():
        return folder
    made = tmp_path_factory.mktemp("data")
    _make_beats(made / "heartbeat")
    _make_pirates(made / "pirate_pain")
    return made


def test_run_on_4000_heartbeats_beats_the_random_guess_by_far(data: Path, tmp_path: Path) -> None:
    shutil.copy(data / "heartbeat" / BEATS, tmp_path)
    (tmp_path / "space.toml").write_text(SPACE)
    said = done("run", REPOSITORY / "examples" / "heartbeat.toml", "--space", "space.toml",
         "--data-root", tmp_path, "--trials", "2", "--workers", "2", "--folds", "2",
         "--out", "out", folder=tmp_path)  # fmt: skip
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    guess, vote = summary["random_guess"], summary["ensemble"]
    assert vote["oof_macro_f1"] > 2 * guess["oof_macro_f1"]
    assert vote["oof_accuracy"] > guess["oof_accuracy"] + 0.1
    assert vote["test_macro_f1"] is None
    assert not (tmp_path / "out" / "predictions.csv").exists()
    assert "no test part to predict; for new data: muster predict" in said


def test_every_column_of_the_11_pirates_is_read(data: Path, tmp_path: Path) -> None:
    for name in PIRATES:
        shutil.copy(data / "pirate_pain" / name, tmp_path)
    example = (REPOSITORY / "examples" / "pirate_pain.toml").read_text()
    (tmp_path / "pirates.toml").write_text(example.replace("pirate_pain_train.csv", PIRATES[0]))
    db = ("--db", "sqlite:///muster.db")
    done("data", "add", "pirates.toml", *db, folder=tmp_path)
    facts = json.loads(done("data", "show", "pirate_pain", "--json", *db, folder=tmp_path))
    header = (tmp_path / PIRATES[0]).read_text().split("\n", 1)[0].split(",")
    static = ["n_legs", "n_hands", "n_eyes"]
    assert facts["static_columns"] == static
    assert [*facts["channels"], *static, "sample_index", "time"] == [
        *(name for name in header if name not in {*static, "sample_index", "time"}),
        *static, "sample_index", "time",
    ]  # fmt: skip
    assert len(facts["channels"]) == 35
    assert facts["train_sequences"] + facts["unlabelled_train_sequences"] == 11
    assert facts["steps"] == "160 to 160"
    assert list(facts["classes"]) == ["no_pain", "low_pain", "high_pain"]


def _make_beats(folder: Path) -> None:
    """4,000 rows of 187 samples and a class; each class has its bump elsewhere."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    labels = rng.choice(5, size=4000, p=[0.8, 0.05, 0.06, 0.04, 0.05])
    steps = np.arange(187)
    centres = 20 + 30 * labels[:, None]
    beats = np.exp(-(((steps - centres) / 6) ** 2)) + rng.normal(0, 0.05, (4000, 187))
    rows = np.hstack([beats, labels[:, None]])
    with gzip.open(folder / BEATS, "wt") as file:
        np.savetxt(file, rows, delimiter=",", fmt="%.4f")


def _make_pirates(folder: Path) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    names = [f"pain_survey_{number}" for number in range(1, 5)]
    names += ["n_legs", "n_hands", "n_eyes", *(f"joint_{number:02}" for number in range(31))]
    lines = [",".join(["sample_index", "time", *names])]
    for sequence in range(11):
        body = ["one+peg_leg", "one+hook_hand", "one+eye_patch"] if sequence == 8 else ["two"] * 3
        for time in range(160):
            cells = [*rng.integers(0, 3, 4), *body, *rng.random(31).round(4)]
            lines.append(",".join(map(str, [f"{sequence:03}", time, *cells])))
    (folder / PIRATES[0]).write_text("\n".join(lines) + "\n")
    kinds = ("no_pain", "low_pain", "high_pain")
    labels = [f"{sequence:03},{kinds[sequence % 3]}" for sequence in range(661)]
    (folder / PIRATES[1]).write_text("\n".join(["sample_index,label", *labels]) + "\n")
