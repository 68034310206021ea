"""muster predict and bundle: what a bundle does without the study that it came from.

Neither Optuna nor a database is imported here, but where a dataset is fetched from one.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from muster.data.dataset import Dataset
from muster_cli.console import progress, results

TOLD_SECONDS = 10.0
BundlePath = Annotated[
    Path, typer.Argument(metavar="BUNDLE", help="The bundle: its folder or .zip file.")
]

app = typer.Typer(help="Verify a bundle, or write it as ONNX.", no_args_is_help=True)


def predict(
    bundle: BundlePath,
    file: Annotated[Path, typer.Argument(metavar="INPUT", help="New data, same format.")],
    out: Annotated[Path, typer.Option("--out", help="The CSV file to write.")] = Path(
        "predictions.csv"
    ),
    proba: Annotated[bool, typer.Option("--proba", help="Add the votes of each class.")] = False,
) -> None:
    """Apply a bundle to new data.

    Writes one line a sequence, in the input's order; the input may be larger than memory.
    """
    from muster_ensemble.predict import predict_file  # noqa: PLC0415 - torch, as in worker.py

    with _counting() as told:
        count = predict_file(bundle, file, out, proba=proba, told=told)
    results.print(f"{out}: {count} predictions")


@app.command()
def verify(
    bundle: BundlePath,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="The dataset file (TOML) of the bundle's dataset."),
    ] = None,
    data_root: Annotated[
        Path | None,
        typer.Option("--data-root", help="Folder that the dataset file's paths start from."),
    ] = None,
    db: Annotated[
        str | None, typer.Option("--db", help="A database that the dataset is stored in.")
    ] = None,
) -> None:
    """Check every byte of a bundle and, with its dataset, its figure.

    The figure is the vote's over the out-of-fold predictions, made anew by the fold models.
    """
    from muster_ensemble.predict import load  # noqa: PLC0415 - torch, as in worker.py
    from muster_ensemble.verify import evidence, is_refitted, reproduce  # noqa: PLC0415

    predictor = load(bundle)
    models = sum(len(folds) for folds in predictor.members)
    results.print(f"{bundle}: every file is there and has its SHA-256, nothing else is")
    results.print(
        f"{bundle}: {models} fold models of {len(predictor.members)} members are loaded, their "
        "weights are finite"
    )
    told = evidence(bundle, predictor.bundle)
    if told is None:
        results.print("not checked: the figure; bundles of before format 3 do not hold it")
        return
    if is_refitted(told, predictor.bundle):
        results.print(
            "not checked: the figure; it is that of the members' folds, and the bundle holds what "
            "was trained on all labelled data (--refit)"
        )
        return
    dataset = _dataset(data, data_root, db, fingerprint=told.dataset_fingerprint)
    if dataset is None:
        results.print(
            f"not checked: the figure, which takes the dataset {told.dataset_name}; name it with "
            "--data DATASET.toml, or a database that holds it with --db"
        )
        return
    verdict = reproduce(bundle, predictor, dataset)
    results.print(
        f"{bundle}: {verdict.metric} {verdict.found:.4f} over {verdict.sequences} out-of-fold "
        f"predictions made anew; {verdict.stored:.4f} at export"
    )


@app.command()
def export(
    bundle: BundlePath,
    onnx: Annotated[Path, typer.Option("--onnx", help="The ONNX file to write.")],
) -> None:
    """Write a bundle's networks, preprocessing and vote as one ONNX graph.

    It is compared with PyTorch by onnxruntime before it is written.
    """
    from muster_ensemble.onnx_file import write_onnx  # noqa: PLC0415 - torch, as in worker.py
    from muster_ensemble.predict import load  # noqa: PLC0415

    difference = write_onnx(load(bundle), onnx)
    results.print(f"{onnx}: at most {difference:.1e} from PyTorch's probabilities")


def _dataset(
    data: Path | None, data_root: Path | None, db: str | None, *, fingerprint: str
) -> Dataset | None:
    """The dataset of the file, or that of the fingerprint in the database, or None."""
    if data is not None:
        from muster.data.description import load_description  # noqa: PLC0415
        from muster.data.readers import read_dataset  # noqa: PLC0415

        return read_dataset(load_description(data), base=data_root or data.parent)
    if db is None:
        return None
    from muster_cli.options import open_database, settings_for  # noqa: PLC0415 - SQLAlchemy
    from muster_db import datasets  # noqa: PLC0415

    settings = settings_for(db)
    return datasets.fetch(open_database(settings), fingerprint, cache=settings.cache_dir)


@contextmanager
def _counting() -> Iterator[Callable[[int], None]]:
    """Says on stderr how many there are: all the time on a terminal, else now and then."""
    started = said = time.monotonic()
    if sys.stderr.isatty():
        with progress.status("reading") as status:
            yield lambda count: status.update(_so_far(count, started))
        return

    def told(count: int) -> None:
        nonlocal said
        if time.monotonic() - said >= TOLD_SECONDS:
            said = time.monotonic()
            logging.getLogger("muster").info("%s", _so_far(count, started))

    yield told


def _so_far(count: int, started: float) -> str:
    seconds = max(time.monotonic() - started, 1e-9)
    return f"{count} sequences predicted, {count / seconds:.0f} a second"
