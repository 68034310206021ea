"""Options are checked against the signature that takes them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from muster.options import option_problems


class Taker:
    """Takes three options, one argument that is none, and one in its place."""

    def __init__(
        self,
        shape: int,
        *,
        dropout: float = 0.0,
        size: Annotated[int, Field(ge=1)] = 4,
        pooling: Literal["last", "mean"] = "last",
        is_wide: bool = False,
    ) -> None:
        self.given = (shape, dropout, size, pooling, is_wide)


class Heir(Taker):
    """Takes what its parent takes."""


def problems(options: dict[str, Any], taker: Any = Taker) -> list[str]:
    return option_problems(taker, options, not_options=frozenset({"dropout"}))


@pytest.mark.parametrize("taker", [Taker, Heir])
def test_good_options_have_no_problem(taker: type) -> None:
    assert problems({}, taker) == []
    assert problems({"size": 1, "pooling": "mean", "is_wide": True}, taker) == []


@pytest.mark.parametrize(
    ("options", "start"),
    [
        ({"size": 0}, "size = 0: "),
        ({"size": 2.5}, "size = 2.5: "),
        ({"size": "4"}, "size = '4': "),
        ({"size": True}, "size = True: "),
        ({"pooling": "max"}, "pooling = 'max': "),
        ({"is_wide": "yes"}, "is_wide = 'yes': "),
        ({"wings": 2}, "wings: unknown option; known are size, pooling, is_wide"),
        ({"dropout": 0.5}, "dropout: unknown option"),
        ({"shape": 3}, "shape: unknown option"),
    ],
)
def test_a_bad_option_is_named_with_its_value(options: dict[str, Any], start: str) -> None:
    (found,) = problems(options)
    assert found.startswith(start)


def test_all_problems_are_told_at_once() -> None:
    assert len(problems({"size": 0, "pooling": "max", "wings": 2})) == 3


def test_a_function_is_a_taker_too() -> None:
    def plain(first: int, *, gamma: float = 1.0) -> float:
        return first * gamma

    assert option_problems(plain, {"gamma": 2}, not_options=frozenset()) == []
    (found,) = option_problems(plain, {"first": 1}, not_options=frozenset())
    assert found == "first: unknown option; known are gamma"
