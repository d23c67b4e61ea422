"""Naive forecasts of windows."""

import numpy as np
import pytest

from epochd.core import specs
from epochd.data.splitting import sliding_windows
from epochd.data.splitting.naive_forecasts import Series, step_keys
from epochd.data.splitting.split import Splits


def series(rows, groups=None, **options):
    """Windows over rows in reverse order of time, all for training."""
    options = {"sequence_length": 3, "horizon": 2} | options
    spec = specs.parse({"target_column": "y", "time_column": "t", **options})
    order = sliding_windows.order(np.arange(rows)[::-1], groups)
    windows = sliding_windows.windows(spec, order, Splits.of(np.zeros(rows, np.uint8)), groups)["train"]
    return Series(spec, order, groups), windows


def test_the_last_value_is_that_of_the_windows_last_row():
    found, windows = series(12)
    rows = found.rows(windows, None)
    assert list(rows) == ["last value"]
    assert (windows.rows[0], rows["last value"][0]) == (7, 9)  # times 4 and 2
    assert (rows["last value"] - windows.rows == 2).all()


@pytest.mark.parametrize(("length", "known"), [(3, {"last value"}), (1, set())])
def test_a_window_that_ends_with_its_target_repeats_the_row_before_if_it_has_one(length, known):
    found, windows = series(12, sequence_length=length, horizon=0)
    rows = found.rows(windows, None)
    assert set(rows) == known
    assert all((source - windows.rows == 1).all() for source in rows.values())


@pytest.mark.parametrize(("horizon", "back"), [(1, 4), (4, 4), (5, 8), (9, 12)])
def test_a_season_back_is_a_value_that_is_known_at_the_end_of_the_window(horizon, back):
    found, windows = series(40, horizon=horizon)
    rows = found.rows(windows, 4)["seasonal naive"]
    times, sources = 39 - windows.rows, 39 - rows
    reachable = times >= back
    assert reachable.any()
    assert (times - sources)[reachable] == pytest.approx(back)
    assert (times - sources)[~reachable] == pytest.approx(horizon)


def test_no_forecast_comes_from_another_group():
    groups = np.arange(60) // 30
    found, windows = series(60, groups)
    for source in found.rows(windows, 7).values():
        assert (groups[source] == groups[windows.rows]).all()


@pytest.mark.parametrize("season", [7, 12, 24])
@pytest.mark.parametrize("kind", [np.float64, np.uint8])
def test_the_season_is_found_in_the_training_series(season, kind):
    found, windows = series(400)
    time = np.arange(400)[::-1]
    wave = np.sin(2 * np.pi * time / season) + 0.05 * np.random.default_rng(0).normal(size=400)
    targets = wave if kind is np.float64 else np.digitize(wave, [-0.5, 0.5]).astype(kind)
    assert found.season(windows, targets) == season


def test_a_short_series_has_no_season():
    found, windows = series(5, sequence_length=2, horizon=1)
    assert found.season(windows, np.arange(5.0)) is None


@pytest.mark.parametrize("horizon", [1, 5, [1, 2, 9]])
def test_with_a_frequency_a_season_is_so_many_steps_though_rows_are_missing(horizon):
    draw = np.random.default_rng(0)
    times = np.sort(draw.choice(120, 90, replace=False)).astype(float)
    groups = (np.arange(90) >= 45).astype(np.int64)
    order = np.arange(90)
    spec = specs.parse({"target_column": "y", "time_column": "t", "sequence_length": 3, "horizon": horizon})
    windows = sliding_windows.windows(spec, order, Splits.of(np.zeros(90, np.uint8)), groups)["train"]
    found = Series(spec, order, groups, step_keys(order, groups, times, spec.furthest)).rows(windows, 7)
    seasonal = found["seasonal naive"].reshape(len(windows.rows), -1)
    targets = sliding_windows.target_rows(spec, order, windows.first).reshape(seasonal.shape)
    repeated = 0
    for first, line, sources in zip(windows.first, targets, seasonal, strict=True):
        end = first + 2
        for target, source in zip(line, sources, strict=True):
            back = next(times[target] - 7 * k for k in range(1, 20) if times[target] - 7 * k <= times[end])
            known = [row for row in range(90) if times[row] == back and groups[row] == groups[target]]
            assert source == (known[0] if known else end)
            repeated += bool(known)
    assert repeated > len(windows.rows) / 2


def test_naive_forecasts_of_several_horizons_are_those_of_each():
    groups = np.arange(60) // 30
    several, windows = series(60, groups, horizon=[1, 3, 8])
    for place, horizon in enumerate([1, 3, 8]):
        one = Series(specs.parse(several.spec.model_dump() | {"horizon": horizon}), several.order, groups)
        for name, rows in one.rows(windows, 7).items():
            np.testing.assert_array_equal(several.rows(windows, 7)[name][:, place], rows)
