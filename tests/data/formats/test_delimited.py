"""CSV and TSV: types, dates, headers."""

import gzip
from datetime import UTC, date, datetime, time

import polars as pl
import pytest

from epochd.data.tables.catalog import open_dataset


def read(folder, content, name="t.csv"):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return open_dataset(name, [folder]).read()


def test_missing_values_and_a_byte_order_mark_are_read(tmp_path):
    frame = read(tmp_path, b"\xef\xbb\xbfa,b\n1,x\nNA,\nnull,NaN\n4.5,y\n")
    assert frame.columns == ["a", "b"]
    assert frame.rows() == [(1.0, "x"), (None, None), (None, None), (4.5, "y")]


def test_a_byte_order_mark_in_compressed_text_is_skipped(tmp_path):
    assert read(tmp_path, gzip.compress(b'\xef\xbb\xbf"a",b\n1,x\n'), "t.csv.gz").columns == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2020-12-31", date(2020, 12, 31)),
        ("2020/12/31", date(2020, 12, 31)),
        ("2020-12-31 10:30:00", datetime(2020, 12, 31, 10, 30)),
        ("2020-12-31T10:30:00Z", datetime(2020, 12, 31, 10, 30, tzinfo=UTC)),
        ("2020-12-31T12:30:00+02:00", datetime(2020, 12, 31, 10, 30, tzinfo=UTC)),
        ("31/02/2020", "31/02/2020"),
        ("1.2.2020", date(2020, 2, 1)),
        ("2020", 2020),
        ("10:30", time(10, 30)),
        ("2020-13-45", "2020-13-45"),
    ],
)
def test_text_that_is_a_date_is_read_as_one_and_other_text_stays_as_it_is(tmp_path, text, value):
    assert read(tmp_path, f"n,d\n1,\n2,{text}\n3,{text}\n")["d"].to_list() == [None, value, value]


@pytest.mark.parametrize("text", ["2020-01-01", "2020-01-01T10:30:00", "10:30"])
def test_a_word_far_down_among_dates_or_times_is_missing_and_many_words_make_text(tmp_path, text):
    frame = read(tmp_path, "d\n" + f"{text}\n" * 12_000 + "never\n")
    assert frame["d"].dtype.is_temporal()
    assert frame["d"].null_count() == 1
    frame = read(tmp_path, "d\n" + f"{text}\n" * 12_000 + "never\n" * 1_000)
    assert frame["d"].dtype == pl.String
    assert frame["d"][-1] == "never"


def test_dates_stay_dates_when_another_column_has_a_word_far_down(tmp_path):
    frame = read(tmp_path, "d,t,n\n" + "2020-01-01,2020-01-01T10:00:00Z,1\n" * 12_000 + "2020-01-02,,word\n" * 1_000)
    assert frame.schema == {"d": pl.Date, "t": pl.Datetime("us", "UTC"), "n": pl.String}


@pytest.mark.parametrize("word", ["NA", '"NA"', "n/a", "None", '""', ""])
@pytest.mark.parametrize("above", [0, 5, 3_000, 12_000])
def test_a_null_value_means_the_same_in_every_row(tmp_path, word, above):
    row = "1,2.5,true,2020-01-01,10:30,x\n"
    frame = read(tmp_path, "n,f,b,d,t,s\n" + row * above + ",".join([word] * 6) + "\n" + row * 2)
    assert frame.dtypes == [pl.Int64, pl.Float64, pl.Boolean, pl.Date, pl.Time, pl.String]
    assert frame.null_count().row(0) == (1,) * 6
    assert frame.row(above) == (None,) * 6


def test_a_file_is_read_again_only_where_the_first_rows_have_shown_too_little(tmp_path):
    (tmp_path / "empty.csv").write_text("a,b\n" + ",x\n1,NA\n" * 5_000)
    (tmp_path / "words.csv").write_text("a,b\n" + "1,x\nNA,NA\n" * 5_000)
    (tmp_path / "late.csv").write_text("a,b\n" + "1,x\n" * 12_000 + "NA,NA\n" * 5_000)
    assert [tries(tmp_path, name) for name in ("empty.csv", "words.csv", "late.csv")] == [1, 1, 2]


def tries(folder, name):
    """How often a file is read until that succeeds."""
    tables = []
    source = open_dataset(name, [folder]).following({})
    nulls = source.apply(lambda t: tables.append(t) or t.collect().null_count().row(0))
    assert nulls == (5_000, 5_000)
    return len(tables)


def test_blank_lines_anywhere_are_no_rows(tmp_path):
    assert read(tmp_path, "\n\na,b\n1,\n\n  \n2,3\n\n").rows() == [(1, None), (2, 3)]


def test_a_header_may_have_quotes_with_commas_and_lines_in_them(tmp_path):
    assert read(tmp_path, '"a, or b","c\nd"\r\n1,2\r\n').columns == ["a, or b", "c\nd"]


def test_compression_is_detected_by_content(tmp_path):
    assert read(tmp_path, "a\n1\n", "plain.csv.gz").rows() == [(1,)]
    assert read(tmp_path, gzip.compress(b"a\n1\n"), "packed.csv").rows() == [(1,)]


def test_only_the_needed_columns_are_read(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n" + "1,2\n" * 20_000 + "1,word\n")
    plans = []
    frame = open_dataset("t.csv", [tmp_path]).apply(lambda t: plans.append(t.explain()) or t.select("a").collect())
    assert frame["a"].sum() == 20_001
    assert len(plans) == 1


@pytest.mark.parametrize("above", [0, 5, 12_000])
@pytest.mark.parametrize("word", ["", "NA"])
def test_full_width_digits_anywhere_are_numbers(tmp_path, above, word):
    frame = read(tmp_path, "v,n,y\n" + "7,1,1.5\n" * above + f"１５,3,4.5\n{word},4,2.5\n" + "８,2,3.5\n")
    assert frame.dtypes == [pl.Int64, pl.Int64, pl.Float64]
    assert frame["v"].to_list() == [7] * above + [15, None, 8]


@pytest.mark.parametrize(
    ("values", "read_as"),
    [(["１３８", "２７"], [138, 27]), (["１３.３０", "５.５"], [13.3, 5.5]), (["7", "２７"], [7, 27]),
     (["００１３８", "２７"], ["００１３８", "２７"]), (["٢٣٧", "٥"], [237, 5]), (["२३७", "५"], [237, 5])],
)  # fmt: skip
def test_digits_of_any_script_are_read(tmp_path, values, read_as):
    content = "v,n\n" + "".join(f"{value},{i}\n" for i, value in enumerate(values * 20))
    frame = read(tmp_path, content)
    assert (frame["v"].to_list(), frame["n"].dtype) == (read_as * 20, pl.Int64)
