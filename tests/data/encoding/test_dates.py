"""Calendar parts of dates, times, and both."""

import datetime as dt
import json
import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from epochd.core.errors import DataError
from epochd.data.encoding.dates import Date, DateFit

DAYS = pl.Series("d", [dt.date(2023, 1, 1), dt.date(2023, 7, 2), dt.date(2024, 1, 1), None])
MOMENTS = pl.Series("d", [dt.datetime(2024, 3, 31, h, 30) for h in (0, 5, 18)])
CLOCKS = pl.Series("d", [dt.time(6), dt.time(18), dt.time(12), dt.time(0)])


def fitted(series):
    fit = DateFit(series.name, series.dtype)
    fit.partial_fit(series)
    return fit.finalize()


def written(column, series):
    out = np.zeros((len(series), column.width), np.float32)
    column.transform(series, out)
    return out


def test_a_date_is_days_passed_and_its_place_in_year_and_week():
    x = written(fitted(DAYS), DAYS)
    assert fitted(DAYS).cycles == ("year", "week")
    days = np.array([0, 182, 365]) + 19_358
    assert x[:3, 0] == pytest.approx((days - days.mean()) / (days.std() * (3 / 4) ** 0.5), rel=1e-4)
    assert x[:3, 1] == pytest.approx([math.sin(2 * math.pi * day / 365.25) for day in (0, 182, 0)], abs=1e-6)
    assert x[:3, 4] == pytest.approx([math.cos(2 * math.pi * day / 7) for day in (6, 6, 0)])


def test_a_missing_date_is_zeros_and_a_flag():
    assert written(fitted(DAYS), DAYS)[3].tolist() == [0, 0, 0, 0, 0, 1]
    assert fitted(DAYS.head(3)).width == 5
    assert written(fitted(DAYS.head(3)), DAYS)[3].tolist() == [0, 0, 0, 0, 0]


def test_constant_parts_are_left_out():
    weekly = pl.Series("d", [dt.datetime(2024, 1, 1, 13, 45, 7) + dt.timedelta(weeks=w) for w in range(60)])
    assert fitted(weekly).cycles == ("year",)
    assert fitted(weekly.head(1)).width == 1
    assert written(fitted(weekly.head(1)), weekly.head(1)).tolist() == [[0]]


def test_times_of_day_are_cyclic():
    column = fitted(CLOCKS)
    assert (column.clock, column.cycles) == (True, ("day",))
    assert written(column, CLOCKS)[:, 1] == pytest.approx([1, -1, 0, 0], abs=1e-6)
    assert written(column, CLOCKS)[:, 2] == pytest.approx([0, 0, -1, 1], abs=1e-6)


def test_times_with_a_zone_are_encoded_in_its_local_time():
    zoned = MOMENTS.dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Tokyo")
    wall = zoned.dt.replace_time_zone(None)
    assert np.array_equal(written(fitted(zoned), zoned), written(fitted(wall), wall))
    in_utc = zoned.dt.convert_time_zone("UTC")
    assert np.array_equal(written(fitted(zoned), in_utc), written(fitted(zoned), zoned))


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_units_of_time_make_no_difference(unit):
    series = MOMENTS.cast(pl.Datetime(unit))
    assert fitted(series) == fitted(MOMENTS)
    assert np.array_equal(written(fitted(MOMENTS), series), written(fitted(MOMENTS), MOMENTS))


@given(st.lists(st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2250, 1, 1)), min_size=1, max_size=5))
def test_iso_text_is_parsed_as_the_type_it_was_written_from(moments):
    series = pl.Series("d", moments, dtype=pl.Datetime("us"))
    texts = pl.Series("d", [moment.isoformat() for moment in moments])
    assert np.array_equal(written(fitted(series), texts), written(fitted(series), series))


def test_dates_and_times_of_day_are_read_from_text():
    assert np.array_equal(written(fitted(DAYS), DAYS.cast(pl.String)), written(fitted(DAYS), DAYS))
    texts = pl.Series("d", ["06:00", "18:00:00", " 12:00:00.000 ", "00:00"])
    assert np.array_equal(written(fitted(CLOCKS), texts), written(fitted(CLOCKS), CLOCKS))


def test_offsets_in_text_are_converted_to_local_time_of_the_zone():
    zoned = MOMENTS.dt.replace_time_zone("UTC")
    texts = pl.Series("d", ["2024-03-31T02:30:00+02:00", "2024-03-31 05:30:00Z", "2024-03-31 18:30Z"])
    assert np.array_equal(written(fitted(zoned), texts), written(fitted(zoned), zoned))
    wall = pl.Series("d", ["2024-03-31T00:30:00+02:00", "2024-03-31 05:30:00Z", "2024-03-31 18:30"])
    assert np.array_equal(written(fitted(MOMENTS), wall), written(fitted(MOMENTS), MOMENTS))


@pytest.mark.parametrize(
    ("series", "what"),
    [
        (pl.Series("d", ["2024-01-01", "soon"]), "row 2 of column 'd' is not a date: 'soon'"),
        (pl.Series("d", ["31.12.2024"]), "row 1 of column 'd' is not a date"),
        (pl.Series("d", [1]), "cannot be read as dates"),
        (CLOCKS, "cannot be read as dates"),
    ],
)
def test_what_is_no_date_is_named(series, what):
    with pytest.raises(DataError, match=what):
        written(fitted(DAYS), series)


def test_what_is_no_time_of_day_is_named():
    with pytest.raises(DataError, match="row 1 of column 'd' is not a time: '25:00'"):
        written(fitted(CLOCKS), pl.Series("d", ["25:00"]))
    with pytest.raises(DataError, match="cannot be read as times of day"):
        written(fitted(CLOCKS), DAYS)
    assert np.array_equal(
        written(fitted(MOMENTS.dt.time()), MOMENTS), written(fitted(MOMENTS.dt.time()), MOMENTS.dt.time())
    )


def test_a_column_without_any_date_can_be_encoded():
    column = fitted(pl.Series("d", [None, None], dtype=pl.Date))
    assert written(column, pl.Series("d", [None])).tolist() == [[0, 1]]
    assert np.isfinite(written(column, DAYS)).all()


def test_a_time_column_omits_the_parts_that_later_rows_would_extrapolate():
    series = pl.Series("t", pl.datetime_range(dt.datetime(2013, 1, 1), dt.datetime(2013, 6, 1), "1h", eager=True))
    fit = DateFit("t", series.dtype, extrapolates=True)
    fit.partial_fit(series)
    column = fit.finalize()
    assert (column.elapsed, column.cycles, column.width) == (None, ("week", "day"), 4)
    assert Date.from_json(json.loads(json.dumps(column.as_json()))) == column


def test_a_model_of_times_that_a_workbook_gave_a_day_reads_times_without_one():
    of_sheets = pl.Series("d", [dt.datetime(1899, 12, 31, h, 30) for h in (0, 5, 18)])
    column = fitted(of_sheets)
    assert not column.clock
    assert (written(column, of_sheets.dt.time()) == written(column, of_sheets)).all()
    for other in (MOMENTS, DAYS):
        with pytest.raises(DataError, match="has the type Time, which cannot be read as dates"):
            written(fitted(other), of_sheets.dt.time())
