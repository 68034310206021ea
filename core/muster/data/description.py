"""The dataset file: where the sequences are and what their columns mean."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from muster.errors import UserError
from muster.spelling import known_names

Format = Literal["long_csv", "wide_csv", "npz", "ts"]
Missing = Literal["none", "forward", "linear", "spline"]


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Text = Annotated[str, Field(min_length=1), BeforeValidator(_as_text)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(_Table):
    """One part's files, relative to the dataset file's folder or the data root.

    labels: a CSV file of identifiers and labels (long_csv only). optional: the part is left out,
    with a warning, while its file is not there.
    """

    values: Text
    labels: Text | None = None
    optional: bool = False


class Columns(_Table):
    """What the columns are called (of a .npz file: its arrays).

    channels: what is learnt from, in this order; long_csv takes every other column by default.
    exclude: channels to leave out. static: one value a sequence, number or text.
    values, lengths, layout: the arrays of a .npz file; values is (sequences, steps) or
    (sequences, channels, steps), with layout = "steps_first" (sequences, steps, channels).
    """

    identifier: Text | None = None
    time: Text | None = None
    label: Text = "label"
    group: Text | None = None
    static: tuple[Text, ...] = ()
    channels: Annotated[tuple[Text, ...], Field(min_length=1)] | None = None
    exclude: tuple[Text, ...] = ()
    values: Text = "X"
    lengths: Text | None = None
    layout: Literal["channels_first", "steps_first"] = "channels_first"


class Predictions(_Table):
    """The header of a predictions file; by default the columns' own names."""

    identifier: Text | None = None
    label: Text | None = None


class Description(_Table):
    """A dataset file, checked.

    source: a dataset that a package bundles, `aeon:NAME`, instead of format and files.
    classes: fixes the order of the classes. missing: how gaps within a sequence are filled.
    drop_constant, drop_correlated: channels left out, decided on each training fold alone;
    drop_correlated is the absolute correlation from which the later of two channels goes.
    unknown_labels: what to do with labels of sequences that are not among the values.
    steps: values of a wide_csv row and channel; filled in by the reader.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,99}$")]
    format: Format | None = None
    source: Annotated[str, Field(pattern=r"^aeon:\w+$")] | None = None
    train: Source | None = None
    test: Source | None = None
    columns: Columns = Columns()
    predictions: Predictions = Predictions()
    classes: Annotated[tuple[Text, ...], Field(min_length=2)] | None = None
    missing: Missing = "none"
    drop_constant: bool = False
    drop_correlated: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    unknown_labels: Literal["refuse", "ignore"] = "refuse"
    steps: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        problems = [*_source_problems(self), *_column_problems(self)]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def identifier_column(self) -> str:
        """The first column of a predictions file."""
        return self.predictions.identifier or self.columns.identifier or "sample_index"

    @property
    def label_column(self) -> str:
        """The second column of a predictions file."""
        return self.predictions.label or self.columns.label


def _source_problems(description: Description) -> list[str]:
    if description.source is not None:
        extra = [key for key in ("train", "test") if getattr(description, key) is not None]
        problems = [f"source already says where the data is; strike [{key}]" for key in extra]
        if description.format not in {None, "ts"}:
            problems.append(f"source is read as ts; strike format = {description.format!r}")
        return problems
    problems = []
    if description.format is None:
        problems.append("format is missing; choose long_csv, wide_csv, npz or ts")
    if description.train is None:
        problems.append('[train] is missing; say values = "FILE"')
    if description.format != "long_csv":
        for key in ("train", "test"):
            part: Source | None = getattr(description, key)
            if part is not None and part.labels is not None:
                problems.append(f"[{key}] labels: only long_csv has a labels file; strike it")
    return problems


def _column_problems(description: Description) -> list[str]:
    columns = description.columns
    problems = []
    if description.format == "long_csv" and columns.identifier is None:
        problems.append(
            "[columns] identifier is missing; name the column that tells sequences apart"
        )
    if description.format in {"wide_csv", "ts"} or description.source is not None:
        named = {"identifier": columns.identifier, "time": columns.time, "group": columns.group}
        given = [key for key, value in named.items() if value is not None]
        given += ["static"] if columns.static else []
        problems += [
            f"[columns] {key}: this format has no such column; strike it" for key in given
        ]
    roles = [columns.identifier, columns.time, columns.label, columns.group, *columns.static]
    names = [*(role for role in roles if role is not None), *(columns.channels or ())]
    twice = sorted({name for name in names if names.count(name) > 1})
    problems += [f"[columns] {name!r} is named twice; give each column one role" for name in twice]
    return problems


def load_description(path: Path) -> Description:
    """The dataset file at path, checked; UserError names all of its problems at once."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"{path}: cannot read the dataset file: {reason}; check the path"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a TOML file: {error}; mend that line") from error
    return parse_description(content, where=str(path))


def parse_description(content: dict[str, Any], *, where: str) -> Description:
    """Checks a dataset file's plain content; where: what messages call it."""
    try:
        return Description.model_validate(content)
    except ValidationError as error:
        problems = [_problem(dict(detail)) for detail in error.errors()]
        raise UserError(
            f"{where}: " + "\n  ".join(["mend this dataset file:", *problems])
        ) from error


def _problem(detail: dict[str, Any]) -> str:
    place = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        model: Any = Description
        for part in detail["loc"][:-1]:
            model = {"train": Source, "test": Source, "columns": Columns}.get(part, Predictions)
        return f"{place}: unknown key; {known_names(str(detail['loc'][-1]), model.model_fields)}"
    message = str(detail["msg"]).removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
