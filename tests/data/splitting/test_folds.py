"""Folds: every row in one of them, equal in size, with each class's share, or with whole groups."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from epochd.core.errors import DataError
from epochd.core.specs import parse
from epochd.data.splitting.folds import Folds, folds, weight_problem

SEEDS = st.integers(0, 2**32 - 1)


def spec(count=5, seed=0, **options):
    return parse({"target_column": "y", "folds": count, "seed": seed} | options)


@given(st.integers(20, 300), st.integers(2, 20), SEEDS)
def test_random_folds_differ_by_one_row_at_most(rows, count, seed):
    found = folds(spec(count, seed), rows)
    sizes = np.bincount(found, minlength=count)
    assert (len(found), len(sizes)) == (rows, count)
    assert sizes.max() - sizes.min() <= 1


@given(st.lists(st.integers(0, 4), min_size=20, max_size=200), st.integers(2, 20), SEEDS)
def test_each_class_has_its_share_of_every_fold(classes, count, seed):
    codes = np.array(classes, np.uint8)
    found = folds(spec(count, seed), len(codes), codes=codes)
    for rows in (found, *(found[codes == code] for code in set(classes))):
        sizes = np.bincount(rows, minlength=count)
        assert sizes.max() - sizes.min() <= 1


@given(st.lists(st.integers(0, 30), min_size=30, max_size=200).filter(lambda groups: len(set(groups)) > 4), SEEDS)
def test_groups_stay_whole_and_the_folds_about_equal(groups, seed):
    numbers = np.array(groups)
    found = folds(spec(4, seed, group_column="g"), len(groups), groups=numbers)
    assert all(len(set(found[numbers == group])) == 1 for group in set(groups))
    sizes = np.bincount(found, minlength=4)
    assert sizes.min() > 0
    assert sizes.max() - sizes.min() <= max(groups.count(group) for group in set(groups))


def test_they_depend_on_the_seed_only():
    assert np.array_equal(folds(spec(seed=3), 50), folds(spec(seed=3), 50))
    assert not np.array_equal(folds(spec(seed=3), 50), folds(spec(seed=4), 50))


def test_the_two_sides_of_a_fold_are_all_rows():
    found = Folds(folds(spec(3), 10), np.arange(10), 3)
    for fold in range(3):
        assert sorted([*found.held_out(fold), *found.trained_on(fold)]) == list(range(10))


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (4, {}, "5 folds need at least 5 rows that are not test rows, but there are 4"),
        (9, {"group_column": "g"}, "5 folds of whole groups need as many groups, but the rows have only 3"),
        (9, {"split": "group"}, "5 folds need as many different rows, but there are only 3"),
    ],
)
def test_fewer_rows_or_groups_than_folds_are_refused(rows, options, message):
    with pytest.raises(DataError, match=message):
        folds(spec(**options), rows, groups=np.arange(rows) % 3)


def test_a_fold_in_which_no_row_counts_is_refused():
    number, weights = np.array([0, 0, 1, 1], np.uint8), np.array([1, 0, 0, 0], np.float32)
    problem = weight_problem("w", weights, number)
    assert (problem.field, problem.message) == ("weight_column", "all weights in 'w' are 0 for the rows of fold 2")
    assert weight_problem("w", np.ones(4, np.float32), number) is None
    assert weight_problem(None, None, number) is None
