"""Values of a search space: fixed, or drawn from a range, a list or a conditional table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, model_validator

from muster.config import Choice

Scalar = bool | int | float | str
# 0.1 + 0.2 is a multiple of 0.1 for those who write files.
STEP_TOLERANCE = 1e-6


class Trial(Protocol):
    """The part of an Optuna trial that a search space needs."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float: ...

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int: ...

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...


class Range(BaseModel):
    """A tunable number: from low to high, both included; integers where both are integers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None

    @model_validator(mode="after")
    def _check(self) -> Range:
        if self.low > self.high:
            raise ValueError(f"low={self.low} exceeds high={self.high}; swap them")
        if self.log and self.low <= 0:
            raise ValueError(f"log = true needs low above 0, not {self.low}")
        if self.log and self.step is not None:
            raise ValueError("log = true and step exclude each other; drop one")
        if self.step is not None and self.step <= 0:
            raise ValueError(f"step={self.step} must be above 0")
        return self

    def ends(self) -> tuple[Scalar, ...]:
        return (self.low, self.high)

    @property
    def is_integer(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def contains(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if self.is_integer and not isinstance(value, int):
            return False
        steps = (value - self.low) / self.step if self.step else 0.0
        return self.low <= value <= self.high and abs(steps - round(steps)) < STEP_TOLERANCE

    def cast(self, value: Any) -> Scalar:
        return int(value) if self.is_integer else float(value)

    def as_words(self) -> str:
        kind = "an integer" if self.is_integer else "a number"
        step = f" in steps of {self.step}" if self.step else ""
        return f"must be {kind} from {self.low} to {self.high}{step}"

    def suggest(self, name: str, trial: Trial) -> Scalar:
        if self.is_integer:
            return trial.suggest_int(
                name, int(self.low), int(self.high), step=int(self.step or 1), log=self.log
            )
        return trial.suggest_float(
            name, float(self.low), float(self.high), step=self.step, log=self.log
        )


class Choices(BaseModel):
    """A tunable value out of a list."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    choices: list[Scalar]

    @model_validator(mode="after")
    def _check(self) -> Choices:
        if not self.choices:
            raise ValueError("choices is empty; name at least one")
        if len({(type(choice), choice) for choice in self.choices}) < len(self.choices):
            raise ValueError("choices holds a value twice; drop one")
        return self

    def ends(self) -> tuple[Scalar, ...]:
        return tuple(self.choices)

    def contains(self, value: object) -> bool:
        # 1 and True are equal, but not the same choice.
        return (type(value), value) in {(type(choice), choice) for choice in self.choices}

    def cast(self, value: Any) -> Scalar:
        found: Scalar = value
        return found

    def as_words(self) -> str:
        return f"must be one of {', '.join(map(repr, self.choices))}"

    def suggest(self, name: str, trial: Trial) -> Scalar:
        value: Scalar = trial.suggest_categorical(name, self.choices)
        return value


class Fixed(BaseModel):
    """A value that every trial shares; it is no parameter of the search."""

    model_config = ConfigDict(frozen=True)

    value: Scalar

    def ends(self) -> tuple[Scalar, ...]:
        return (self.value,)

    def contains(self, value: object) -> bool:
        return value == self.value

    def cast(self, value: Any) -> Scalar:
        return self.value

    def as_words(self) -> str:
        return f"[space] fixes it at {self.value!r}; drop it here, or make it tunable there"

    def suggest(self, name: str, trial: Trial) -> Scalar:
        return self.value


Setting = Range | Choices | Fixed


class Table(BaseModel):
    """A conditional table: one of choose, with the options of the chosen one."""

    model_config = ConfigDict(frozen=True)

    choose: list[str]
    options: dict[str, dict[str, Setting]]

    def as_choices(self) -> Choices:
        """What there is to choose from."""
        return Choices(choices=list(self.choose))

    def suggest(self, name: str, trial: Trial) -> Choice:
        chosen = self.choose[0]
        if len(self.choose) > 1:
            chosen = trial.suggest_categorical(name, self.choose)
        return Choice(
            name=chosen,
            options={
                option: setting.suggest(f"{name}.{chosen}.{option}", trial)
                for option, setting in self.options.get(chosen, {}).items()
            },
        )
