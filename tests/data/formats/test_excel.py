"""Spreadsheets read as the same table saved as CSV would."""

from datetime import date, datetime

import polars as pl
import xlsxwriter

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


def test_rows_and_columns_without_content_are_left_out(tmp_path):
    frame = read(tmp_path, [], [None, "a", "b", ""], [None, 1, 2, None], [], [None, 3, 4])
    assert frame.to_dict(as_series=False) == {"a": [1, 3], "b": [2, 4]}
