"""Dates and times in notations: the formats of a shape, and what they read."""

import re
from datetime import UTC, date, datetime, time

import polars as pl
import pytest

from epochd.data.columns import dates
from epochd.data.columns.dates import DateShape


def read(text, order=""):
    shape = DateShape.of(re.sub("[0-9]", "9", text))
    if shape is None:
        return None
    form = shape.formats[order]
    return pl.select(dates.expression(pl.lit(pl.Series([text])), (form,), shape.dtype)).item()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[(text, date(2024, 1, 5)) for text in ("2024-01-05", "2024/1/5", "2024.01.05", "2024 01 05", "20240105")],
        *[(text, date(2024, 1, 5)) for text in ("2024年1月5日", "2024年01月05日", "5 Jan 2024", "05-JAN-24")],
        *[(text, date(2024, 1, 5)) for text in ("January 5, 2024", "Jan. 5, 2024", "Jan 5 2024", "5-January-2024")],
        *[
            (text, date(2024, 9, 1))
            for text in ("2024-09", "2024/9", "2024年9月", "Sep-24", "September 2024", "Sept 2024")
        ],
        *[(text, datetime(2024, 1, 5, 8, 30)) for text in ("2024-01-05 08:30", "2024/1/5 8:30", "2024年1月5日 8:30")],
        *[
            (text, datetime(2024, 1, 5, 20, 30))
            for text in ("2024-01-05 8:30 PM", "2024/1/5 8:30pm", "Jan 5, 2024 8:30 p.m.")
        ],
        ("20240105083000", datetime(2024, 1, 5, 8, 30)),
        ("2024-01-05T08:30:00.25", datetime(2024, 1, 5, 8, 30, 0, 250_000)),
        ("2024-01-05T08:30:00Z", datetime(2024, 1, 5, 8, 30, tzinfo=UTC)),
        ("2024-01-05 16:30:00+08:00", datetime(2024, 1, 5, 8, 30, tzinfo=UTC)),
        ("2024-01-05T16:30:00+0800", datetime(2024, 1, 5, 8, 30, tzinfo=UTC)),
        ("2024-01-05 16:30+08", datetime(2024, 1, 5, 8, 30, tzinfo=UTC)),
        ("2024-01-05 08:30:00 UTC", datetime(2024, 1, 5, 8, 30, tzinfo=UTC)),
        ("08:30", time(8, 30)),
        ("8:30:15.5", time(8, 30, 15, 500_000)),
        ("8:30 PM", time(20, 30)),
        ("2024-02-30", None),
        ("2024年2月30日", None),
    ],
)
def test_a_date_in_a_clear_notation_is_read(text, value):
    assert read(text) == value


@pytest.mark.parametrize(
    ("text", "order", "value"),
    [
        ("5/1/2024", "dmy", date(2024, 1, 5)),
        ("5/1/2024", "mdy", date(2024, 5, 1)),
        ("05.01.24", "dmy", date(2024, 1, 5)),
        ("99/12/31", "ymd", date(1999, 12, 31)),
        ("31/12/2024", "mdy", None),
        ("1/5/2024 13:45", "mdy", datetime(2024, 1, 5, 13, 45)),
    ],
)
def test_the_order_of_day_and_month_decides(text, order, value):
    assert read(text, order) == value


@pytest.mark.parametrize(
    "text", ["hello", "1.2.3", "2024", "12", "1/2", "2024-1-2-3", "5 Foo 2024", "99:99:99:99", "A-1-2024"]
)
def test_other_text_is_no_date(text):
    assert DateShape.of(re.sub("[0-9]", "9", text)) is None


def test_several_formats_are_tried_in_turn():
    text = pl.Series(["2024/1/5", "2024/1/6 13:00", "never"])
    formats = ("%Y/%m/%d", "%Y/%m/%d %H:%M")
    found = pl.select(dates.expression(pl.lit(text), formats, pl.Datetime("us"))).to_series().to_list()
    assert found == [datetime(2024, 1, 5), datetime(2024, 1, 6, 13), None]


def test_times_without_an_offset_are_in_the_declared_zone():
    text = pl.Series(["2024-01-05 08:30", "2024-07-05 08:30"])
    expression = dates.expression(pl.lit(text), ("%Y-%m-%d %H:%M",), pl.Datetime("us", "UTC"), "Europe/Berlin")
    assert [value.hour for value in pl.select(expression).to_series()] == [7, 6]
