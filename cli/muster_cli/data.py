"""muster data: datasets in the shared database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from muster.data.dataset import UNLABELLED, Dataset
from muster.data.description import load_description
from muster.settings import Settings
from muster_cli.console import print_json, results
from muster_cli.options import (
    DataRoot,
    DatasetFile,
    Db,
    Json,
    open_database,
    open_or_make,
    settings_for,
)
from muster_db import datasets

app = typer.Typer(help="Store and list datasets.", no_args_is_help=True)


def read(path: Path, *, data_root: Path | None, settings: Settings) -> Dataset:
    """Read the dataset that a dataset file describes."""
    from muster.data.readers import read_dataset  # noqa: PLC0415 - pandas, which no worker needs

    return read_dataset(load_description(path), base=data_root or settings.data or path.parent)


@app.command()
def add(
    file: DatasetFile,
    data_root: DataRoot = None,
    db: Db = None,
) -> None:
    """Read, check and store a dataset. Workers fetch it by its fingerprint."""
    settings = settings_for(db)
    dataset = read(file, data_root=data_root, settings=settings)
    fingerprint = datasets.store(open_or_make(settings), dataset)
    results.print(f"{dataset.name}  {fingerprint}")


@app.command("list")
def list_datasets(db: Db = None, json: Json = False) -> None:
    """List the stored datasets."""
    found = datasets.list_datasets(open_database(settings_for(db)))
    if json:
        print_json(
            [
                {"name": each.name, "fingerprint": each.fingerprint, "sequences": each.sequences}
                for each in found
            ]
        )
        return
    table = Table("name", "sequences", "channels", "classes", "fingerprint", box=None)
    for each in found:
        table.add_row(
            each.name, str(each.sequences), str(each.channels), str(each.classes), each.fingerprint
        )
    results.print(table)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="The dataset's name or fingerprint.")],
    db: Db = None,
    json: Json = False,
) -> None:
    """Show what a stored dataset holds."""
    settings = settings_for(db)
    engine = open_database(settings)
    fingerprint = datasets.find(engine, name).fingerprint
    dataset = datasets.fetch(engine, fingerprint, cache=settings.cache_dir)
    facts = describe(dataset) | {"fingerprint": fingerprint}
    if json:
        print_json(facts)
        return
    table = Table(box=None, show_header=False)
    for key, value in facts.items():
        table.add_row(key.replace("_", " "), _text(value))
    results.print(table)


def describe(dataset: Dataset) -> dict[str, object]:
    """A dataset in a few plain facts."""
    train, test = dataset.train_index, dataset.test_index
    return {
        "name": dataset.name,
        "train_sequences": len(train),
        "test_sequences": len(test),
        "unlabelled_train_sequences": int(
            ((dataset.labels == UNLABELLED) & ~dataset.is_test).sum()
        ),
        "channels": list(dataset.schema.channels),
        "static_columns": [column.name for column in dataset.schema.static],
        "steps": f"{dataset.lengths.min()} to {dataset.lengths.max()}",
        "classes": {
            name: int((dataset.labels[train] == code).sum())
            for code, name in enumerate(dataset.schema.classes)
        },
        "has_groups": dataset.groups is not None,
    }


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {count}" for key, count in value.items())
    if isinstance(value, list):
        return f"{len(value)}: {', '.join(map(str, value))}" if value else "none"
    return (
        {True: "yes", False: "no"}.get(value, str(value))
        if isinstance(value, bool)
        else str(value)
    )
