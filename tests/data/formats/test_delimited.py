"""CSV and TSV: types, dates, headers."""

import gzip
from datetime import UTC, date, datetime, time

import polars as pl
import pytest

from epochd.data.sources import open_dataset


def read(folder, content, name="t.csv"):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return open_dataset(name, [folder]).read()


def test_missing_values_and_a_byte_order_mark_are_understood(tmp_path):
    frame = read(tmp_path, b"\xef\xbb\xbfa,b\n1,x\nNA,\nnull,NaN\n4.5,y\n")
    assert frame.columns == ["a", "b"]
    assert frame.rows() == [(1.0, "x"), (None, None), (None, None), (4.5, "y")]


def test_a_byte_order_mark_in_compressed_text_is_understood(tmp_path):
    assert read(tmp_path, gzip.compress(b'\xef\xbb\xbf"a",b\n1,x\n'), "t.csv.gz").columns == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2020-12-31", date(2020, 12, 31)),
        ("2020/12/31", date(2020, 12, 31)),
        ("2020-12-31 10:30:00", datetime(2020, 12, 31, 10, 30)),
        ("2020-12-31T10:30:00Z", datetime(2020, 12, 31, 10, 30, tzinfo=UTC)),
        ("2020-12-31T12:30:00+02:00", datetime(2020, 12, 31, 10, 30, tzinfo=UTC)),
        ("01/02/2020", "01/02/2020"),
        ("1.2.2020", "1.2.2020"),
        ("2020", 2020),
        ("10:30", time(10, 30)),
        ("2020-13-45", "2020-13-45"),
    ],
)
def test_dates_that_begin_with_the_year_are_dates_and_others_stay_as_they_are(tmp_path, text, value):
    assert read(tmp_path, f"n,d\n1,\n2,{text}\n3,{text}\n")["d"].to_list() == [None, value, value]


def test_a_column_of_dates_with_a_word_far_down_is_text(tmp_path):
    frame = read(tmp_path, "d\n" + "2020-01-01\n" * 12_000 + "unknown\n")
    assert frame["d"].dtype == pl.String
    assert frame["d"][-1] == "unknown"


def test_dates_stay_dates_when_another_column_has_a_word_far_down(tmp_path):
    frame = read(tmp_path, "d,t,n\n" + "2020-01-01,2020-01-01T10:00:00Z,1\n" * 12_000 + "2020-01-02,,word\n")
    assert frame.schema == {"d": pl.Date, "t": pl.Datetime("us", "UTC"), "n": pl.String}


def test_short_rows_and_blank_lines_at_the_top_are_filled_and_skipped(tmp_path):
    assert read(tmp_path, "\n\na,b\n1\n2,3\n").rows() == [(1, None), (2, 3)]


def test_a_header_may_have_quotes_with_commas_and_lines_in_them(tmp_path):
    assert read(tmp_path, '"a, or b","c\nd"\r\n1,2\r\n').columns == ["a, or b", "c\nd"]


def test_what_is_compressed_is_told_by_content(tmp_path):
    assert read(tmp_path, "a\n1\n", "plain.csv.gz").rows() == [(1,)]
    assert read(tmp_path, gzip.compress(b"a\n1\n"), "packed.csv").rows() == [(1,)]


def test_only_the_needed_columns_are_read(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n" + "1,2\n" * 20_000 + "1,word\n")
    plans = []
    frame = open_dataset("t.csv", [tmp_path]).apply(lambda t: plans.append(t.explain()) or t.select("a").collect())
    assert frame["a"].sum() == 20_001
    assert len(plans) == 1
