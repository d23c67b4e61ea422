"""What rules out a weight column."""

import pytest
from tests.support.tables import ROWS, only_problem, table


@pytest.mark.parametrize(
    ("row", "value", "said"),
    [
        (6, -0.5, "weights are at least 0, but row 7 is -0.5 in 'w'"),
        (3, None, "1 of 40 rows have no weight in 'w'; the first is row 4"),
        (3, float("nan"), "1 of 40 rows have no weight in 'w'; the first is row 4"),
        (9, float("inf"), "'w' has infinite or huge values: row 10 is inf"),
    ],
)
@pytest.mark.parametrize("where", ["", " in 'second.parquet'"])
def test_a_weight_that_is_none_is_named_with_its_row_and_value(look, row, value, said, where):
    good = table(w=[1.5] * ROWS)
    bad = good | {"w": [*good["w"][:row], value, *good["w"][row + 1 :]]}
    bad["a"] = [value + 0.5 for value in bad["a"]]
    found = look(good, bad, weight_column="w") if where else look(bad, weight_column="w")
    assert only_problem(found) == ("validation_dataset" if where else "weight_column", said + where)


def test_weights_that_are_all_0_are_a_problem(look):
    found = look(table(w=[0] * ROWS), weight_column="w")
    assert only_problem(found) == ("weight_column", "all weights in 'w' are 0: no row would count")


def test_weights_are_numbers(look):
    found = look(table(), weight_column="b")
    message = "the weight column 'b' has the type String, but weights are numbers"
    assert only_problem(found) == ("weight_column", message)


def test_the_weight_column_is_no_feature_and_has_to_exist(look):
    found = look(table(w=[True, False] * 20), weight_column="w")
    assert (found.problems, found.features) == ([], ["a", "b"])
    assert only_problem(look(table(), weight_column="weight"))[0] == "weight_column"


def test_a_validation_dataset_needs_the_weights_too(look):
    other = table(a=[value + 0.5 for value in table()["a"]])
    field, message = only_problem(look(table(w=[1] * ROWS), other, weight_column="w"))
    assert field == "validation_dataset"
    assert "no column 'w'" in message
