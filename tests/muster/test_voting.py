from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

from muster.errors import UserError
from muster.voting import RULES, decide, halve, vote


def stack(*members: list[list[float]]) -> NDArray[np.float64]:
    return np.array(members)


def random_members(seed: int, members: int, sequences: int, classes: int) -> NDArray[np.float32]:
    draws = np.random.default_rng(seed).dirichlet(np.ones(classes), size=(members, sequences))
    return draws.astype(np.float32)


def test_majority_outvotes_one_sure_member() -> None:
    members = stack([[0.9, 0.1]], [[0.4, 0.6]], [[0.4, 0.6]])
    assert decide(vote(members, rule="majority")).tolist() == [1]
    assert decide(vote(members, rule="soft")).tolist() == [0]


def test_a_tie_goes_to_the_larger_summed_probability() -> None:
    members = stack([[0.6, 0.1, 0.3]], [[0.1, 0.8, 0.1]])
    assert decide(vote(members, rule="majority")).tolist() == [1]


def test_summed_probability_breaks_ties_among_voted_classes_only() -> None:
    # Class 2 has the largest sum (1.72) but one vote; classes 0 and 1 have two each.
    members = stack(
        [[0.41, 0.19, 0.40]],
        [[0.41, 0.20, 0.39]],
        [[0.18, 0.42, 0.40]],
        [[0.17, 0.42, 0.41]],
        [[0.0, 0.0, 1.0]],
    )
    assert decide(vote(members, rule="majority")).tolist() == [1]


def test_a_full_tie_goes_to_the_earlier_class() -> None:
    members = stack([[0.2, 0.5, 0.3]], [[0.2, 0.3, 0.5]])
    assert decide(vote(members, rule="majority")).tolist() == [1]
    assert decide(vote(members, rule="soft")).tolist() == [1]


@pytest.mark.parametrize("seed", range(20))
def test_majority_agrees_with_counting_by_hand(seed: int) -> None:
    members = random_members(seed, members=2 + seed % 5, sequences=40, classes=4)
    wide = members.astype(np.float64)
    expected = []
    for sequence in range(40):
        votes = Counter(int(row.argmax()) for row in members[:, sequence])
        summed = wide[:, sequence].sum(axis=0)
        expected.append(max(range(4), key=lambda c: (votes[c], summed[c], -c)))
    assert decide(vote(members, rule="majority")).tolist() == expected


@pytest.mark.parametrize("rule", RULES)
def test_scores_are_shares_and_do_not_depend_on_the_order_of_members(rule: str) -> None:
    members = random_members(3, members=6, sequences=30, classes=5)
    scores = vote(members, rule=rule)
    assert scores.shape == (30, 5)
    np.testing.assert_allclose(scores.sum(axis=1), 1.0)
    assert (scores >= 0).all()
    assert (decide(vote(members[::-1], rule=rule)) == decide(scores)).all()


@pytest.mark.parametrize("rule", RULES)
def test_one_member_decides_alone_and_no_sequences_give_no_decisions(rule: str) -> None:
    members = random_members(4, members=1, sequences=9, classes=3)
    assert (decide(vote(members, rule=rule)) == members[0].argmax(axis=1)).all()
    assert decide(vote(members[:, :0], rule=rule)).shape == (0,)


def test_what_is_no_probability_array_is_refused() -> None:
    with pytest.raises(UserError, match="unknown voting rule 'loudest'; take one of majority"):
        vote(random_members(0, 2, 3, 2), rule="loudest")
    with pytest.raises(ValueError, match="shape"):
        vote(np.ones((3, 2)), rule="majority")
    with pytest.raises(ValueError, match="shape"):
        vote(np.ones((0, 3, 2)), rule="soft")
    with pytest.raises(ValueError, match="finite"):
        vote(np.full((2, 3, 2), np.nan), rule="majority")


def test_weights_that_are_none_are_refused() -> None:
    for weights in ([1.0], [0.0, 0.0], [-1.0, 2.0], [np.nan, 1.0]):
        with pytest.raises(ValueError, match="weights"):
            vote(random_members(0, 2, 3, 2), rule="soft", weights=weights)


def test_weighted_votes_of_two_outweigh_three() -> None:
    members = stack(*[[[0.6, 0.4]]] * 2, *[[[0.4, 0.6]]] * 3)
    assert decide(vote(members, rule="weighted", weights=[3, 3, 1, 1, 1])).tolist() == [0]
    assert decide(vote(members, rule="weighted")).tolist() == [1]


def test_a_tie_of_weighted_votes_goes_to_the_larger_summed_probability() -> None:
    members = stack([[0.6, 0.1, 0.3]], [[0.1, 0.8, 0.1]])
    assert decide(vote(members, rule="weighted", weights=[0.3, 0.3])).tolist() == [1]


def test_factors_move_the_decision_and_leave_shares() -> None:
    members = random_members(2, members=3, sequences=20, classes=3)
    scores = vote(members, rule="soft", factors=[1.0, 1.0, 50.0])
    assert (decide(scores) == 2).all()
    np.testing.assert_allclose(scores.sum(axis=1), 1.0)


def test_temperatures_turn_a_sure_member_down() -> None:
    members = stack([[0.9, 0.1]], [[0.2, 0.8]])
    assert decide(vote(members, rule="soft")).tolist() == [0]
    assert decide(vote(members, rule="soft", temperatures=[4.0, 1.0])).tolist() == [1]


@pytest.mark.parametrize("rule", RULES)
def test_blocks_are_seamless(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    members = random_members(6, members=4, sequences=50, classes=3)
    whole = vote(members, rule=rule)
    monkeypatch.setattr("muster.voting.BLOCK_ROWS", 7)
    np.testing.assert_array_equal(vote(members, rule=rule), whole)


def test_half_precision_keeps_every_decision() -> None:
    wide = np.array([[0.50001, 0.49999], [0.49999, 0.50001], [np.nan, np.nan], [1.0, 0.0]])
    halves = halve(wide)
    assert halves.dtype == np.float16
    known = [0, 1, 3]
    assert (halves[known].argmax(axis=1) == wide[known].argmax(axis=1)).all()
    np.testing.assert_allclose(halves, wide, atol=1e-3)
