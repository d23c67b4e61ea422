"""Spreadsheets read as the same table saved as CSV would."""

from datetime import date, datetime, time

import polars as pl
import pytest
import xlsxwriter

from epochd.core.columns import ReadOptions
from epochd.core.errors import DataError
from epochd.core.specs import parse
from epochd.data.checks.report import check_dataset
from epochd.data.tables.catalog import Catalog, open_dataset


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


def test_times_of_day_are_times_as_in_csv(tmp_path):
    def build(book):
        times = [time(10, 21), time(0, 0), None, time(19, 31, 5)]
        clock = book.add_format({"num_format": "hh:mm:ss"})
        sheet = write(book.add_worksheet(), ["t", "mixed", "n"], *([None, None, i] for i in range(4)))
        for row, value in enumerate(times, 1):
            sheet.write(row, 0, value, clock)
            sheet.write(row, 1, value or "-", clock)

    frame = workbook(tmp_path, build).read()
    times = [time(10, 21), time(0, 0), None, time(19, 31, 5)]
    assert frame["t"].to_list() == frame["mixed"].to_list() == times


def test_a_column_without_values_is_not_logged(tmp_path, caplog):
    assert read(tmp_path, ["a", "empty"], [1, None], [2, None])["empty"].null_count() == 2
    assert caplog.records == []


def test_formulas_without_values_are_told_with_what_calculates_them(tmp_path):
    def build(book):
        book.add_worksheet("other").hide()
        sheet = write(book.add_worksheet("data"), ["q", "f", "y", "empty"], *([i, None, i % 2] for i in range(20)))
        for row in range(1, 21):
            sheet.write_formula(row, 1, f"=A{row + 1}*2", None, "")
        sheet.set_first_sheet()
        sheet.activate()

    found = workbook(tmp_path, build)
    assert found.uncalculated() == ["f"]
    how = "in Excel or LibreOffice, which calculate them, and save it"
    assert f"the formulas of column 'f' in 't.xlsx' have no values: open it {how}" in found.notes()
    report = check_dataset(parse({"dataset": "t.xlsx", "target_column": "y"}), Catalog([tmp_path]))
    assert [problem.hint for problem in report.problems] == [
        f"its formulas have no values: open the file {how}",
        "leave it out by exclude_columns",
    ]


def test_formulas_with_values_are_columns_as_others(tmp_path):
    def build(book):
        sheet = write(book.add_worksheet(), ["q", "f"], [1], [2])
        for row in (1, 2):
            sheet.write_formula(row, 1, f"=A{row + 1}*2", None, row * 2)

    found = workbook(tmp_path, build)
    assert (found.read()["f"].to_list(), found.uncalculated()) == ([2, 4], [])


@pytest.mark.parametrize(
    ("upper", "lower"), [(["in", None, "out"], ["date", "qty", "y"]), (["date", "values", None], [None, "qty", "y"])]
)
def test_two_header_rows_are_refused_as_such(tmp_path, upper, lower):
    with pytest.raises(DataError, match="there seem to be two header rows, '"):
        read(tmp_path, upper, lower, *([datetime(2024, 1, day), day, day / 2] for day in range(1, 9)))


def test_a_note_beside_the_table_is_refused_with_its_column(tmp_path):
    with pytest.raises(DataError, match="column E has no name, but values such as 'see 1'"):
        read(tmp_path, ["a", "b", "y"], [1, 2, 3], [1, 2, 3, None, "see 1"])


@pytest.mark.parametrize("name", ["t.xls", "t.xlsx"])
@pytest.mark.parametrize(
    "content", [b"a\tb\n1\tx\n2\ty\n", b"a,b\n1,x\n2,y\n", "a\tb\r\n1\tx\r\n2\ty\r\n".encode("utf-16")]
)
def test_text_with_the_suffix_of_a_workbook_is_read_as_text(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    found = open_dataset(name, [tmp_path])
    assert found.read().to_dict(as_series=False) == {"a": [1, 2], "b": ["x", "y"]}
    assert (
        found.notes()[0] == f"{name!r} has the suffix of a spreadsheet, but is a text with separators, and read as one"
    )


@pytest.mark.parametrize(
    ("content", "kind"),
    [("\n<table>\n<tr><td>a, b</td></tr></table>", "HTML"), ('<?xml version="1.0"?>\n<Workbook/>', "XML"),
     ("\ufeff<!DOCTYPE html>\n<html>,</html>", "HTML")],
)  # fmt: skip
def test_a_page_with_the_suffix_of_a_workbook_is_refused_as_one(tmp_path, content, kind):
    (tmp_path / "t.xls").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=f"it is a page of {kind} with the suffix of a spreadsheet") as error:
        open_dataset("t.xls", [tmp_path]).read()
    assert error.value.problems[0].hint == "open it in Excel or LibreOffice, and save it as .xlsx"
