"""Spreadsheets read as the same table saved as CSV would."""

from datetime import date, datetime

import polars as pl
import pytest
import xlsxwriter

from epochd.core.columns import ReadOptions
from epochd.core.errors import DataError
from epochd.data.tables.catalog import open_dataset


def read(folder, *rows):
    with xlsxwriter.Workbook(folder / "t.xlsx", {"default_date_format": "yyyy-mm-dd"}) as book:
        sheet = book.add_worksheet()
        for number, row in enumerate(rows):
            sheet.write_row(number, 0, row)
        book.add_worksheet().write(0, 0, "other")
    return open_dataset("t.xlsx", [folder]).read()


def test_numbers_text_and_dates_of_the_first_sheet_are_read(tmp_path):
    frame = read(tmp_path, ["n", "x", "t", "d"], [1, 0.5, "a", datetime(2020, 2, 29)], [2, 1.5, "b", None])
    assert frame.rows() == [(1, 0.5, "a", date(2020, 2, 29)), (2, 1.5, "b", None)]


def test_null_values_do_not_make_a_column_text(tmp_path):
    frame = read(tmp_path, ["n", "x", "t"], [1, 0.5, "NA"], ["NA", "n/a", "b"], [3, "1.5", None])
    assert frame.rows() == [(1, 0.5, None), (None, None, "b"), (3, 1.5, None)]


def test_words_after_thousands_of_numbers_make_a_text_column(tmp_path):
    frame = read(tmp_path, ["a"], *([i] for i in range(2000)), *[["word"]] * 200)
    assert frame["a"].dtype == pl.String
    assert frame["a"][-1] == "word"
    assert read(tmp_path, ["a"], *([i] for i in range(2000)), ["word"])["a"].to_list()[-2:] == [1999, None]


def workbook(folder, build):
    """The dataset in a workbook that ``build`` writes."""
    with xlsxwriter.Workbook(folder / "t.xlsx", {"default_date_format": "yyyy-mm-dd"}) as book:
        build(book)
    return open_dataset("t.xlsx", [folder])


def write(sheet, *rows, at=(0, 0)):
    for number, row in enumerate(rows):
        sheet.write_row(at[0] + number, at[1], row)
    return sheet


def test_merged_cells_have_their_value_each_and_are_told(tmp_path):
    def build(book):
        sheet = write(book.add_worksheet(), ["地区", "金额", "达标"], *([None, i, i % 2] for i in range(10)))
        sheet.merge_range("A2:A6", "东")
        sheet.merge_range("A7:A11", "西")

    found = workbook(tmp_path, build)
    assert found.read()["地区"].to_list() == ["东"] * 5 + ["西"] * 5
    assert found.notes() == ["each of the merged cells of 't.xlsx' is read with their value: A2:A6, A7:A11"]


def test_merged_numbers_dates_and_areas_of_several_columns_are_filled(tmp_path):
    def build(book):
        sheet = write(book.add_worksheet(), ["n", "a", "b"], *([i, i * 10, i * 10] for i in range(1, 5)), at=(3, 2))
        sheet.merge_range("D5:E6", 7)

    assert workbook(tmp_path, build).read().rows() == [(1, 7, 7), (2, 7, 7), (3, 30, 30), (4, 40, 40)]


def test_the_first_visible_sheet_is_read_and_told(tmp_path):
    def build(book):
        write(book.add_worksheet("old"), ["old"], [1]).hide()
        write(book.add_worksheet("数据"), ["a", "y"], [1, 0]).activate()
        write(book.add_worksheet("more"), ["b"], [2])
        book.worksheets_objs[1].set_first_sheet()

    found = workbook(tmp_path, build)
    assert found.read().columns == ["a", "y"]
    assert found.notes() == [
        "the sheet '数据' of 't.xlsx' is read, the first visible one of 3; set sheet to read another"
    ]
    for sheet in ("more", 3):
        chosen = found.reading(ReadOptions(sheet=sheet))
        assert (chosen.read().columns, chosen.notes()) == (["b"], [])
    for sheet in ("none", 4, 0):
        with pytest.raises(DataError, match="it has no sheet") as error:
            found.reading(ReadOptions(sheet=sheet)).read()
        assert error.value.problems[0].hint == "its sheets are 1 'old', 2 '数据', 3 'more'; set sheet to one"


def test_titles_above_the_header_are_skipped_and_told(tmp_path):
    def build(book):
        sheet = book.add_worksheet()
        sheet.merge_range("B2:E2", "销售报表 2024")
        write(sheet, ["日期", "2024-01-31"], at=(2, 1))
        write(sheet, ["客户", "金额", "城市", "达标"], *([f"c{i}", i + 0.5, "北京", "是"] for i in range(5)), at=(4, 1))

    found = workbook(tmp_path, build)
    frame = found.read()
    assert (frame.columns, frame.height, frame["金额"].dtype) == (["客户", "金额", "城市", "达标"], 5, pl.Float64)
    assert found.notes() == [
        "row 2 of 't.xlsx' is skipped, because it is above the header: '销售报表 2024'",
        "row 3 of 't.xlsx' is skipped, because it is above the header: '日期 2024-01-31'",
    ]


def test_errors_in_cells_are_missing_and_text_that_looks_like_a_number_is_text_among_text(tmp_path):
    def build(book):
        sheet = write(book.add_worksheet(), ["n", "p", "zip"], [1, 0.12, "007"], [2, 0.5, "abc"], [3, 1, "7"])
        sheet.write_formula("A3", "=NA()", None, "#N/A")
        sheet.write_formula("B3", "=1/0", None, "#DIV/0!")

    frame = workbook(tmp_path, build).read()
    assert frame.rows() == [(1, 0.12, "007"), (None, None, "abc"), (3, 1.0, "7")]


def test_mixed_text_and_numbers_are_text_as_written(tmp_path):
    frame = workbook(tmp_path, lambda book: write(book.add_worksheet(), ["a"], ["x"], [5], [1.5], [True])).read()
    assert frame["a"].to_list() == ["x", "5", "1.5", "true"]


def test_the_index_of_pandas_gets_its_name(tmp_path):
    frame = workbook(tmp_path, lambda book: write(book.add_worksheet(), [None, "a"], [0, 5], [1, 6])).read()
    assert frame.columns == ["Unnamed: 0", "a"]


def test_times_of_day_stay_and_midnights_are_dates(tmp_path):
    def build(book):
        rows = [[datetime(2024, 1, day), datetime(2024, 1, day, 6)] for day in (1, 2)]
        write(book.add_worksheet(), ["d", "t"], *rows)

    frame = workbook(tmp_path, build).read()
    assert frame.dtypes == [pl.Date, pl.Datetime("us")]
    assert frame["t"][1] == datetime(2024, 1, 2, 6)


def test_rows_and_columns_without_content_are_left_out(tmp_path):
    frame = read(tmp_path, [], [None, "a", "b", ""], [None, 1, 2, None], [], [None, 3, 4])
    assert frame.to_dict(as_series=False) == {"a": [1, 3], "b": [2, 4]}
