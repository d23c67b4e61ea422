"""No window crosses a hole in time: in training, on each side, in naive forecasts, and when a saved model predicts."""

from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from epochd.core.durations import Duration
from epochd.core.errors import InvalidSpec
from epochd.core.specs import parse
from epochd.data.prepare import prepare
from epochd.data.splitting.gaps import Holes
from epochd.data.splitting.sliding_windows import order, windows
from epochd.data.splitting.split import Splits
from epochd.data.tables.catalog import Catalog


def spec(**options):
    base = {"dataset": "t.parquet", "target_column": "y", "time_column": "t", "sequence_length": 3}
    return parse(base | options)


@pytest.mark.parametrize(
    ("written", "amount", "unit"),
    [
        ("1h", 3600, "seconds"),
        ("h", 3600, "seconds"),
        ("15min", 900, "seconds"),
        ("1D", 86400, "seconds"),
        ("0.5 d", 43200, "seconds"),
        ("2w", 1209600, "seconds"),
        ("1mo", 1, "months"),
        ("1q", 3, "months"),
        ("1y", 12, "months"),
        (2.5, 2.5, "numbers"),
    ],
)
def test_durations_are_written_as_a_number_and_a_unit(written, amount, unit):
    assert Duration.parse(written) == Duration(amount, unit)


@pytest.mark.parametrize("written", ["1m", "hour", "-1h", "0h", "1h30", "h1", "1e3s"])
@pytest.mark.parametrize("field", ["frequency", "max_gap"])
def test_other_texts_are_no_durations(field, written):
    with pytest.raises(InvalidSpec) as caught:
        spec(**{field: written})
    assert [problem.field for problem in caught.value.problems] == [field]
    assert "min" in caught.value.problems[0].hint


@pytest.mark.parametrize("seconds", [0.25, 1, 60, 900, 3600, 90_000, 86_400 * 400])
def test_a_duration_is_shown_in_the_largest_unit(seconds):
    shown = Duration(seconds, "seconds").shown()
    assert shown != "90000s"
    assert Duration.parse(shown).amount == pytest.approx(seconds, rel=1e-3)


def test_a_number_of_steps_needs_a_frequency():
    with pytest.raises(InvalidSpec, match="number of steps of frequency, which is not set"):
        spec(max_gap=2)
    with pytest.raises(InvalidSpec, match="is a duration, but frequency is a number"):
        spec(frequency=1, max_gap="2h")
    with pytest.raises(InvalidSpec, match="option of sequence_length"):
        parse({"target_column": "y", "frequency": "1h"})


def segments(times, groups=None, **rule):
    frame = pl.Series("t", times)
    keys = frame.to_physical().to_numpy()
    holes = Holes.of(spec(**rule))
    found = order(keys, groups)
    return holes.segments(found, holes.positions(frame), groups).tolist()


START = datetime(2024, 1, 31, 12)


@pytest.mark.parametrize(
    ("minutes", "rule", "expected"),
    [
        ([0, 60, 120, 240, 300], {"frequency": "1h"}, [0, 0, 0, 1, 1]),
        ([0, 60, 120, 240, 300], {"frequency": "1h", "max_gap": 2}, [0, 0, 0, 0, 0]),
        ([0, 60, 120, 240, 300], {"frequency": "1h", "max_gap": "90min"}, [0, 0, 0, 1, 1]),
        ([0, 60, 120, 240, 300], {"max_gap": "2h"}, [0, 0, 0, 0, 0]),
        ([0, 60, 120, 240, 300], {"max_gap": "1.9h"}, [0, 0, 0, 1, 1]),
        ([0, 61, 119, 180, 270], {"frequency": "1h"}, [0, 0, 0, 0, 0]),  # delays, the last of half a step
        ([0, 60, 60, 151], {"frequency": "1h"}, [0, 0, 0, 1]),
        ([240, 0, 60, 120, 300], {"frequency": "1h"}, [1, 0, 0, 0, 1]),
    ],
)
def test_a_step_longer_than_the_limit_begins_a_segment(minutes, rule, expected):
    assert segments([START + timedelta(minutes=found) for found in minutes], **rule) == expected


def test_months_and_quarters_are_counted_by_the_calendar():
    ends = [date(2024, 1, 31), date(2024, 2, 29), date(2024, 3, 31), date(2024, 5, 31), date(2024, 6, 30)]
    assert segments(ends, frequency="1mo") == [0, 0, 0, 1, 1]
    assert segments(ends, frequency="1mo", max_gap=2) == [0, 0, 0, 0, 0]
    quarters = [date(2023, 7, 1), date(2023, 10, 1), date(2024, 1, 1), date(2024, 7, 1)]
    assert segments(quarters, frequency="1q") == [0, 0, 0, 1]


def test_a_group_ends_a_segment_and_has_its_own_holes():
    assert segments([0, 1, 2, 0, 1, 5], np.array([0, 0, 0, 1, 1, 1]), frequency=1) == [0, 0, 0, 1, 1, 2]


@given(st.lists(st.integers(1, 4), min_size=8, max_size=40), st.integers(1, 3), st.integers(0, 3), st.integers(1, 3))
def test_the_windows_left_are_exactly_those_without_a_long_step(steps, length, horizon, gap):
    times = np.cumsum(steps)
    asked = spec(sequence_length=length, horizon=horizon, frequency=1, max_gap=gap)
    holes, splits = Holes.of(asked), Splits.of(np.zeros(len(times), np.uint8))
    parts = holes.segments(np.arange(len(times)), times.astype(float), None)
    ahead = length - 1 + horizon
    expected = [at for at in range(len(times) - ahead) if (np.diff(times[at : at + ahead + 1]) <= gap).all()]
    if expected:
        assert windows(asked, np.arange(len(times)), splits, parts)["train"].first.tolist() == expected


def test_prepared_windows_and_their_naive_forecasts_stay_between_holes(tmp_path):
    days = np.delete(np.arange(120), [30, 31, 75])
    frame = pl.DataFrame({"t": days, "x": days * 1.0, "y": days * 10.0})
    frame.write_parquet(tmp_path / "t.parquet")
    found = prepare(spec(frequency=1, test_split=0.1, feature_columns=["x"]), Catalog([tmp_path]))
    scale = found.encoder.columns[0].scale
    for name in ("train", "validation", "test"):
        part, rows = getattr(found, name), found.rows[name]
        raw = part.x[:, :, 0] * scale.scale + scale.centre
        targets = days[rows]
        np.testing.assert_allclose(raw, targets[:, None] + np.array([-3, -2, -1]), atol=1e-3)
        back = part.y - found.naive[name]["last value"]
        np.testing.assert_allclose(back * found.encoder.target_scale, 10, atol=1e-2)
    assert len(found.train) < len(prepare(spec(test_split=0.1, feature_columns=["x"]), Catalog([tmp_path])).train)
