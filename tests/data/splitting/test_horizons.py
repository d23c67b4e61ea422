"""Several horizons of one window: a target at each, naive forecasts for each, and no window without all of them."""

import numpy as np
import polars as pl
import pytest

from epochd.core.errors import InvalidSpec
from epochd.core.specs import parse, task_option_problems
from epochd.data.prepare import prepare
from epochd.data.storage.materialize import StoragePolicy
from epochd.data.tables.catalog import Catalog

HORIZONS = [1, 2, 7]


def spec(**options):
    base = {"dataset": "t.parquet", "target_column": "y", "time_column": "t", "sequence_length": 3}
    return parse(base | {"horizon": HORIZONS, "feature_columns": ["y"], "task": "regression"} | options)


def series(folder, length=150, season=7):
    days = np.arange(length)
    y = 10 * np.sin(2 * np.pi * days / season) + 0.01 * days
    pl.DataFrame({"t": days, "y": y}).write_parquet(folder / "t.parquet")
    return y


@pytest.mark.parametrize("limit", [None, 100])
def test_each_window_has_the_targets_of_all_horizons(tmp_path, limit):
    y = series(tmp_path)
    policy = None if limit is None else StoragePolicy(tmp_path / "cache", limit, 2**30)
    found = prepare(spec(test_split=0.2), Catalog([tmp_path]), policy)
    scale, mean = found.encoder.target_scale, found.encoder.target_mean
    assert found.encoder.outputs == 3
    for name in ("train", "validation", "test"):
        part, rows = getattr(found, name), found.rows[name]
        ends = rows - HORIZONS[-1]
        expected = np.stack([y[ends + horizon] for horizon in HORIZONS], axis=1)
        np.testing.assert_allclose(part.y * scale + mean, expected, atol=1e-4)
        assert part.y.dtype == np.float32
        last = found.naive[name]["last value"] * scale + mean
        np.testing.assert_allclose(last, np.stack([y[ends]] * 3, axis=1), atol=1e-4)
        assert ends.min() >= 2


def test_the_seasonal_naive_forecast_of_each_horizon_is_the_newest_known_value_of_its_season(tmp_path):
    y = series(tmp_path)
    found = prepare(spec(horizon=[1, 7, 8]), Catalog([tmp_path]))
    assert found.season == 7
    scale, mean = found.encoder.target_scale, found.encoder.target_mean
    ends = found.rows["validation"] - 8
    expected = np.stack([y[ends + 1 - 7], y[ends + 7 - 7], y[ends + 8 - 14]], axis=1)
    np.testing.assert_allclose(found.naive["validation"]["seasonal naive"] * scale + mean, expected, atol=1e-4)


def test_one_horizon_in_a_list_is_that_horizon(tmp_path):
    series(tmp_path)
    listed, plain = (prepare(spec(horizon=horizon), Catalog([tmp_path])) for horizon in ([2], 2))
    assert listed.encoder == plain.encoder
    assert listed.train.y.tobytes() == plain.train.y.tobytes()
    assert listed.train.y.ndim == 1


@pytest.mark.parametrize("horizon", [[2, 1], [1, 1], [], [-1], [1, 20_000]])
def test_horizons_are_ascending_and_bounded(horizon):
    with pytest.raises(InvalidSpec) as caught:
        spec(horizon=horizon)
    assert {problem.field.split(".")[0] for problem in caught.value.problems} == {"horizon"}


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_classes_have_one_horizon(task):
    with pytest.raises(InvalidSpec, match="3 horizons need a regression"):
        spec(task=task)
    [problem] = task_option_problems(spec(task=None), task)
    assert problem.field == "horizon"
    assert "train a model for each horizon" in problem.hint


def test_the_target_is_no_feature_where_one_horizon_is_its_own_row():
    with pytest.raises(InvalidSpec, match="is the target and also a feature"):
        spec(horizon=[0, 1])
