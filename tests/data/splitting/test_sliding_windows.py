"""Windows contain consecutive rows of one group, are on one side of the split, and contain no rows of the future."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from epochd.core.errors import DataError, InvalidSpec
from epochd.core.specs import parse
from epochd.data.feed.dataset import MemmapDataset
from epochd.data.prepare import prepare
from epochd.data.splitting.sliding_windows import inverse_order, order, starts, windows
from epochd.data.splitting.split import Splits, split
from epochd.data.storage.materialize import StoragePolicy
from epochd.data.tables.catalog import Catalog


def spec(**options):
    base = {"dataset": "t.parquet", "target_column": "y", "time_column": "t", "sequence_length": 3}
    return parse(base | options)


def test_rows_are_ordered_by_group_and_time_and_otherwise_left_alone():
    times, groups = np.array([3, 1, 1, 2, 1]), np.array([0, 1, 0, 0, 1])
    assert order(times, groups).tolist() == [2, 3, 0, 1, 4]
    assert order(times).tolist() == [1, 2, 4, 3, 0]
    assert inverse_order(order(times)).tolist() == [4, 0, 1, 3, 2]


def test_a_window_begins_wherever_enough_rows_of_its_group_follow():
    assert starts(np.arange(7), 2, np.array([0, 0, 0, 0, 1, 1, 1])).tolist() == [0, 1, 4]
    assert starts(np.arange(4), 2).tolist() == [0, 1]
    assert starts(np.arange(2), 5).tolist() == []


def brute(asked, times, groups, sides):
    """Every window by its rows, found one by one: (side, rows, target row)."""
    rows = sorted(range(len(times)), key=lambda row: (groups[row], times[row], row))
    found = set()
    for at in range(len(rows)):
        part = rows[at : at + asked.sequence_length + asked.horizon]
        inputs, target = part[: asked.sequence_length], part[-1]
        whole = len(part) == asked.sequence_length + asked.horizon
        used = [*inputs, target]
        if whole and len({groups[row] for row in part}) == len({sides[row] for row in used}) == 1:
            found.add((int(sides[target]), tuple(inputs), target))
    return found


@given(st.data(), st.integers(1, 4), st.integers(0, 3), st.sampled_from(["time", "group"]), st.integers(0, 99))
def test_windows_are_those_that_stay_on_one_side_and_in_one_group(data, length, horizon, way, seed):
    groups = np.array(data.draw(st.lists(st.integers(0, 3), min_size=12, max_size=60)))
    groups = np.unique(groups, return_inverse=True)[1]
    times = np.array(data.draw(st.lists(st.integers(0, 40), min_size=len(groups), max_size=len(groups))))
    asked = spec(sequence_length=length, horizon=horizon, split=way, group_column="g", test_split=0.2, seed=seed)
    try:
        splits = split(asked, len(groups), times=times, groups=groups)
        rows = order(times, groups)
        found = windows(asked, rows, splits, groups)
    except DataError:
        return  # too few times or groups for three sides, or no room on one of them
    seen = {
        (side, tuple(rows[first : first + length].tolist()), int(target))
        for side, name in enumerate(("train", "validation", "test"))
        for first, target in zip(found[name].first, found[name].rows, strict=True)
    }
    assert seen == brute(asked, times, groups, splits.sides())
    used = [{row for side, inputs, target in seen if side == s for row in (*inputs, target)} for s in range(3)]
    assert len(set.union(*used)) == sum(map(len, used))


def test_a_side_without_a_window_is_reported_with_its_longest_group():
    splits = Splits(np.arange(16), np.arange(16, 20), np.arange(0))
    with pytest.raises(DataError) as caught:
        windows(spec(sequence_length=4), np.arange(20), splits)
    (problem,) = caught.value.problems
    assert problem.field == "sequence_length"
    assert "the validation rows" in problem.message
    assert "only 4" in problem.message
    with pytest.raises(DataError, match="longest group has only 2"):
        windows(spec(sequence_length=4), np.arange(20), splits, np.arange(20) // 2)


@pytest.mark.parametrize("way", ["random", "stratified"])
def test_windows_are_not_split_at_random(way):
    with pytest.raises(InvalidSpec, match="data leakage"):
        spec(split=way)


def series(groups=4, length=60, seed=0):
    """Several series of dates, shuffled; ``y`` is each day's own number, ``x`` something else."""
    draw = np.random.default_rng(seed)
    first = date(2020, 1, 1)
    frame = pl.DataFrame(
        {
            "g": np.repeat([f"g{number}" for number in range(groups)], length),
            "t": [first + timedelta(days=day) for _ in range(groups) for day in range(length)],
            "x": draw.normal(size=groups * length),
            "c": draw.choice(["u", "v"], groups * length),
            "y": draw.normal(size=groups * length),
        }
    )
    return frame[draw.permutation(frame.height)]


def prepared(folder, frame, limit=None, **options):
    frame.write_parquet(folder / "t.parquet")
    policy = None if limit is None else StoragePolicy(folder / "cache", limit, 2**30)
    return prepare(spec(group_column="g", **options), Catalog([folder]), policy)


@pytest.mark.parametrize("horizon", [0, 1, 3])
def test_prepared_windows_hold_the_rows_before_their_target(tmp_path, horizon):
    frame = series()
    found = prepared(tmp_path, frame, horizon=horizon, test_split=0.2, feature_columns=["x"], sequence_length=5)
    scale = found.encoder.columns[0].scale
    for name in ("train", "validation", "test"):
        part, rows = getattr(found, name), found.rows[name]
        assert part.x.shape == (len(rows), 5, 1)
        for x, y, row in zip(part.x, part.y, rows, strict=True):
            g, t, target = frame[int(row)].select("g", "t", "y").row(0)
            last = t - timedelta(days=horizon)
            days = pl.date_range(last - timedelta(days=4), last, eager=True)
            raw = frame.filter((pl.col("g") == g) & pl.col("t").is_in(days.to_list())).sort("t").get_column("x")
            np.testing.assert_array_equal(x[:, 0], scale.apply(raw.to_numpy()).astype(np.float32))
            assert y == np.float32((target - found.encoder.target_mean) / found.encoder.target_scale)


def test_one_cut_in_time_splits_all_groups(tmp_path):
    frame = series()
    found = prepared(tmp_path, frame, test_split=0.2)
    days = {name: frame[rows].get_column("t") for name, rows in found.rows.items()}
    assert days["train"].max() < days["validation"].min()
    assert days["validation"].max() < days["test"].min()
    # a window of 3 and its target take 4 of the 12 days of a side: 9 find room in each of the 4 groups
    assert len(found.validation) == len(found.test) == 4 * 9


def test_groups_are_on_one_side_as_a_whole(tmp_path):
    frame = series(groups=10)
    found = prepared(tmp_path, frame, split="group", test_split=0.2)
    groups = [set(frame[rows].get_column("g")) for rows in found.rows.values()]
    assert list(map(len, groups)) == [6, 2, 2]
    assert len(set.union(*groups)) == 10


def test_the_encoder_of_windows_has_seen_training_rows_alone(tmp_path):
    frame = series()
    before = prepared(tmp_path, frame)
    late = pl.col("t") >= date(2020, 1, 1) + timedelta(days=48)
    planted = frame.with_columns(
        x=pl.when(late).then(1e6).otherwise("x"), c=pl.when(late).then(pl.lit("new")).otherwise("c")
    )
    after = prepared(tmp_path, planted)
    assert after.encoder == before.encoder
    assert after.train.x.tobytes() == before.train.x.tobytes()
    assert after.validation.x.tobytes() != before.validation.x.tobytes()


@pytest.mark.parametrize("way", ["time", "group"])
def test_windows_of_a_mapped_file_are_those_in_memory(tmp_path, way):
    frame = series(groups=6)
    resident = prepared(tmp_path, frame, split=way, test_split=0.2)
    stored = prepared(tmp_path, frame, limit=1000, split=way, test_split=0.2)
    for name in ("train", "validation", "test"):
        mine, theirs = getattr(stored, name), getattr(resident, name)
        assert isinstance(mine, MemmapDataset)
        taken = mine.gather(np.arange(len(mine)))
        assert taken.x.tobytes() == theirs.x.tobytes()
        assert taken.y.tobytes() == theirs.y.tobytes()
        assert np.array_equal(stored.rows[name], resident.rows[name])


def test_windows_above_the_limit_are_stored_though_their_rows_would_fit(tmp_path):
    frame, rows = series(), 4 * 60
    assert isinstance(prepared(tmp_path, frame, limit=rows * 8 * 4, sequence_length=10).train, MemmapDataset)
    assert not isinstance(prepared(tmp_path, frame, limit=rows * 8 * 40, sequence_length=10).train, MemmapDataset)


def accuracy(train, validation):
    """How well a least-squares fit of the windows' values tells the class."""
    flat = [np.column_stack([part.x.reshape(len(part), -1), np.ones(len(part))]) for part in (train, validation)]
    weights = np.linalg.lstsq(flat[0].astype(float), train.y - 0.5, rcond=None)[0]
    return float(np.mean((flat[1] @ weights > 0) == (validation.y > 0.5)))


def leaking(ahead, groups=4, length=500):
    """A coin is thrown each day in each group, and ``x`` tells how it falls ``ahead`` days later."""
    coins = np.random.default_rng(5).integers(0, 2, groups * length)
    columns = {"g": np.repeat(np.arange(groups), length), "t": np.tile(np.arange(length), groups)}
    return pl.DataFrame(columns | {"x": np.roll(coins, -ahead).astype(float), "y": coins})


def test_a_feature_that_reveals_a_target_later_than_the_windows_does_not_help(tmp_path):
    options = {"sequence_length": 4, "horizon": 2, "feature_columns": ["x"]}
    told = prepared(tmp_path, leaking(2), **options)
    assert accuracy(told.train, told.validation) == 1.0
    for ahead in (-1, 6, 9):
        untold = prepared(tmp_path, leaking(ahead), **options)
        assert 0.4 < accuracy(untold.train, untold.validation) < 0.6


def test_the_targets_own_past_may_be_learned_from_but_not_its_present(tmp_path):
    found = prepared(tmp_path, leaking(1), horizon=1, feature_columns=["y"])
    assert 0.4 < accuracy(found.train, found.validation) < 0.6
    with pytest.raises(InvalidSpec, match="is the target and also a feature"):
        spec(horizon=0, feature_columns=["y"])
