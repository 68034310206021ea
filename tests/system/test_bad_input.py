"""Each bad input, through the real command line: one message, its exit code, nothing half-written.

A bad URL or database stands in test_bad_database, a full disk in test_full_disk.
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from commands import RUN, Finished, files_in, messages, muster, write_example

ADD = ("data", "add", "waves.toml", "--db", "sqlite:///muster.db")
PREDICT = ("predict", "bundle", "test.csv", "--out", "predictions.csv")


@dataclass(frozen=True)
class Case:
    """spoil: what is done to a good folder. said: what the message must hold."""

    command: tuple[str, ...]
    spoil: Callable[[Path], None]
    said: tuple[str, ...]


def edit(name: str, old: str, new: str, *, every: bool = False) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, -1 if every else 1))

    return spoil


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def empty(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text("")


def without_y(name: str) -> Callable[[Path], None]:
    """Leave the cells of channel y empty."""

    def spoil(folder: Path) -> None:
        header, *rows = (folder / name).read_text().splitlines()
        blank = [row.rpartition(",")[0] + "," for row in rows]
        (folder / name).write_text("\n".join([header, *blank]) + "\n")

    return spoil


def cut_gzip(folder: Path) -> None:
    whole = gzip.compress((folder / "train.csv").read_bytes())
    (folder / "train.csv.gz").write_bytes(whole[: len(whole) // 2])
    edit("waves.toml", "train.csv", "train.csv.gz")(folder)


def relabel(count: int) -> Callable[[Path], None]:
    """So many of the low sequences stay, the others become high; no test part."""

    def spoil(folder: Path) -> None:
        header, *rows = (folder / "labels.csv").read_text().splitlines()
        low = [row for row in rows if row.endswith("low")][:count]
        high = [row if row in low else row.split(",")[0] + ",high" for row in rows]
        (folder / "labels.csv").write_text("\n".join([header, *high]) + "\n")
        text = (folder / "waves.toml").read_text()
        (folder / "waves.toml").write_text(
            text.replace('[test]\nvalues = "test.csv"\nlabels = "test_labels.csv"\n', "")
        )

    return spoil


def change_a_byte(folder: Path) -> None:
    path = sorted((folder / "bundle").rglob("fold0.safetensors"))[0]
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


CASES = {
    "missing dataset file": Case(ADD, remove("waves.toml"), ("waves.toml", "check the path")),
    "missing data file": Case(ADD, remove("train.csv"), ("train.csv", "--data-root")),
    "missing column": Case(
        ADD, edit("waves.toml", '"t"', '"moment"'), ("train.csv: missing column", "moment", "mend")
    ),
    "labels of unknown sequences": Case(
        ADD,
        edit("labels.csv", "000,low", "000,low\n999,low"),
        ("labels.csv", "999", 'unknown_labels = "ignore"'),
    ),
    "text where numbers belong": Case(
        ADD,
        edit("train.csv", "000,1,", "000,1,much"),
        ("train.csv: column x, line 3", "is no number", "mend"),
    ),
    "channel without a value": Case(
        ADD, without_y("train.csv"), ("train.csv: no value at all in channel y", "exclude")
    ),
    "empty file": Case(ADD, empty("train.csv"), ("train.csv: the file is empty", "export it")),
    "truncated gzip": Case(ADD, cut_gzip, ("train.csv.gz: damaged or cut short", "fetch it")),
    "one class alone": Case(RUN, relabel(0), ("waves", "class high alone", "two classes")),
    "fewer sequences of a class than folds": Case(
        RUN, relabel(2), ("waves", "3 folds", "low (2)", "ask for fewer folds")
    ),
    "space with an unknown key": Case(
        RUN,
        edit("space.toml", "dropout", "drop_out"),
        ("space.toml", "drop_out: unknown key", "known are"),
    ),
    "space with crossed bounds": Case(
        RUN,
        edit("space.toml", "low = 1e-3, high = 1e-2", "low = 1e-2, high = 1e-3"),
        ("space.toml", "learning_rate", "low=0.01 exceeds high=0.001", "swap"),
    ),
    "space with an unknown architecture": Case(
        RUN,
        edit("space.toml", "cnn", "abacus", every=True),
        ("space.toml", "architecture", "abacus", "gru"),
    ),
    "missing space file": Case(RUN, remove("space.toml"), ("space.toml", "check the path")),
    "bundle with a changed byte": Case(
        PREDICT, change_a_byte, ("fold0.safetensors: its content was changed", "copy the bundle")
    ),
    "input that lacks a channel": Case(
        PREDICT, edit("test.csv", "wave,t,x,y", "wave,t,x,z"), ("test.csv: missing column y",)
    ),
    "bundle that is not there": Case(
        PREDICT, lambda folder: shutil.rmtree(folder / "bundle"), ("no bundle", "name the")
    ),
}


@dataclass(frozen=True)
class Ended:
    """How a case ended, and the files before and after."""

    process: CompletedProcess[str]
    before: set[str]
    after: set[str]


def run(case: Case, folder: Path, bundle: Path) -> Ended:
    write_example(folder)
    shutil.copytree(bundle, folder / "bundle")
    case.spoil(folder)
    before = files_in(folder)
    process = muster(*case.command, folder=folder)
    return Ended(process, before, files_in(folder))


@pytest.fixture(scope="module")
def endings(
    finished: Finished, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Ended]]]:
    """Every case in a process of its own, two at a time."""
    bundle = finished.folder / "out" / "bundle"
    with ThreadPoolExecutor(2) as pool:
        yield {
            name: pool.submit(run, case, tmp_path_factory.mktemp("case"), bundle)
            for name, case in CASES.items()
        }


@pytest.mark.parametrize("name", CASES)
def test_bad_input_gets_one_message_and_leaves_nothing(
    endings: dict[str, Future[Ended]], name: str
) -> None:
    ended = endings[name].result()
    said = ended.process.stderr
    assert ended.process.returncode == 2, said
    assert len(messages(ended.process)) == 1
    for text in CASES[name].said:
        assert text in said
    assert "Traceback" not in said
    assert ended.process.stdout == ""
    assert ended.after == ended.before


def test_good_input_of_the_same_kind_is_taken(finished: Finished, tmp_path: Path) -> None:
    good = Case(ADD, lambda folder: None, ())
    ended = run(good, tmp_path, finished.folder / "out" / "bundle")
    assert ended.process.returncode == 0, ended.process.stderr
    assert "muster.db" in ended.after - ended.before
