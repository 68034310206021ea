"""Datasets and new data read from files, by format."""

from __future__ import annotations

import logging
from pathlib import Path

from muster.data.assemble import assemble, assemble_input
from muster.data.dataset import Dataset
from muster.data.description import Description, Source, parse_description
from muster.data.formats import long_csv, npz, ts, wide_csv
from muster.data.part import Part, Reader, Request
from muster.data.schema import Schema
from muster.errors import UserError

log = logging.getLogger(__name__)

READERS: dict[str, Reader] = {
    "long_csv": long_csv.read,
    "wide_csv": wide_csv.read,
    "npz": npz.read,
    "ts": ts.read,
}


def read_dataset(description: Description, *, base: Path) -> Dataset:
    """The described dataset. base: the folder that its relative paths start from.

    Raises UserError naming the file, the place and the mend for whatever cannot be read.
    """
    train_source, test_source = _sources(description)
    if test_source is not None and test_source.optional and not _exists(test_source, base):
        log.warning("%s: not there; going on without a test part", base / test_source.values)
        test_source = None
    sources = [train_source] if test_source is None else [train_source, test_source]
    _require_files(sources, base)
    read = READERS[description.format or "ts"]
    train = read(_request(description, train_source, base))
    if test_source is None:
        return assemble(description, train, None)
    known = description.model_copy(update={"steps": train.steps or description.steps})
    test = read(_request(known, test_source, base, like=train))
    return assemble(description, train, test)


def read_input(schema: Schema, path: Path) -> Dataset:
    """New data at path, read the way the schema's dataset was; all of it is test part.

    Labels in it are not read and further columns are ignored; UserError where a channel or static
    column of the schema is missing.
    """
    request = input_request(schema, path)
    part = READERS[request.description.format or "ts"](request)
    return assemble_input(request.description, schema, part)


def input_request(schema: Schema, path: Path) -> Request:
    """What to read from a file of new data."""
    return Request(
        values=path,
        labels=None,
        description=parse_description(schema.description, where="the dataset's schema"),
        channels=schema.channels,
        role="input",
    )


def _sources(description: Description) -> tuple[Source, Source | None]:
    if description.source is not None:
        train, test = ts.bundled(description.source.removeprefix("aeon:"))
        return Source(values=str(train)), Source(values=str(test))
    if description.train is None:
        raise UserError(f"{description.name}: [train] is missing; say where the data is")
    return description.train, description.test


def _exists(source: Source, base: Path) -> bool:
    return (base / source.values).exists()


def _require_files(sources: list[Source], base: Path) -> None:
    """UserError naming every file that is missing, so that one go mends them all."""
    names = [name for source in sources for name in (source.values, source.labels) if name]
    absent = [str(base / name) for name in names if not (base / name).exists()]
    if absent:
        raise UserError(
            f"no such file: {', '.join(absent)}; mend the path in the dataset file, or give the "
            "folder that holds the data as --data-root"
        )


def _request(
    description: Description, source: Source, base: Path, *, like: Part | None = None
) -> Request:
    return Request(
        values=base / source.values,
        labels=base / source.labels if source.labels is not None else None,
        description=description,
        channels=like.channels if like is not None else None,
        role="train" if like is None else "test",
    )
