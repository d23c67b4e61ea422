"""Splits cover all rows once, keep class shares, and depend on nothing but the seed."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from epochd.data.split import split, validation_rows

FRACTIONS = st.floats(0, 0.9)
SEEDS = st.integers(0, 2**32 - 1)


@given(st.integers(0, 300), FRACTIONS, SEEDS)
def test_a_split_is_sorted_disjoint_and_covers_all_rows(n, fraction, seed):
    train, validation = split(None, n, fraction, seed, stratified=False)
    assert train.dtype == validation.dtype == np.int64
    assert len(validation) == validation_rows(n, fraction)
    assert sorted([*train, *validation]) == list(range(n))
    assert (np.diff(train) > 0).all()
    assert (np.diff(validation) > 0).all()


@given(st.lists(st.integers(0, 5), min_size=2, max_size=200), FRACTIONS, SEEDS)
def test_a_stratified_split_covers_all_rows_and_shows_both_sides_every_class(classes, fraction, seed):
    codes = np.array(classes, dtype=np.int64)
    train, validation = split(codes, len(codes), fraction, seed, stratified=True)
    assert sorted([*train, *validation]) == list(range(len(codes)))
    assert set(codes[train]) == set(codes)
    common = {code for code in set(classes) if classes.count(code) >= 2}
    if validation_rows(len(codes), fraction) >= len(common):
        assert set(codes[validation]) == (common if fraction > 0 else set())


@given(st.lists(st.integers(20, 60), min_size=2, max_size=5), st.floats(0.1, 0.5), SEEDS)
def test_a_stratified_split_keeps_class_shares_to_one_row(counts, fraction, seed):
    codes = np.repeat(np.arange(len(counts)), counts)
    _, validation = split(codes, len(codes), fraction, seed, stratified=True)
    held_out = validation_rows(len(codes), fraction)
    exact = np.array(counts) * held_out / len(codes)
    assert len(validation) == held_out
    assert (np.abs(np.bincount(codes[validation], minlength=len(counts)) - exact) <= 1).all()


def test_the_seed_alone_decides():
    codes = np.arange(100) % 3
    for stratified in (True, False):
        first = split(codes, 100, 0.2, 7, stratified)
        assert np.array_equal(first[1], split(codes, 100, 0.2, 7, stratified)[1])
        assert not np.array_equal(first[1], split(codes, 100, 0.2, 8, stratified)[1])


def test_known_rows_are_held_out_so_that_a_resume_on_a_newer_numpy_would_be_noticed():
    assert split(None, 20, 0.2, 0, stratified=False)[1].tolist() == [4, 6, 8, 12]
    assert split(np.arange(20) % 3, 20, 0.2, 0, stratified=True)[1].tolist() == [4, 6, 8, 12]


def test_without_a_fraction_there_is_no_validation():
    train, validation = split(np.zeros(5, dtype=np.int64), 5, 0.0, 0, stratified=True)
    assert train.tolist() == [0, 1, 2, 3, 4]
    assert len(validation) == 0


def test_any_fraction_leaves_a_row_on_each_side():
    assert validation_rows(10, 0.001) == 1
    assert validation_rows(2, 0.9) == 1
    assert validation_rows(569, 0.2) == 114
