from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from muster.data.dataset import Dataset
from muster.data.folds import hold_out, make_folds
from muster.errors import UserError

Make = Callable[..., Dataset]


def test_each_training_sequence_has_one_fold_and_the_others_none(make_dataset: Make) -> None:
    dataset = make_dataset(labels=np.array([0, 1] * 4 + [0, -1, 0, 1]))
    folds = make_folds(dataset, folds=4, seed=0)
    assert (folds[[9, 10, 11]] == -1).all()
    assert set(folds[:9].tolist()) == {0, 1, 2, 3}


def test_each_fold_holds_its_share_of_each_class(make_dataset: Make) -> None:
    dataset = make_dataset()
    folds = make_folds(dataset, folds=5, seed=3)
    for fold in range(5):
        assert sorted(dataset.labels[folds == fold].tolist()) == [0, 1]


def test_the_seed_alone_decides(make_dataset: Make) -> None:
    dataset = make_dataset()
    first = make_folds(dataset, folds=3, seed=1)
    np.testing.assert_array_equal(first, make_folds(dataset, folds=3, seed=1))
    assert (first != make_folds(dataset, folds=3, seed=2)).any()


def test_no_group_lies_in_two_folds(make_dataset: Make) -> None:
    groups = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 4, 4])
    dataset = make_dataset(groups=groups)
    folds = make_folds(dataset, folds=3, seed=0)
    for group in range(5):
        inside = folds[(groups == group) & (folds >= 0)]
        assert len(set(inside.tolist())) == 1


@pytest.mark.parametrize(
    ("labels", "groups", "folds", "expected"),
    [
        ([0] * 10 + [1, 1], None, 2, "class a alone"),
        ([-1] * 12, None, 2, r"class \(none\) alone"),
        (
            [0] * 8 + [1] * 4,
            None,
            3,
            r"fewer training sequences than the 3 folds in class b \(2\)",
        ),
        ([0, 1] * 6, None, 1, "at least 2"),
        ([0, 1] * 6, [0, 1] * 6, 3, "2 groups for 3 folds"),
        ([0] * 5 + [1] * 7, [0] * 5 + [1, 2, 3, 4, 5, 6, 6], 3, "class a lies in one group"),
    ],
)
def test_what_cannot_be_divided_is_refused(
    make_dataset: Make,
    labels: list[int],
    groups: list[int] | None,
    folds: int,
    expected: str,
) -> None:
    dataset = replace(
        make_dataset(),
        labels=np.array(labels),
        groups=None if groups is None else np.array(groups),
    )
    with pytest.raises(UserError, match=expected):
        make_folds(dataset, folds=folds, seed=0)


def test_a_holdout_takes_its_share_of_each_class(make_dataset: Make) -> None:
    index = np.arange(10)
    chosen = hold_out(make_dataset(), index, share=0.2, seed=0)
    assert sorted(make_dataset().labels[chosen].tolist()) == [0, 1]
    np.testing.assert_array_equal(chosen, hold_out(make_dataset(), index, share=0.2, seed=0))
    assert any(
        not np.array_equal(chosen, hold_out(make_dataset(), index, share=0.2, seed=seed))
        for seed in range(1, 5)
    )


def test_a_holdout_leaves_a_class_of_one_in_training(make_dataset: Make) -> None:
    dataset = make_dataset(labels=np.array([0] * 9 + [1, -1, -1], dtype=np.int64))
    for seed in range(20):
        assert 9 not in hold_out(dataset, np.arange(10), share=0.4, seed=seed)


def test_a_holdout_takes_whole_groups_and_never_the_last_of_a_class(make_dataset: Make) -> None:
    groups = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5], dtype=np.int64)
    labels = np.array([0] * 8 + [1] * 2 + [-1] * 2, dtype=np.int64)
    dataset = make_dataset(groups=groups, labels=labels)
    for seed in range(20):
        chosen = hold_out(dataset, np.arange(10), share=0.2, seed=seed)
        assert len(chosen) == 2
        assert groups[chosen[0]] == groups[chosen[1]] != 4


def test_a_holdout_is_empty_where_every_group_is_the_last_of_a_class(make_dataset: Make) -> None:
    dataset = make_dataset(groups=make_dataset().labels)
    assert len(hold_out(dataset, np.arange(10), share=0.2, seed=0)) == 0
