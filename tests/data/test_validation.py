"""A validation dataset has the same columns as the one that is trained on, known labels, and other rows."""

import math

import pytest
from tests.data.tables import ROWS, only_problem, table


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
    assert f"take {LENGTH + 1} rows, but there are {LENGTH} rows" in message
