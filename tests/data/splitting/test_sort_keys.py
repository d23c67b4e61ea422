"""Times of every type become numbers in their order; groups keep their numbers over batches."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from epochd.core.errors import DataError
from epochd.data.splitting.sort_keys import GroupNumbers, time_keys

RISING = {
    "dates": [date(1969, 12, 31), date(2020, 1, 1), date(2020, 1, 2)],
    "datetimes": [datetime(2020, 1, 1, 5), datetime(2020, 1, 1, 5, 0, 1), datetime(2021, 1, 1)],
    "aware": [
        datetime(2020, 1, 1, 5, tzinfo=UTC),
        datetime(2020, 1, 1, 6, tzinfo=UTC),
        datetime(2021, 1, 1, tzinfo=UTC),
    ],
    "times": [time(0), time(12), time(23, 59)],
    "durations": [timedelta(seconds=-1), timedelta(0), timedelta(days=1)],
    "whole numbers": [-3, 0, 2**62],
    "floats": [-0.5, 0.25, 1e30],
    "decimals": [Decimal("-1.5"), Decimal("0.1"), Decimal("2.0")],
    "ISO dates": ["1999-12-31", "2000-01-01", "2000-01-02"],
    "ISO times": ["2020-01-01T05:00:00", "2020-01-01 05:00:01.5", "2020-01-01T06:00"],
    "offsets": ["2020-01-01T05:00:00+02:00", "2020-01-01T04:00:00Z", "2020-01-01T03:30:00-01:00"],
}


@pytest.mark.parametrize("values", RISING.values(), ids=RISING)
def test_later_times_have_larger_keys(values):
    found = time_keys(pl.Series("t", values))
    assert found.dtype in (np.int64, np.float64)
    assert (np.diff(found) > 0).all()


def test_batches_of_text_have_one_type():
    pieces = [time_keys(pl.Series("t", [value])) for value in ("2020-01-01", "2020-01-01T05:00:00.25")]
    assert pieces[0].dtype == pieces[1].dtype
    assert pieces[0][0] < pieces[1][0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["2020-01-01", "soon"], "row 2 of column 't' is not a date: 'soon'"),
        ([1, None, 3], "row 2 has no value of 't'"),
        ([1.0, float("nan")], "row 2 has no value of 't'"),
        ([[1], [2]], "which cannot be read as times"),
        ([True, False], "which cannot be read as times"),
    ],
)
def test_an_invalid_time_is_reported_with_its_row(values, message):
    with pytest.raises(DataError) as caught:
        time_keys(pl.Series("t", values))
    problem = caught.value.problems[0]
    assert problem.field == "time_column"
    assert message in problem.message
    assert problem.hint


def test_groups_keep_their_numbers_over_batches():
    groups = GroupNumbers()
    assert groups(pl.Series(["b", "a", None, "b"])).tolist() == [0, 1, 2, 0]
    assert groups(pl.Series(["c", None, "a"])).tolist() == [3, 2, 1]


@pytest.mark.parametrize(
    "values", [[7, 5, 7], [0.5, -0.5, 0.5], [date(2020, 1, 1), date(1990, 1, 1), date(2020, 1, 1)], [True, False, True]]
)
def test_any_plain_value_can_name_a_group(values):
    assert GroupNumbers()(pl.Series(values)).tolist() == [0, 1, 0]


def test_categoricals_and_text_are_the_same_groups():
    groups = GroupNumbers()
    assert groups(pl.Series(["x", "y"], dtype=pl.Categorical)).tolist() == [0, 1]
    assert groups(pl.Series(["y", "x"])).tolist() == [1, 0]
