from __future__ import annotations

import numpy as np
import pytest

from muster.diversity import Limits, disagreement, q_statistic
from muster.errors import UserError


def hits(text: str) -> np.ndarray:
    return np.array([letter == "1" for letter in text])


def test_disagreement_and_q_of_a_table_counted_by_hand() -> None:
    # 3 both right, 1 both wrong, 2 the first alone, 1 the second alone.
    first, second = hits("1110110"), hits("1110001")
    assert disagreement(first, second) == pytest.approx(3 / 7)
    assert q_statistic(first, second) == pytest.approx((3 * 1 - 2 * 1) / (3 * 1 + 2 * 1))


def test_q_says_together_in_turns_and_nothing() -> None:
    assert q_statistic(hits("1100"), hits("1100")) == 1.0
    assert q_statistic(hits("1100"), hits("0011")) == -1.0
    assert q_statistic(hits("1111"), hits("1111")) == 1.0
    assert q_statistic(hits("1111"), hits("1100")) == 0.0


def test_limits_admit_by_number_architecture_and_difference() -> None:
    correct = np.stack([hits("11110"), hits("11110"), hits("01111")])
    names = ("gru", "gru", "cnn")

    def admitted(limits: Limits, entry: int, chosen: list[int]) -> bool:
        return limits.admit(entry, chosen, architectures=names, correct=correct)

    assert admitted(Limits(), 1, [0])
    assert not admitted(Limits(members=1), 1, [0])
    assert not admitted(Limits(per_architecture=1), 1, [0])
    assert admitted(Limits(per_architecture=1), 2, [0])
    assert not admitted(Limits(min_disagreement=0.1), 1, [0])
    assert admitted(Limits(min_disagreement=0.4), 2, [0])
    assert not admitted(Limits(max_q=0.5), 1, [0])
    assert admitted(Limits(max_q=0.5), 2, [0])


def test_limits_that_leave_nobody_are_told_all_at_once() -> None:
    with pytest.raises(UserError) as refused:
        Limits(members=0, per_architecture=0, min_disagreement=2, max_q=-3)
    for text in ("0 members", "0 of one architecture", "disagreement of 2", "statistic of -3"):
        assert text in str(refused.value)
