"""The .ts files of the UEA & UCR archive, read through aeon, and those that aeon bundles."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from muster.data.formats.tables import require_file
from muster.data.part import Part, Request, as_texts, numbered, unlabelled
from muster.errors import UserError

NO_AEON = 'reading .ts files needs aeon; pip install "muster[worker]"'


def read(request: Request) -> Part:
    """The cases in the file's order; channels are named by their position unless named."""
    path = request.values
    cases, labels = _load(path)
    names = request.description.columns.channels
    width = cases[0].shape[0]
    if names is None:
        names = tuple(f"channel_{number}" for number in range(width))
    wanted = request.channels or tuple(
        name for name in names if name not in request.description.columns.exclude
    )
    lacking = [name for name in wanted if name not in names]
    if lacking or len(names) != width:
        raise UserError(
            f"{path}: has {width} channels; "
            + (f"it lacks {', '.join(lacking)}" if lacking else f"{len(names)} are named")
            + ": mend [columns] channels or the file"
        )
    keep = [names.index(name) for name in wanted]
    values = np.concatenate([case[keep].T for case in cases]).astype(np.float32)
    if np.isinf(values).any():
        raise UserError(f"{path}: holds an infinite value; write ? where a value is missing")
    return Part(
        path=path,
        channels=wanted,
        values=values,
        lengths=np.array([case.shape[1] for case in cases], dtype=np.int64),
        identifiers=numbered(len(cases)),
        labels=as_texts(labels)
        if len(labels) and request.role != "input"
        else unlabelled(len(cases)),
    )


def bundled(name: str) -> tuple[Path, Path]:
    """Training and test file of a dataset that comes with aeon, e.g. JapaneseVowels."""
    package = find_spec("aeon")
    if package is None or not package.submodule_search_locations:
        raise UserError(f"source = 'aeon:{name}': {NO_AEON}")
    folder = Path(package.submodule_search_locations[0]) / "datasets" / "data"
    train = folder / name / f"{name}_TRAIN.ts"
    if not train.is_file():
        known = sorted(file.parent.name for file in folder.glob("*/*_TRAIN.ts"))
        known = [
            each for each in dict.fromkeys(known) if (folder / each / f"{each}_TRAIN.ts").is_file()
        ]
        raise UserError(f"source = 'aeon:{name}': aeon bundles {', '.join(known)}; choose one")
    return train, train.with_name(f"{name}_TEST.ts")


def _load(path: Path) -> tuple[list[NDArray[np.float64]], NDArray[np.generic]]:
    require_file(path)
    _check_head(path)
    try:
        from aeon.datasets import load_from_ts_file  # noqa: PLC0415  slow, needed for this alone
    except ImportError as error:
        raise UserError(f"{path}: {NO_AEON}") from error
    try:
        cases, labels = load_from_ts_file(str(path))
    except (OSError, ValueError, IndexError) as error:
        raise UserError(f"{path}: not a sound .ts file ({error}); fetch it again") from error
    if len(cases) == 0:
        raise UserError(f"{path}: no case after @data; fetch it again")
    return list(cases), labels


def _check_head(path: Path) -> None:
    """Refuses what aeon would read wrongly: a file without data, timestamps, regression."""
    head: list[str] = []
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                head.append(" ".join(line.lower().split()))
                if head[-1] == "@data":
                    break
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a .ts file ({error}); mend the path") from error
    if "@data" not in head:
        raise UserError(f"{path}: no @data line, so this is no .ts file; mend the path or format")
    if "@timestamps true" in head:
        raise UserError(f"{path}: time stamps are not read; export it with @timeStamps false")
    if "@targetlabel true" in head:
        raise UserError(f"{path}: a regression problem; muster classifies: choose another file")
