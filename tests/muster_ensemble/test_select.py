from __future__ import annotations

import numpy as np
import pytest

from muster.config import Choice, TrialConfig
from muster.errors import UserError
from muster_ensemble.select import Candidate, choose, rank


def candidate(number: int, value: float, architecture: str, *, weights: bool = True) -> Candidate:
    empty = np.zeros((0, 2), dtype=np.float32)
    return Candidate(
        number=number,
        value=value,
        config=TrialConfig(architecture=Choice(name=architecture)),
        oof=empty,
        test=empty,
        weights={"fold0": "0" * 64} if weights else {},
    )


def numbers(chosen: list[Candidate]) -> list[int]:
    return [member.number for member in chosen]


def test_the_best_trials_vote_but_no_more_than_two_of_one_architecture() -> None:
    trials = [candidate(n, 0.9 - n / 100, "gru") for n in range(4)]
    trials += [candidate(9, 0.5, "cnn"), candidate(8, 0.4, "lstm"), candidate(7, 0.3, "rnn")]
    assert numbers(choose(reversed(trials), direction="maximize")) == [0, 1, 9, 8, 7]
    assert numbers(choose(trials, direction="maximize", size=3)) == [0, 1, 9]


def test_smaller_is_better_where_the_metric_is_a_loss() -> None:
    trials = [candidate(0, 0.9, "gru"), candidate(1, 0.2, "cnn"), candidate(2, 0.5, "lstm")]
    assert numbers(choose(trials, direction="minimize", size=2)) == [1, 2]


def test_one_architecture_alone_still_gives_an_odd_vote() -> None:
    trials = [candidate(n, n / 10, "gru") for n in range(6)]
    assert numbers(choose(trials, direction="maximize")) == [5, 4, 3]
    assert numbers(choose(trials, direction="maximize", size=2)) == [5, 4]


def test_equal_values_rank_by_number_and_values_that_are_none_are_left_out() -> None:
    trials = [candidate(3, 0.5, "gru"), candidate(1, 0.5, "cnn"), candidate(0, np.nan, "cnn")]
    assert numbers(rank(trials, direction="maximize")) == [1, 3]


def test_trials_whose_weights_are_gone_cannot_be_members() -> None:
    trials = [candidate(n, n / 10, "gru", weights=n != 2) for n in range(4)]
    assert numbers(choose(trials, direction="maximize")) == [3, 1, 0]


@pytest.mark.parametrize(
    ("count", "message"), [(0, "there are 0; run more"), (1, "there is 1; run more")]
)
def test_fewer_than_two_trials_are_no_ensemble(count: int, message: str) -> None:
    trials = [candidate(n, 0.5, "gru") for n in range(count)]
    with pytest.raises(UserError, match=message):
        choose(trials, direction="maximize")


def test_limits_that_leave_no_ensemble_are_refused() -> None:
    trials = [candidate(n, 0.5, "gru") for n in range(3)]
    with pytest.raises(UserError, match="ask for 2 or more members"):
        choose(trials, direction="maximize", size=1)
    with pytest.raises(UserError, match="and 1 or more of each"):
        choose(trials, direction="maximize", most_of_one_architecture=0)
    with pytest.raises(ValueError, match="direction"):
        choose(trials, direction="up")
