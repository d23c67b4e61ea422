"""Durations in the notations of people, spreadsheets and programs."""

import datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from epochd.data.columns import durations

READ = {
    "1:30:00": 5400,
    "00:05:12.5": 312.5,
    "00:05:12,5": 312.5,
    "100:00:00": 360_000,
    "26:15": 94_500,
    "4:16.120": 256.12,
    "-76:54,5": -4614.5,
    "-1:30:00": -5400,
    "+0:00:01": 1,
    "1h30": 5400,
    "1h30m": 5400,
    "1 h 30 m": 5400,
    "90 min": 5400,
    "90mins": 5400,
    "1.5 hours": 5400,
    "1,5 h": 5400,
    "1,500 min": 90_000,
    "1,234.5 s": 1234.5,
    "12,000,000 ms": 12_000,
    "00:00:12,500": 12.5,
    "1 hr, 20 mins": 4800,
    "1 hour and 30 minutes": 5400,
    "2 days 03:00:00": 183_600,
    "2 days, 3:00:00": 183_600,
    "1 day, 0:00:05": 86_405,
    "-1 days +23:59:59": -1,
    "-1 day, 23:59:59": -1,
    "0 days 00:05:12.500000": 312.5,
    "2 days": 172_800,
    "1 week": 604_800,
    "1d 2h 3m 4s": 93_784,
    "1d2h": 93_600,
    "250ms": 0.25,
    "10 µs": 1e-5,
    "30s": 30,
    "45 SEC": 45,
    "-5 min": -300,
    "\u22125 min": -300,
    "PT1H30M": 5400,
    "P1DT2H": 93_600,
    "P2W": 1_209_600,
    "PT0.5S": 0.5,
    "-PT5M": -300,
    "1小时30分": 5400,
    "1小时30分钟": 5400,
    "1个小时零5分": 3900,
    "2天3小时": 183_600,
    "90分钟": 5400,
    "30秒": 30,
    "1時間30分": 5400,
    "３０分": 1800,
    "  1:30:00 ": 5400,
}
NOT_READ = [
    "",
    "abc",
    "5",
    "-",
    "P",
    "PT",
    "1:60:00",
    "1:5",
    "1:30:00:00",
    "2024-01-05",
    "2024-01-05 08:30:00",
    "08:30 PM",
    "30m 1h",
    "1h 2h",
    "P1Y",
    "P1M",
    "3 months",
    "5 kg",
    "5 mm",
    "minutes",
    "12 monkeys",
    "1.2.3 h",
    "1h30.5",
    "1 day 4:16.5",
    "4:61.5",
]


def seconds_of(texts):
    return pl.DataFrame({"t": pl.Series(texts, dtype=pl.String)}).select(durations.seconds(pl.col("t"))).to_series()


@pytest.mark.parametrize(("text", "seconds"), READ.items())
def test_a_duration_is_read_in_seconds(text, seconds):
    assert seconds_of([text]).to_list() == [pytest.approx(seconds, rel=1e-12)]


@pytest.mark.parametrize("text", NOT_READ)
def test_anything_else_is_no_duration(text):
    assert seconds_of([text]).to_list() == [None]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("24:16", 1456), ("76:54", 4614), ("-4:16", -256), ("1:36:54", 5814), ("1h30", 5400), ("1 day 4:16", 101_760)],
)
def test_a_clock_of_two_parts_may_have_minutes_and_seconds(text, seconds):
    assert pl.select(durations.seconds(pl.lit(text), minutes_first=True)).item() == seconds


def test_a_column_is_read_at_once():
    table = pl.DataFrame({"t": [*READ, *NOT_READ, None]})
    found = table.lazy().select(m=durations.matches(pl.col("t")), s=durations.seconds(pl.col("t"))).collect()
    assert found.schema == {"m": pl.Boolean, "s": pl.Float64}
    assert found["m"].to_list() == [True] * len(READ) + [False] * (len(NOT_READ) + 1)
    assert found["s"].drop_nulls().to_list() == pytest.approx(list(READ.values()), rel=1e-12)


@pytest.mark.parametrize(
    ("text", "is_ambiguous"),
    [
        *((text, True) for text in ("08:30", "8:30:00", "23:59:59.5", "5 m", "3d")),
        *((text, False) for text in ("24:00", "100:00:00", "5 min", "1h30m", "PT5M", "-8:30", "2 days 03:00:00")),
    ],
)
def test_times_of_day_and_units_of_one_letter_may_be_something_else(text, is_ambiguous):
    assert pl.select(durations.ambiguous(pl.lit(text))).item() is is_ambiguous


MICROSECONDS = st.integers(-(10**15), 10**15)


@given(st.lists(MICROSECONDS, min_size=1))
def test_what_python_and_polars_write_is_read_back(found):
    written = [str(datetime.timedelta(microseconds=value)) for value in found]
    expected = [value / 1e6 for value in found]
    assert seconds_of(written).to_list() == pytest.approx(expected, rel=1e-12, abs=1e-6)
    column = pl.Series(found).cast(pl.Duration("us"))
    assert seconds_of(column.dt.to_string("iso")).to_list() == pytest.approx(expected, rel=1e-12, abs=1e-6)


@given(st.lists(MICROSECONDS, min_size=1))
def test_what_pandas_writes_is_read_back(found):
    pandas = pytest.importorskip("pandas")
    written = [str(pandas.Timedelta(value, "us")) for value in found]
    assert seconds_of(written).to_list() == pytest.approx([value / 1e6 for value in found], rel=1e-12, abs=1e-6)


@given(st.text(max_size=12))
def test_any_text_is_a_duration_or_null(text):
    seconds_of([text])


@given(st.text("0123456789:.,hmsdPTHMS+- 小时分", max_size=10))
def test_any_text_of_the_characters_of_durations_is_one_or_null(text):
    found = seconds_of([text])[0]
    assert found is None or any(sign.isdigit() for sign in text)


def test_a_column_without_rows_or_values_has_no_durations():
    assert seconds_of([]).to_list() == []
    missing = pl.DataFrame({"t": [None, None]}).select(durations.seconds(pl.col("t"))).to_series()
    assert (missing.dtype, missing.to_list()) == (pl.Float64, [None, None])


def test_a_table_that_is_read_in_parts_is_read_as_the_whole():
    table = pl.LazyFrame({"t": ["90 min", "x"] * 1000})
    found = table.select(durations.seconds(pl.col("t")).sum()).collect(engine="streaming")
    assert found.item() == 5400 * 1000
