"""Numbers in CSV that may be something else: integers with leading zeros are text, and points that may separate
thousands are doubted as in any other format."""

import polars as pl
import pytest

from epochd.core.columns import ColumnOptions, ReadOptions
from epochd.data.formats import text
from epochd.data.tables.catalog import open_dataset


def read(folder, content, **columns):
    (folder / "t.csv").write_text(content)
    return open_dataset("t.csv", [folder]).reading(ReadOptions(columns=columns)).read()


@pytest.mark.parametrize("value", ["007", "-07", "+07", '"007"', " 007"])
def test_one_integer_with_a_leading_zero_makes_a_column_text(tmp_path, value):
    frame = read(tmp_path, "a,b\n" + "7,1\n" * 15_000 + f"{value},0\n" + "8,2\n" * 15_000)
    assert frame.schema == {"a": pl.String, "b": pl.Int64}
    assert frame["a"][15_000] == value.strip(' "')


@pytest.mark.parametrize("value", ["007", "-07", "+07", '"007"', " 007"])
def test_it_may_be_the_first_or_the_last_value_of_any_piece_of_the_file(tmp_path, value, monkeypatch):
    monkeypatch.setattr(text, "PIECE_BYTES", 8)
    for rows in [value, "1", "2"], ["1", value, "2"], ["1", "2", value]:
        assert read(tmp_path, "\n".join(["a", *rows])).schema == {"a": pl.String}


@pytest.mark.parametrize("value", ["0", "0.5", "-0.25", "10", "1e05", ""])
def test_zeros_in_other_places_change_nothing(tmp_path, value):
    assert read(tmp_path, "a,b\n" + "7,1\n" * 50 + f"{value},0\n8,2\n")["a"].dtype.is_numeric()


def doubts(folder, values):
    """The warnings for a column of these values in CSV, which are those in Parquet, and the values as read."""
    table = pl.DataFrame({"v": values, "y": ["x"] * len(values)})
    table.write_csv(folder / "t.csv", quote_style="never")
    table.write_parquet(folder / "t.parquet")
    found = [
        open_dataset(name, [folder]).apply_decided(
            lambda frame, decisions: (decisions["v"].warnings("v") if "v" in decisions else [], frame.collect()["v"])
        )
        for name in ("t.csv", "t.parquet")
    ]
    assert found[0][0] == found[1][0]
    assert found[0][1].to_list() == found[1][1].to_list()
    return found[0]


@pytest.mark.parametrize("values", [["12.345", "2.033", "1.500"], ["950", "1.234"], ["-1.234", "", "2.345"]])
def test_a_point_that_may_separate_thousands_is_doubted_as_in_parquet(tmp_path, values):
    [warning], found = doubts(tmp_path, values)
    assert "numbers such as 1.234 are read as 1.234, and may also mean 1234" in warning
    assert found.to_list() == [float(value) if value else None for value in values]
    settled = read(tmp_path, "v\n" + "\n".join(values), v=ColumnOptions(decimal=","))
    expected = [int(value.replace(".", "")) for value in values if value]
    assert settled["v"].drop_nulls().to_list() == expected


@pytest.mark.parametrize("values", [["12.345", "2.03"], ["0.123", "2.033"], ["1234.567", "2.033"], ["1.5", "2.5"]])
def test_other_points_are_decimal_points(tmp_path, values):
    assert doubts(tmp_path, values)[0] == []


@pytest.mark.parametrize("late", ["2.5", "0.125"])
def test_a_late_row_settles_what_a_point_is(tmp_path, late):
    values = ["12.345"] * 12_000
    assert doubts(tmp_path, values)[0] != []
    assert doubts(tmp_path, [*values, late])[0] == []


def test_the_column_may_be_the_last_or_the_only_one(tmp_path):
    assert read(tmp_path, "b,a\n1,7\n2,007\n3,8\n4,9\n5,6\n")["a"].to_list() == ["7", "007", "8", "9", "6"]
    assert read(tmp_path, "a\n7\n007\n8\n1\n2\n3\n")["a"].to_list()[:2] == ["7", "007"]


def test_options_of_another_column_do_not_hide_them_and_those_of_the_column_settle_it(tmp_path):
    content = "a,b\n7,1\n007,2\n8,3\n"
    assert read(tmp_path, content, b=ColumnOptions(type="category"))["a"].to_list() == ["7", "007", "8"]
    assert read(tmp_path, content, a=ColumnOptions(type="number"))["a"].to_list() == [7, 7, 8]


def test_missing_words_beside_numbers_need_no_second_reading(tmp_path):
    frame = read(tmp_path, "a,b\n1,x\nNA,NA\nnone,y\n2.5,z\n")
    assert frame["a"].to_list() == [1.0, None, None, 2.5]
    assert frame["b"].to_list() == ["x", None, "y", "z"]
    kept = read(tmp_path, "a,b\n1,x\n2,NA\n", b=ColumnOptions(missing=[]))
    assert kept["b"].to_list() == ["x", "NA"]
