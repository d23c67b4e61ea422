"""Splits cover all rows once, keep class shares, times and groups apart, and depend on the seed only."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from epochd.core.errors import DataError
from epochd.core.specs import parse
from epochd.data.splitting.split import Splits, split, split_kind, validation_rows

SHARES = st.floats(0, 0.45)
SEEDS = st.integers(0, 2**32 - 1)


def spec(split="auto", validation=0.2, test=0.0, seed=0, **options):
    columns = {"time": {"time_column": "t"}, "group": {"group_column": "g"}}.get(split, {})
    shares = {"validation_split": validation, "test_split": test}
    return parse({"target_column": "y", "split": split, "seed": seed} | shares | columns | options)


def assert_covers(splits, rows):
    sides = [splits.train, splits.validation, splits.test]
    assert all(side.dtype == np.int64 and (np.diff(side) > 0).all() for side in sides)
    assert sorted(np.concatenate(sides)) == list(range(rows))
    again = Splits.of(splits.sides())
    assert all(np.array_equal(getattr(again, name), getattr(splits, name)) for name in ("train", "validation", "test"))


@given(st.integers(0, 300), SHARES, SHARES, SEEDS)
def test_a_random_split_is_sorted_disjoint_and_covers_all_rows(n, validation, test, seed):
    found = split(spec("random", validation, test, seed), n)
    assert_covers(found, n)
    assert len(found.test) == validation_rows(n, test)
    if n >= 10:
        assert len(found.validation) == min(validation_rows(n, validation), n - len(found.test) - 1)


@given(st.lists(st.integers(0, 5), min_size=2, max_size=200), SHARES, SHARES, SEEDS)
def test_a_stratified_split_covers_all_rows_and_trains_on_every_class(classes, validation, test, seed):
    codes = np.array(classes, dtype=np.int64)
    found = split(spec("stratified", validation, test, seed), len(codes), codes=codes)
    assert_covers(found, len(codes))
    assert set(codes[found.train]) == set(codes)


@given(st.lists(st.integers(0, 5), min_size=2, max_size=200), st.floats(0, 0.9), SEEDS)
def test_a_stratified_split_shows_validation_every_class_that_has_two_rows(classes, share, seed):
    codes = np.array(classes, dtype=np.int64)
    found = split(spec("stratified", share, seed=seed), len(codes), codes=codes)
    common = {code for code in set(classes) if classes.count(code) >= 2}
    if validation_rows(len(codes), share) >= len(common):
        assert set(codes[found.validation]) == (common if share > 0 else set())


def test_a_class_whose_share_is_less_than_half_a_row_is_held_out_too():
    codes = np.repeat([0, 1], [97, 3])
    found = split(spec("stratified", 0.1, 0.1), 100, codes=codes)
    assert [np.bincount(codes[rows]).tolist() for rows in (found.train, found.validation, found.test)] == [
        [79, 1],
        [9, 1],
        [9, 1],
    ]


@given(st.lists(st.integers(20, 60), min_size=2, max_size=5), st.floats(0.1, 0.4), st.floats(0.1, 0.4), SEEDS)
def test_a_stratified_split_keeps_class_shares_to_a_row(counts, validation, test, seed):
    codes = np.repeat(np.arange(len(counts)), counts)
    found = split(spec("stratified", validation, test, seed), len(codes), codes=codes)
    for rows, slack in ((found.test, 1), (found.validation, 2)):
        exact = np.array(counts) * len(rows) / len(codes)
        assert (np.abs(np.bincount(codes[rows], minlength=len(counts)) - exact) <= slack).all()
    assert len(found.test) == validation_rows(len(codes), test)
    assert len(found.validation) == validation_rows(len(codes), validation)


@given(st.lists(st.integers(-9, 9), min_size=3, max_size=100).filter(lambda t: len(set(t)) > 2), SHARES, SHARES)
def test_a_split_by_time_holds_out_the_last_times_and_keeps_equal_ones_together(times, validation, test):
    times = np.array(times)
    try:
        found = split(spec("time", validation, test), len(times), times=times)
    except DataError:
        assert validation > 0  # the test took all but one of the times
        assert test > 0
        return
    assert_covers(found, len(times))
    before = times[found.train].max()
    for rows, share in ((found.validation, validation), (found.test, test)):
        assert (len(rows) > 0) == (share > 0)
        if len(rows):
            assert times[rows].min() > before
            before = times[rows].max()


def test_a_cut_in_time_is_the_nearest_change_of_time_to_the_share():
    times = np.array([1.5] * 6 + [2.5] * 3 + [3.5])
    assert split(spec("time", 0.2), 10, times=times).validation.tolist() == [9]
    assert split(spec("time", 0.3), 10, times=times).validation.tolist() == [6, 7, 8, 9]
    assert split(spec("time", 0.2, 0.1), 10, times=times).validation.tolist() == [6, 7, 8]


def test_rows_of_a_single_time_cannot_be_split_by_it():
    with pytest.raises(DataError) as caught:
        split(spec("time"), 10, times=np.zeros(10))
    assert [problem.field for problem in caught.value.problems] == ["time_column"]
    assert "different times" in caught.value.problems[0].message


@given(st.lists(st.integers(1, 30), min_size=3, max_size=40), SHARES, SHARES, SEEDS)
def test_a_split_by_group_keeps_groups_whole_and_gives_each_side_one(sizes, validation, test, seed):
    groups = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    found = split(spec("group", validation, test, seed), len(groups), groups=groups)
    assert_covers(found, len(groups))
    sides = [set(groups[rows]) for rows in (found.train, found.validation, found.test)]
    assert sum(map(len, sides)) == len(sizes)
    assert [bool(side) for side in sides] == [True, validation > 0, test > 0]


@given(st.integers(50, 200), st.floats(0.05, 0.45), st.floats(0.05, 0.45), SEEDS)
def test_groups_approximate_the_share_of_rows(count, validation, test, seed):
    sizes = np.random.default_rng(seed).integers(1, 10, count)
    found = split(spec("group", validation, test, seed), sizes.sum(), groups=np.repeat(np.arange(count), sizes))
    assert abs(len(found.test) - sizes.sum() * test) <= 5.5
    assert abs(len(found.validation) - sizes.sum() * validation) <= 5.5


def test_a_group_that_is_too_large_stays_in_training():
    groups = np.repeat([0, 1, 2], [90, 6, 4])
    for seed in range(5):
        found = split(spec("group", 0.1, seed=seed), 100, groups=groups)
        assert len(found.validation) == 10


def test_two_groups_are_too_few_for_three_sides():
    with pytest.raises(DataError, match="only 2 groups"):
        split(spec("group", 0.2, 0.2), 10, groups=np.repeat([0, 1], 5))


@pytest.mark.parametrize("way", ["random", "stratified", "time", "group"])
def test_the_test_rows_do_not_depend_on_the_share_of_validation(way):
    draw = np.random.default_rng(2)
    keys = {
        "codes": draw.integers(0, 3, 200),
        "times": draw.random(200),
        "groups": draw.permutation(np.arange(200) % 20),
    }
    tests = [split(spec(way, share, 0.15), 200, **keys).test.tolist() for share in (0.0, 0.1, 0.5)]
    assert tests[0] == tests[1] == tests[2] != []


@pytest.mark.parametrize("way", ["random", "stratified", "group"])
def test_only_the_seed_decides(way):
    keys = {"codes": np.arange(100) % 3, "groups": np.arange(100) % 10}
    first, again, other = (split(spec(way, seed=seed), 100, **keys).validation.tolist() for seed in (7, 7, 8))
    assert first == again != other


def test_known_rows_are_held_out_so_that_a_resume_on_a_newer_numpy_would_be_noticed():
    assert split(spec("random"), 20).validation.tolist() == [4, 6, 8, 12]
    assert split(spec("stratified"), 20, codes=np.arange(20) % 3).validation.tolist() == [4, 6, 8, 12]
    assert split(spec("group"), 20, groups=np.arange(20) % 10).validation.tolist() == [7, 9, 17, 19]


def test_the_size_of_blocks_of_the_shuffled_order_changes_nothing(monkeypatch):
    codes = np.random.default_rng(0).integers(0, 4, 500).astype(np.uint8)
    whole = split(spec("stratified", 0.2, 0.1), 500, codes=codes)
    monkeypatch.setattr("epochd.data.splitting.split.DRAW_ROWS", 7)
    pieces = split(spec("stratified", 0.2, 0.1), 500, codes=codes)
    assert np.array_equal(whole.sides(), pieces.sides())


def test_auto_means_time_for_windows_and_shares_for_classes():
    windows = spec(time_column="t", sequence_length=3)
    assert [split_kind(windows, True), split_kind(spec(), True), split_kind(spec(), False)] == [
        "time",
        "stratified",
        "random",
    ]
    assert split_kind(spec("group"), True) == "group"


def test_rows_of_a_validation_dataset_replace_held_out_ones():
    found = split(parse({"target_column": "y", "validation_dataset": "other.csv", "test_split": 0.1}), 20)
    assert (len(found.train), len(found.validation), len(found.test)) == (18, 0, 2)


def test_without_a_fraction_there_is_no_validation():
    found = split(spec("stratified", 0.0), 5, codes=np.zeros(5, dtype=np.int64))
    assert found.train.tolist() == [0, 1, 2, 3, 4]
    assert len(found.validation) == len(found.test) == 0


def test_any_fraction_leaves_a_row_on_each_side():
    assert validation_rows(10, 0.001) == 1
    assert validation_rows(2, 0.9) == 1
    assert validation_rows(569, 0.2) == 114
