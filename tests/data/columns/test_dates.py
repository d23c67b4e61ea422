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
    form, written = shape.formats[order], pl.lit(pl.Series([text]))
    written = written if shape.is_plain else dates.plain(written)
    return pl.select(dates.expression(written, (form,), shape.dtype)).item()


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


DAY, MONTH = date(2020, 10, 2), date(2020, 10, 1)
EVENING = datetime(2020, 10, 2, 20, 43)
SECOND = EVENING.replace(second=26)
OTHER_NOTATIONS = {
    DAY: (
        *(
            "2. Oktober 2020",
            "02. Okt. 2020",
            "2 octobre 2020",
            "2 OCTOBRE 2020",
            "2 de octubre de 2020",
            "2 ottobre 2020",
        ),
        *(
            "2 de out. de 2020",
            "02/out/2020",
            "02-oct-2020",
            "2 oktober 2020",
            "02Oct2020",
            "02OCT20",
            "2October2020",
            "October 2nd, 2020",
        ),
        *("Friday, October 2, 2020", "Fri. 2 Oct 2020", "02.10.2020 (Fri)", "2020-10-02 Fri", "2020年10月2日 星期五"),
        *(
            "2020-10-02 周五",
            "星期五 2020-10-02",
            "2020/10/02(金)",
            "2020年10月2日 金曜日",
            "2020년 10월 2일",
            "2020. 10. 2.",
        ),
        *(
            "2020년 10월 2일 금요일",
            "2020年10月2号",
            "民國109年10月2日",
            "令和2年10月2日",
            "２０２０-１０-０２",
            "２０２０／１０／０２",
        ),
    ),
    MONTH: ("10/2020", "10-2020", "2020/10", "202010", "Okt-20", "octubre de 2020", "out. 2020", "2020년 10월"),
    EVENING: (
        *(
            "2020/10/2 下午 08:43",
            "2020/10/2 下午8:43",
            "2020年10月2日下午8:43",
            "2020. 10. 2. 오후 8:43",
            "2020年10月2日 下午8时43分",
        ),
        *("2020年10月2日 20时43分", "2020年10月2日20:43", "2020年10月2日（金）20:43", "2020年10月2日 周五 20:43"),
        *("02.10.2020, 20:43 Uhr", "20201002 20:43", "20201002T2043", "02/10/2020 à 20h43", "Oct 02, 2020 at 08:43 PM"),
        *("2. Oktober 2020 um 20:43", "２０２０-１０-０２ ２０：４３"),
    ),
    SECOND: (
        *(
            "20201002T204326",
            "20201002 20:43:26",
            "02OCT2020:20:43:26",
            "2020年10月2日 20时43分26秒",
            "Fri Oct 02 20:43:26 2020",
        ),
        "2020/10/2 下午 08:43:26",
    ),
    SECOND.replace(microsecond=123_000): ("2020-10-02 20:43:26,123", "2. Okt 2020 20:43:26,123"),
    SECOND.replace(tzinfo=UTC): (
        *(
            "Fri, 02 Oct 2020 20:43:26 GMT",
            "Fri, 2 Oct 2020 22:43:26 +0200",
            "20201002T204326Z",
            "02/Oct/2020:20:43:26 +0000",
        ),
        *("Fri Oct 02 20:43:26 +0000 2020", "20201002T224326+02:00"),
    ),
    datetime(2020, 10, 2, 0, 5): ("2020/10/2 上午 12:05", "2020-10-02 0时5分"),
    date(2019, 5, 1): ("令和元年5月1日", "平成31年5月1日", "１.５.２０１９"),
    time(20, 43): ("20:43 Uhr",),
    None: ("民國151年1月1日", "平成0年1月1日", "32 mars 2020", "13/2020", "2020年10月2日 24时43分"),
}


@pytest.mark.parametrize(("text", "value"), [(text, value) for value, some in OTHER_NOTATIONS.items() for text in some])
def test_a_date_as_others_write_it_is_read(text, value):
    assert read(text, "dmy" if "dmy" in DateShape.of(re.sub("[0-9]", "9", text)).formats else "") == value


@pytest.mark.parametrize("name", [name for names in dates.OTHER_NAMES.values() for name in names.split("|")])
def test_every_name_of_a_month_is_read_in_any_case(name):
    [month] = [number for number, names in enumerate(dates.OTHER_NAMES.values(), 1) if name in names.split("|")]
    for written in (name, name.upper(), name.capitalize()):
        assert read(f"1 {written} 2024") == read(f"1 {written}. 2024") == date(2024, month, 1)


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
    "text",
    [
        *("hello", "1.2.3", "2024", "12", "1/2", "2024-1-2-3", "5 Foo 2024", "99:99:99:99", "A-1-2024", "10.2020"),
        *("2020-10-02 20:43 EST", "maison 2020", "12ABC2020", "2 octobre", "Mon 5", "2 Sat 2020", "20h43", "2020-276"),
        *("10:43 de 2020", "周五"),
    ],
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


@pytest.mark.parametrize(
    "text", ["5 Jan 2024", "2024年1月5日", "2024-01-05", "Jan. 5, 2024", "2024-01-05 8:30 p.m.", "05.01.24"]
)
def test_what_is_plain_stays_as_it_is_beside_other_notations(text):
    assert pl.select(dates.plain(pl.lit(text))).item() == text


@pytest.mark.parametrize(
    ("last", "years"),
    [
        (None, [2027, 2028, 1999, 1970, 2000]),
        (2027, [2027, 1928, 1999, 1970, 2000]),
        (2075, [2027, 2028, 1999, 2070, 2000]),
    ],
)
def test_years_of_two_digits_are_in_the_hundred_years_up_to_the_last_one(last, years):
    text = pl.lit(pl.Series(["29.02.28", "29.02.00", "1.3.27", "1.3.28", "1.3.99", "1.3.70", "1.3.00"]))
    found = pl.select(dates.expression(text, ("%d.%m.%y",), pl.Date(), last=last)).to_series()
    assert found.dt.year().to_list() == [years[1], 2000, *years]
    assert found.dt.day().to_list() == [29, 29, 1, 1, 1, 1, 1]
    four = pl.select(dates.expression(pl.lit("1.3.1850"), ("%d.%m.%Y",), pl.Date(), last=last)).item()
    assert four == date(1850, 3, 1)


def test_a_dot_after_a_month_is_read_as_declared():
    text = pl.lit(pl.Series(["05.Jan.2024", "5.January.2024"]))
    assert pl.select(dates.expression(text, ("%d.%b.%Y",), pl.Date())).to_series().to_list() == [date(2024, 1, 5)] * 2
