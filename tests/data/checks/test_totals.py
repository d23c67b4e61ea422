"""The last row of a table may be the total of the others."""

import random

import polars as pl
import pytest
import xlsxwriter

from epochd.core.specs import parse
from epochd.data.checks import statistics
from epochd.data.checks.report import check_dataset
from epochd.data.tables.catalog import Catalog

RANDOM = random.Random(3)
ROWS = [(f"c{i % 4}", RANDOM.randint(1, 99), round(RANDOM.uniform(1, 9), 2)) for i in range(60)]
SUMS = (sum(row[1] for row in ROWS), round(sum(row[2] for row in ROWS), 1))
TOTAL = "looks like a total: "


def table(*last, rows=ROWS):
    columns = zip(*[*rows, last], strict=True)
    return dict(zip(("name", "qty", "y"), map(list, columns), strict=True))


def totals(report):
    return [warning for warning in report.warnings if TOTAL in warning]


@pytest.mark.parametrize(
    "word",
    ["合计", "总计", "小计", "總計", "总和", "合計", "合 计", "total", "Grand Total", "GRAND  TOTAL:", "Subtotal",
     "sum", "Summe", "Gesamt", "Gesamtsumme:", "Totaal", "TOTALE", "Total general", "Итого", " total ： "],
)  # fmt: skip
def test_a_word_is_a_warning_with_the_row(look, word):
    [message] = totals(look(table(word, 2000, 180.5)))
    assert message == f"row 61, the last one, {TOTAL}it has the text {word.strip()!r}; remove it from the data"


def test_numbers_that_are_sums_are_a_warning(look):
    assert totals(look(table(None, *SUMS))) == [
        f"row 61, the last one, {TOTAL}'qty', 'y' are the sums of the rows above; remove it from the data"
    ]


@pytest.mark.parametrize(
    "last",
    [("c1", 2000, 180.5), ("total area", 5, 2.0), (None, SUMS[0], 2.0), (None, SUMS[0], None),
     (None, SUMS[0] + 2, SUMS[1])],
)  # fmt: skip
def test_other_rows_are_none(look, last):
    assert totals(look(table(*last))) == []


def test_a_word_that_other_rows_have_too_is_a_category(look):
    rows = [("total" if i % 9 == 0 else name, qty, y) for i, (name, qty, y) in enumerate(ROWS)]
    assert totals(look(table("total", 5, 2.0, rows=rows))) == []


def test_marks_of_which_the_last_row_has_the_second_are_no_sums(look):
    marks = [int(i == 7) for i in range(60)] + [1]
    assert totals(look({"a": marks, "b": [int(i == 9) for i in range(60)] + [1], "y": [0, 1] * 30 + [0]})) == []


def test_a_zero_and_a_column_of_zeros_say_nothing(look):
    [message] = totals(look(table(None, *SUMS) | {"zero": [0] * 61}))
    assert "'qty', 'y' are the sums" in message


def test_large_tables_are_searched_too(look, monkeypatch):
    monkeypatch.setattr(statistics, "SMALL_ROWS", 30)
    monkeypatch.setattr(statistics, "MIN_HEAD", 30)
    assert len(totals(look(table(None, *SUMS)))) == 1
    assert len(totals(look(table("Total", 2, 2.5)))) == 1
    assert totals(look(table("c1", 2, 2.5))) == []


@pytest.mark.parametrize("suffix", [".csv", ".xlsx", ".parquet", ".ndjson"])
def test_a_word_that_is_missing_in_its_column_is_found_in_every_format(tmp_path, suffix):
    days = [f"2024-01-{i % 28 + 1:02}" for i in range(60)]
    found = pl.DataFrame(table("x", 2000, 180.5) | {"name": [*days, "合计"]})
    file = tmp_path / f"t{suffix}"
    match suffix:
        case ".csv":
            found.write_csv(file)
        case ".xlsx":
            with xlsxwriter.Workbook(file) as book:
                sheet = book.add_worksheet()
                for number, row in enumerate([found.columns, *found.rows()]):
                    sheet.write_row(number, 0, row)
        case ".parquet":
            found.write_parquet(file)
        case _:
            found.write_ndjson(file)
    report = check_dataset(parse({"dataset": file.name, "target_column": "y"}), Catalog([tmp_path]))
    assert report.types["name"] == "date"
    assert totals(report) == [f"row 61, the last one, {TOTAL}it has the text '合计'; remove it from the data"]
