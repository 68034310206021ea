"""What the columns of a dataset mean, and what new data must therefore look like."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class StaticColumn(BaseModel):
    """One static column; vocabulary: the known texts of a text column, None for a number."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    vocabulary: tuple[str, ...] | None = None

    @property
    def width(self) -> int:
        """How many features the column becomes: one a known text, or one."""
        return 1 if self.vocabulary is None else len(self.vocabulary)


class Schema(BaseModel):
    """Channels, static columns and classes in their one fixed order.

    Travels in a study's contract and in a bundle, so that new data is read the same way.
    description: the dataset file's own content as plain data (format, column names, cleaning).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: tuple[str, ...]
    static: tuple[StaticColumn, ...] = ()
    classes: tuple[str, ...]
    description: dict[str, Any]
    identifier_column: str = "sample_index"
    label_column: str = "label"

    @property
    def static_features(self) -> int:
        """Features that the static columns become."""
        return sum(column.width for column in self.static)
