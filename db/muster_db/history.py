"""The trials of a study as columns of numbers: what samplers and pruners calculate with.

A row of 9 parameters and 10 reports takes some 300 bytes, where an object a trial takes ten times
as much, and a sampler reads 10,000 of them in numpy's time.
"""

from __future__ import annotations

import copy
from array import array
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

Floats = NDArray[np.float64]
Shape = tuple[tuple[str, BaseDistribution], ...]
FIRST_ROWS: Final = 64
# Optuna refuses trials without times, and nothing here is decided by them.
NO_TIME: Final = datetime(1970, 1, 1)


@dataclass(frozen=True)
class Row:
    """One trial. values: Optuna's internal numbers of the parameters that distributions name.

    state: what is not finished is RUNNING. reports: step to value. is_ahead: claimed to be begun
    later, so that its configuration may change yet.
    """

    number: int
    state: TrialState
    distributions: Shape
    values: tuple[float, ...]
    value: float | None
    reports: Mapping[int, float]
    params_hash: str
    is_ahead: bool = False


@dataclass(frozen=True)
class End:
    """How a trial ended, to those who draw. last_report: its last step and the value there."""

    state: TrialState
    value: float | None
    last_report: tuple[int, float] | None = None


class History:
    """Grows by rows in the order of the trials' numbers; a row can be replaced by a later one.

    states, values and columns are (trials,) views, in the order of the numbers; a parameter that
    a trial does not have is NaN in its column, and so is a value it does not have.
    """

    def __init__(self) -> None:
        self._size = 0
        self._finished = 0
        self._states = np.zeros(FIRST_ROWS, dtype=np.int8)
        self._values = np.full(FIRST_ROWS, np.nan)
        self._last_steps = np.full(FIRST_ROWS, -1, dtype=np.int64)
        self._last_reports = np.full(FIRST_ROWS, np.nan)
        self._shapes = np.zeros(FIRST_ROWS, dtype=np.int32)
        self._columns: dict[str, Floats] = {}
        self._known_shapes: dict[Shape, int] = {}
        self._same_shapes: dict[tuple[tuple[str, int], ...], tuple[int, Shape]] = {}
        self._first_finished: dict[int, int] = {}
        self._ahead = np.zeros(FIRST_ROWS, dtype=np.bool_)
        self._hashes: list[bytes] = []
        self._known: Counter[bytes] = Counter()
        self._reporters: defaultdict[int, array[int]] = defaultdict(lambda: array("l"))
        self._reports: defaultdict[int, array[float]] = defaultdict(lambda: array("d"))

    def __len__(self) -> int:
        return self._size

    @property
    def finished(self) -> int:
        """How many trials are complete, pruned or failed."""
        return self._finished

    @property
    def states(self) -> NDArray[np.int8]:
        """Optuna's numbers of the states."""
        return self._states[: self._size]

    @property
    def values(self) -> Floats:
        """What the trials were told with."""
        return self._values[: self._size]

    @property
    def ahead(self) -> NDArray[np.int64]:
        """Numbers of the trials that were claimed to be begun later."""
        return np.flatnonzero(self._ahead[: self._size])

    @property
    def last_reports(self) -> tuple[NDArray[np.int64], Floats]:
        """The last step of each finished trial, -1 for none, and its value there."""
        return self._last_steps[: self._size], self._last_reports[: self._size]

    def column(self, name: str) -> Floats:
        """A parameter's internal numbers."""
        found = self._columns.get(name)
        return np.full(self._size, np.nan) if found is None else found[: self._size]

    def distributions(self) -> list[dict[str, BaseDistribution]]:
        """The distinct sets of parameters of complete and pruned trials, the oldest first."""
        shapes = list(self._known_shapes)
        order = sorted(self._first_finished, key=lambda shape: self._first_finished[shape])
        return [dict(shapes[shape]) for shape in order]

    def is_known(self, params_hash: str) -> bool:
        """Whether a trial has this configuration."""
        return self._known[bytes.fromhex(params_hash)] > 0

    def reports_at(self, step: int) -> tuple[NDArray[np.int64], Floats]:
        """Numbers of the complete and pruned trials that reached a step, and their values."""
        if step not in self._reporters:
            return np.zeros(0, dtype=np.int64), np.zeros(0)
        return np.array(self._reporters[step], dtype=np.int64), np.array(self._reports[step])

    def put(self, row: Row) -> None:
        """Add a trial, or replace the one of its number. Numbers come without gaps."""
        number = row.number
        if number > self._size:
            raise IndexError(f"trial {number} comes before trial {self._size}")
        if number == self._size:
            self._grow()
            self._size += 1
            self._hashes.append(b"")
        self._put_hash(number, bytes.fromhex(row.params_hash))
        self._ahead[number] = row.is_ahead
        was_finished = TrialState(int(self._states[number])).is_finished()
        self._finished += row.state.is_finished() - was_finished
        self._states[number] = int(row.state)
        self._values[number] = np.nan if row.value is None else row.value
        self._shapes[number] = shape = self._shape_of(row.distributions)
        for column in self._columns.values():
            # A trial that was claimed ahead may have been drawn anew.
            column[number] = np.nan
        for (name, _), value in zip(row.distributions, row.values, strict=True):
            if name not in self._columns:
                self._columns[name] = np.full(len(self._states), np.nan)
            self._columns[name][number] = value
        if row.state in (TrialState.COMPLETE, TrialState.PRUNED):
            self._first_finished[shape] = min(number, self._first_finished.get(shape, number))
            if not was_finished:
                self._put_reports(number, row.reports)

    def snapshot(self) -> History:
        """The history as it is now, which later rows leave alone; only samplers may read it."""
        found = copy.copy(self)
        for name in ("_states", "_values", "_last_steps", "_last_reports", "_shapes", "_known"):
            setattr(found, name, getattr(self, name).copy())
        found._columns = {name: column.copy() for name, column in self._columns.items()}
        found._known_shapes = dict(self._known_shapes)
        found._first_finished = dict(self._first_finished)
        return found

    def finish(self, number: int, end: End) -> None:
        """Let those who draw from this snapshot see a running trial as it ended."""
        self._states[number] = int(end.state)
        self._values[number] = np.nan if end.value is None else end.value
        if end.last_report is not None:
            self._last_steps[number], self._last_reports[number] = end.last_report
        shape = int(self._shapes[number])
        self._first_finished[shape] = min(number, self._first_finished.get(shape, number))

    def pass_over(self, numbers: Sequence[int] | NDArray[np.int64]) -> None:
        """Let those who draw from this snapshot see nothing of these but their configurations."""
        self._states[numbers] = int(TrialState.FAIL)

    def freeze(self) -> list[FrozenTrial]:
        """The trials as Optuna's own samplers want them, made anew.

        Of the reports they have the last alone, and NO_TIME as their times.
        """
        shapes = list(self._known_shapes)
        return [self._freeze(number, shapes[self._shapes[number]]) for number in range(self._size)]

    def _shape_of(self, distributions: Shape) -> int:
        # Distributions are shared objects mostly, and quicker told apart so than by their hashes.
        key = tuple((name, id(each)) for name, each in distributions)
        found = self._same_shapes.get(key)
        if found is None:
            shape = self._known_shapes.setdefault(distributions, len(self._known_shapes))
            # What is kept here keeps its place in memory, and so its key.
            self._same_shapes[key] = found = (shape, distributions)
        return found[0]

    def _put_hash(self, number: int, new: bytes) -> None:
        """A configuration that a trial has no more is free to be tried."""
        if old := self._hashes[number]:
            self._known[old] -= 1
        self._known[new] += 1
        self._hashes[number] = new

    def _put_reports(self, number: int, reports: Mapping[int, float]) -> None:
        for step, value in reports.items():
            self._reporters[step].append(number)
            self._reports[step].append(value)
        if reports:
            self._last_steps[number] = step = max(reports)
            self._last_reports[number] = reports[step]

    def _grow(self) -> None:
        if self._size < len(self._states):
            return
        self._states = np.concatenate([self._states, np.zeros_like(self._states)])
        self._shapes = np.concatenate([self._shapes, np.zeros_like(self._shapes)])
        self._ahead = np.concatenate([self._ahead, np.zeros_like(self._ahead)])
        self._values = _doubled(self._values)
        self._last_reports = _doubled(self._last_reports)
        self._last_steps = np.concatenate([self._last_steps, np.full_like(self._last_steps, -1)])
        self._columns = {name: _doubled(column) for name, column in self._columns.items()}

    def _freeze(self, number: int, shape: Sequence[tuple[str, BaseDistribution]]) -> FrozenTrial:
        value, step = float(self._values[number]), int(self._last_steps[number])
        state = TrialState(int(self._states[number]))
        return FrozenTrial(
            number=number,
            state=state,
            value=None if np.isnan(value) else value,
            datetime_start=NO_TIME,
            datetime_complete=NO_TIME if state.is_finished() else None,
            params={
                name: distribution.to_external_repr(float(self._columns[name][number]))
                for name, distribution in shape
            },
            distributions=dict(shape),
            user_attrs={},
            system_attrs={},
            intermediate_values={step: float(self._last_reports[number])} if step >= 0 else {},
            trial_id=number,
        )


def _doubled(column: Floats) -> Floats:
    return np.concatenate([column, np.full_like(column, np.nan)])
