"""What a search space asks for, found by asking it: its parameters and all its combinations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from itertools import islice
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from muster.errors import UserError
from muster_db.records import Proposal

Suggest = Callable[[Any], Any]


class _Walker:
    """A trial that answers with what it is told, else with the first of what is possible."""

    def __init__(self, choose: Callable[[str, BaseDistribution], Any]) -> None:
        self.params: dict[str, Any] = {}
        self.distributions: dict[str, BaseDistribution] = {}
        self._choose = choose

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        return float(self._suggest(name, FloatDistribution(low, high, log=log, step=step)))

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        return int(self._suggest(name, IntDistribution(low, high, log=log, step=step)))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._suggest(name, CategoricalDistribution(choices))

    def _suggest(self, name: str, distribution: BaseDistribution) -> Any:
        if name not in self.params:
            self.distributions[name] = distribution
            self.params[name] = self._choose(name, distribution)
        return self.params[name]


class Walk:
    """A search space by its suggest, which asks a trial for parameters that names tell apart."""

    def __init__(self, suggest: Suggest) -> None:
        self.suggest = suggest
        self._combinations: Iterator[Proposal] | None = None
        self._next: Proposal | None = None
        self._passed: list[str] = []

    @cached_property
    def parameters(self) -> dict[str, BaseDistribution]:
        """Every parameter that some choice leads to, in the same order for the same space."""
        return {name: found for each in self._branches for name, found in each.items()}

    @cached_property
    def unconditional(self) -> dict[str, BaseDistribution]:
        """The parameters that every configuration has."""
        return {
            name: distribution
            for name, distribution in self.parameters.items()
            if all(name in each for each in self._branches)
        }

    @property
    def endless(self) -> list[str]:
        """The parameters with neither a step nor choices."""
        return [
            name
            for name, each in self.parameters.items()
            if isinstance(each, FloatDistribution) and each.step is None and not each.single()
        ]

    def combinations(self) -> Iterator[Proposal]:
        """Each combination of a finite space once, the last parameters changing first."""
        path: list[int] = []
        while True:
            sizes: list[int] = []
            walker = _Walker(_follow(path, sizes))
            self.suggest(walker)
            yield Proposal(walker.params, walker.distributions)
            path += [0] * (len(sizes) - len(path))
            while path and path[-1] + 1 == sizes[len(path) - 1]:
                path.pop()
            if not path:
                return
            path[-1] += 1

    def first_untried(self, is_known: Callable[[str], bool]) -> Proposal | None:
        """The first combination whose hash is not known; None where all are, or it is endless."""
        if self.endless:
            return None
        for place, passed in enumerate(self._passed):
            # It was claimed ahead then, and another one was drawn before it began.
            if not is_known(passed):
                return next(islice(self.combinations(), place, None))
        if self._combinations is None:
            self._combinations = self.combinations()
            self._next = next(self._combinations, None)
        while self._next is not None and is_known(self._next.hash):
            self._passed.append(self._next.hash)
            self._next = next(self._combinations, None)
        return self._next

    @cached_property
    def _branches(self) -> list[dict[str, BaseDistribution]]:
        """What each choice of each categorical parameter leads to, others being the first."""
        found: list[dict[str, BaseDistribution]] = []
        pending: list[dict[str, Any]] = [{}]
        seen: set[str] = set()
        while pending:
            told = pending.pop(0)
            walker = _Walker(partial(_told_or_first, told))
            self.suggest(walker)
            found.append(walker.distributions)
            for name, each in walker.distributions.items():
                if name not in seen and isinstance(each, CategoricalDistribution):
                    seen.add(name)
                    # What came before it leads to it.
                    pending += [{**walker.params, name: choice} for choice in each.choices]
        return found


def check_grid(suggest: Suggest, *, budget: int) -> int:
    """How many combinations a grid has, counted up to the budget.

    Raises UserError that names the parameters that have no end of values.
    """
    walk = Walk(suggest)
    if walk.endless:
        raise UserError(
            f"the sampler grid needs a finite space, and {', '.join(walk.endless)} "
            "have neither step nor choices; give each one, or pick another sampler"
        )
    return sum(1 for _ in islice(walk.combinations(), budget))


def _told_or_first(told: Mapping[str, Any], name: str, distribution: BaseDistribution) -> Any:
    return told[name] if name in told else _values(distribution)(0)


def _follow(path: Sequence[int], sizes: list[int]) -> Callable[[str, BaseDistribution], Any]:
    def choose(name: str, distribution: BaseDistribution) -> Any:
        position = len(sizes)
        sizes.append(_size(distribution))
        return _values(distribution)(path[position] if position < len(path) else 0)

    return choose


def _size(distribution: BaseDistribution) -> int:
    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    if isinstance(distribution, IntDistribution):
        return (distribution.high - distribution.low) // distribution.step + 1
    if isinstance(distribution, FloatDistribution) and distribution.step is not None:
        return round((distribution.high - distribution.low) / distribution.step) + 1
    return 1


def _values(distribution: BaseDistribution) -> Callable[[int], Any]:
    """Position to value."""
    if isinstance(distribution, CategoricalDistribution):
        return lambda position: distribution.choices[position]
    if isinstance(distribution, IntDistribution):
        return lambda position: distribution.low + position * distribution.step
    if isinstance(distribution, FloatDistribution):
        step = distribution.step or 0.0
        return lambda position: min(distribution.low + position * step, distribution.high)
    raise TypeError(f"unknown distribution {distribution}")
