from __future__ import annotations

import pytest

from muster.errors import UserError
from muster_cli.contract import make_limits
from muster_db.limits import Limits


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("45m", 2700), ("1.5h", 5400), ("2d", 172_800)]
)
def test_a_time_limit_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert make_limits(text, None) == Limits(seconds=seconds)


@pytest.mark.parametrize("text", ["90", "h", "-2h", "2 weeks", ""])
def test_another_time_limit_is_refused_with_the_mend(text: str) -> None:
    with pytest.raises(UserError, match="write a number and a unit"):
        make_limits(text, None)


def test_a_time_limit_of_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="leaves no time"):
        make_limits("0s", None)
