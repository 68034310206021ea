from __future__ import annotations

import pytest

from muster.errors import UserError
from muster_cli.contract import limits_in_words, make_limits
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


def test_a_patience_on_the_ensemble_takes_a_patience() -> None:
    limits = make_limits("90s", 4, "ensemble")
    assert limits == Limits(seconds=90, patience=4, patience_on="ensemble")
    assert limits_in_words(limits) == "patience of 4 trials on the ensemble and time limit of 90s"
    with pytest.raises(UserError, match="add --patience"):
        make_limits(None, None, "ensemble")
