"""A validation dataset has the same columns as the one that is trained on, known labels, and other rows."""

import math
from datetime import date, timedelta

import polars as pl
import pytest
from tests.support.tables import ROWS, only_problem, table

from epochd.core.specs import parse
from epochd.data.checks.report import check_dataset
from epochd.data.tables.catalog import Catalog


def second(**columns):
    return {name: values[20:] + values[3:20] for name, values in table().items()} | columns


LENGTH = len(second()["y"])


def test_a_second_table_of_the_same_kind_is_fine(look):
    assert look(table(), second()).problems == []


def test_the_dataset_that_is_trained_on_is_a_leak(look):
    found = look(table(), table())
    assert only_problem(found)[0] == "validation_dataset"
    assert "is the dataset that is trained on" in only_problem(found)[1]
    assert "is the dataset that is trained on" in only_problem(look(table(), validation_dataset="table.parquet"))[1]


def test_one_that_does_not_exist_is_a_problem_of_its_own_field(look):
    message = "there is no dataset 'secnd.parquet'"
    assert only_problem(look(table(), validation_dataset="secnd.parquet")) == ("validation_dataset", message)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"a": ["x", "z"] * LENGTH}, "'a' is String in 'second.parquet', but Float64 in training"),
        ({"a": [1.5, math.inf] * LENGTH}, "'a' has infinite or huge values: row 2 is inf in 'second.parquet'"),
        ({"y": [0, 1, 2, 1] * LENGTH}, "row 3 of 'second.parquet' has the label 2, which no row in training has"),
        ({"y": [0, None] * LENGTH}, "37 rows have no value of 'y' (of 74; the first is row 2) in 'second.parquet'"),
    ],
)
def test_what_cannot_be_scored_is_located(look, columns, said):
    spoilt = {name: (values * 2)[: 2 * LENGTH] for name, values in second().items()}
    spoilt |= {name: values[: 2 * LENGTH] for name, values in columns.items()}
    assert only_problem(look(table(), spoilt)) == ("validation_dataset", said)


def test_lacking_columns_are_named_with_the_nearest(look):
    lacking = {"aa" if name == "a" else name: values for name, values in second().items()}
    found = look(table(), lacking)
    assert only_problem(found) == ("validation_dataset", "'second.parquet' has no column 'a'")
    assert "its columns are: aa, b, y" in found.problems[0].hint


def test_one_without_rows_is_a_problem(look):
    found = look(table(), {name: values[:0] for name, values in second().items()})
    assert "'second.parquet' has no rows" in [problem.message for problem in found.problems]


def test_lists_are_no_longer_than_in_training(look):
    lists = [[1.0, i] for i in range(ROWS)]
    longer = [[1.0, 2.0]] * 5 + [[1.0, 2.0, 3.0]] + [[1.0] * 4] * (LENGTH - 6)
    found = look(table(c=lists), second(c=longer))
    message = "row 6 of 'c' in 'second.parquet' has 3 elements; in training 2 at most"
    assert only_problem(found) == ("validation_dataset", message)


def test_longer_lists_are_read_by_recurrent_networks_and_cut_by_a_cnn(look):
    lists = [[1.0, i] for i in range(ROWS)]
    longer = [[1.0, 2.0]] * 5 + [[1.0, i / 7, 3.0] for i in range(LENGTH - 5)]
    for model_type in ("lstm", "gru"):
        found = look(table(c=lists), second(c=longer), model_type=model_type)
        assert (found.problems, found.warnings, found.shape[0], found.masked) == ([], [], 3, True)
    found = look(table(c=lists), second(c=longer), model_type="cnn")
    assert (found.problems, found.shape[0], found.masked) == ([], 2, False)
    assert "a cnn reads the first 2 of each" in found.warnings[0]
    much = look(table(c=lists), second(c=[[1.0, i, 3.0, 4.0, 5.0] for i in range(LENGTH)]), model_type="gru")
    assert "training rows are padded to that length" in much.warnings[0]


def test_lists_of_a_row_are_equally_long_there_too(look):
    lists = [[1.0, i, 3.0] for i in range(ROWS)]
    shorter = [[1.0, 2.0, 3.0]] * 4 + [[1.0, 2.0]] * (LENGTH - 4)
    found = look(table(c=lists, d=lists[::-1]), second(c=lists[:LENGTH], d=shorter), model_type="lstm")
    message = "row 5 of 'second.parquet' has lists of different lengths: 3 elements in 'c', 2 elements in 'd'"
    assert only_problem(found) == ("validation_dataset", message)


def test_lists_that_an_mlp_would_have_to_pad_are_refused(look):
    lists = [[1.0, i, 3.0, 4.0] for i in range(ROWS)]
    shorter = [[1.0, 2.0, 3.0, 4.0]] * 4 + [[1.0, 2.0]] * (LENGTH - 4)
    field, message = only_problem(look(table(c=lists), second(c=shorter)))
    assert field == "validation_dataset"
    assert message.startswith("row 5 of 'c' in 'second.parquet' has 2 elements; ")
    assert message.endswith("in training 4 at least, and mlp needs lists of one length")
    assert look(table(c=lists), second(c=shorter), model_type="gru").problems == []


def test_it_needs_room_for_a_window(look):
    found = look(
        table(t=list(range(ROWS))), second(t=list(range(LENGTH))), time_column="t", sequence_length=LENGTH, split="time"
    )
    field, message = only_problem(found)
    assert field == "validation_dataset"
    assert f"take {LENGTH + 1} rows, but there are only {LENGTH}" in message


def typed(rows=40):
    """Numbers, codes of digits and letters, booleans, dates, and a target."""
    return pl.DataFrame(
        {
            "x": [i * 7 % rows / 2 for i in range(rows)],
            "code": [("01", "02", "A7", "1")[i % 4] for i in range(rows)],
            "flag": [i % 3 == 0 for i in range(rows)],
            "day": [date(2024, 1, 1) + timedelta(days=i * 5 % rows) for i in range(rows)],
            "y": [("1", "02", "x")[i // 2 % 3] for i in range(rows)],
        }
    )


def beside(folder, other, frame=None, suffix="csv", **options):
    """Problems with a text, or a frame, as the validation dataset of a CSV file."""
    (typed() if frame is None else frame).write_csv(folder / "table.csv")
    if isinstance(other, str):
        (folder / f"second.{suffix}").write_text(other)
    else:
        (other.write_csv if suffix == "csv" else other.write_ndjson)(folder / f"second.{suffix}")
    config = {"dataset": "table.csv", "target_column": "y", "validation_dataset": f"second.{suffix}"} | options
    return check_dataset(parse(config), Catalog([folder])).problems


@pytest.mark.parametrize("suffix", ["csv", "ndjson"])
def test_text_is_read_as_what_was_trained_on(tmp_path, suffix):
    digits = typed(33).filter(pl.col("code") != "A7", pl.col("y") != "x")
    assert beside(tmp_path, digits, suffix=suffix) == []
    assert beside(tmp_path, digits.with_columns(x=None, flag=None, day=None), suffix=suffix) == []


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("word,01,true,2024-01-01,1", "row 2 of column 'x' is not a number: 'word' in 'second.csv'"),
        ("inf,01,true,2024-01-01,1", "'x' has infinite or huge values: row 2 is inf in 'second.csv'"),
        ("1,01,no,2024-01-01,1", "row 2 of column 'flag' is neither true nor false: 'no' in 'second.csv'"),
        ("1,01,,01/02/2024,1", "row 2 of column 'day' is not a date: '01/02/2024' in 'second.csv'"),
        ("1,01,,2024-01-01,01", "row 2 of 'second.csv' has the label '01', which no row in training has"),
    ],
)
def test_a_value_that_cannot_be_read_as_what_was_trained_on_is_named(tmp_path, row, said):
    problems = beside(tmp_path, f"x,code,flag,day,y\n1,01,true,2024-01-01,02\n{row}\n")
    assert [(problem.field, problem.message) for problem in problems] == [("validation_dataset", said)]


def test_a_number_that_is_neither_true_nor_false_is_named(tmp_path):
    problems = beside(tmp_path, "x,code,flag,day,y\n1,01,1,2024-01-01,02\n1,01,2,2024-01-01,02\n")
    message = "row 2 of column 'flag' is neither true nor false: 2 in 'second.csv'"
    assert [problem.message for problem in problems] == [message]


def test_a_word_in_the_target_of_a_regression_is_named(tmp_path):
    frame = typed().with_columns(y=pl.col("x") * 1.5)
    problems = beside(tmp_path, "x,code,flag,day,y\n1,01,true,2024-01-01,2\n1,01,,,many\n", frame)
    assert [p.message for p in problems] == ["row 2 of column 'y' is not a number: 'many' in 'second.csv'"]
