"""Columns that cannot be learned from, and columns that were probably not meant."""

import math

import polars as pl
import pytest
from tests.support.tables import ROWS, only_problem, only_warning, table

NUMBERS = [i * 0.7 % 3 for i in range(ROWS)]


def test_infinite_and_huge_values_are_located(look):
    message = "'a' has infinite or huge values: row 40 is inf"
    assert only_problem(look(table(a=[*NUMBERS[1:], math.inf]))) == ("feature_columns", message)
    assert "row 1 is -1e+200" in only_problem(look(table(a=[-1e200, *NUMBERS[1:]])))[1]
    lists = [[1.0, 2.0 + i % 7] for i in range(ROWS - 1)] + [[math.inf, 0.0]]
    assert "row 40 is [inf, 0.0]" in only_problem(look(table(c=lists)))[1]


def test_whole_numbers_of_any_size_are_fine(look):
    assert look(table(a=[2**63 + i * i for i in range(ROWS)])).problems == []


def test_a_feature_without_any_value_is_a_problem(look):
    for dtype in (pl.Float64, pl.String, pl.Null, pl.Date, pl.Boolean):
        found = look(table(a=pl.Series([None] * ROWS, dtype=dtype)))
        assert only_problem(found) == ("feature_columns", "'a' has no value in any of the 40 rows")


def test_text_too_wide_to_encode_is_a_problem_where_no_vectors_are_learned(look):
    rows = 3600
    columns = {"a": [f"name {i % 1200}" for i in range(rows)], "y": [i // 7 % 2 for i in range(rows)]}
    message = "'a' is text with 1,200 distinct values, too many to encode (limit 1,000), such as 'name 0' in row 1"
    assert only_problem(look(columns, model_type="cnn")) == ("feature_columns", message)
    assert look(columns).problems == []
    assert '"max_categories": 100' in look(columns, model_type="cnn").problems[0].hint


@pytest.mark.parametrize(
    ("features", "width"), [({"max_categories": 30}, 31), ({"min_frequency": 40}, 91), ({"min_frequency": 0.25}, 5)]
)
def test_text_of_any_number_of_values_is_encoded_where_few_of_them_are_told_apart(look, features, width):
    rows = 3600
    columns = {"a": [f"name {i % 1200}" for i in range(rows)], "y": [i // 7 % 2 for i in range(rows)]}
    found = look(columns, model_type="cnn", features=features)
    assert (found.problems, found.width) == ([], width)


def test_numbers_that_a_stray_word_makes_text_are_not_taken_for_an_identifier(look):
    columns = {"a": [*map(str, range(560)), *["odd"] * 40], "y": [i // 7 % 2 for i in range(600)]}
    found = look(columns)
    message = "'a' is text with 561 distinct values in 600 rows, such as '0' in row 1"
    assert only_problem(found) == ("feature_columns", message)
    option = '"columns": {"a": {"type": "number"}}'
    assert (
        f"'odd' (row 561) is not; to read it as numbers, and 40 of 600 values as missing, set {option}"
        in found.problems[0].hint
    )


@pytest.mark.parametrize(
    ("value", "said", "hint"),
    [
        ({"k": 1}, "Struct({'k': Int64}), such as {'k': 1} in row 1", "plain columns"),
        (b"x", "Binary, such as b'x' in row 1", "numbers or text"),
        (["p", "q"], "List(String), such as ['p', 'q'] in row 1", "plain columns"),
        ([[1], [2]], "List(List(Int64)), such as [[1], [2]] in row 1", "plain columns"),
    ],
)
def test_types_that_cannot_be_used_are_problems_with_a_way_out(look, value, said, hint):
    found = look(table(a=[value] * ROWS))
    assert only_problem(found) == ("feature_columns", f"'a' has the unsupported type {said}")
    assert hint in found.problems[0].hint


@pytest.mark.parametrize("small", [True, False])
def test_the_element_that_makes_lists_of_numbers_text_is_named(look, monkeypatch, small):
    if not small:
        monkeypatch.setattr("epochd.data.checks.statistics.MIN_HEAD", 1)
        monkeypatch.setattr("epochd.data.checks.statistics.SMALL_ROWS", 1)
    lists = [["1", "2.5", None], None, *[["3"]] * 5, ["1", None, "x", "y"], *[["4", "5"]] * (ROWS - 8)]
    found = look(table(a=lists))
    said = "'a' has the unsupported type List(String): row 8 has the element 'x', which is not a number"
    assert only_problem(found) == ("feature_columns", said)
    assert found.problems[0].hint.startswith("make all elements numbers")


@pytest.mark.parametrize(("third", "said"), [([], "an empty list in row 3"), (None, "no list in row 3")])
def test_rows_without_a_list_are_located(look, third, said):
    lists = [[1.0, 2.0], [2.0, float(3)], third, *[[3.0, i] for i in range(ROWS - 3)]]
    found = look(table(c=lists), model_type="gru")
    assert only_problem(found) == ("feature_columns", f"'c' has {said}")


def test_lists_of_a_row_are_equally_long(look):
    c = [[1.0, i] for i in range(ROWS)]
    d = [*c[:6], [1.0, 2.0, 3.0], *c[7:]]
    message = "row 7 has lists of different lengths: 2 elements in 'c', 3 elements in 'd'"
    assert only_problem(look(table(c=c, d=d), model_type="cnn")) == ("feature_columns", message)


def test_an_mlp_needs_lists_of_one_length(look):
    ragged = [[1.0] * (3 + (i == 4)) + [i] for i in range(ROWS)]
    message = "mlp needs lists of one length, but those of 'c' have 4 to 5 elements (row 1 has 4)"
    assert only_problem(look(table(c=ragged))) == ("model_type", message)
    assert look(table(c=ragged), model_type="lstm").problems == []
    assert look(table(c=pl.Series([[1, i] for i in range(ROWS)], dtype=pl.Array(pl.Int32, 2)))).problems == []


def test_lists_are_neither_windows_nor_folded(look):
    columns = table(c=[[1.0, i] for i in range(ROWS)], t=list(range(ROWS)))
    assert only_problem(look(columns, time_column="t", sequence_length=3))[0] == "sequence_length"
    assert only_problem(look(columns, model_type="cnn", input_shape=[2, 2]))[0] == "input_shape"


def test_the_problems_of_very_many_columns_are_summed_up(look):
    columns = table() | {f"c{i}": [None] * ROWS for i in range(50)}
    found = look(columns)
    assert len(found.problems) == 21
    assert found.problems[-1].message == "30 more columns have problems"


def test_constant_features_are_a_warning(look):
    found = look(table(a=[3.0] * ROWS, b=["u"] * ROWS))
    assert only_warning(found) == "constant columns, from which a model learns nothing: 'a', 'b'"


def test_a_stray_word_that_makes_a_column_text_is_a_warning_with_the_option_that_settles_it(look):
    columns = table(a=["1", "2", "3", "odd"] * 10)
    message = (
        "'a' is read as text: 30 of its values are numbers, but 'odd' (row 4) is not; to read it as numbers, and "
        '10 of 40 values as missing, set "columns": {"a": {"type": "number"}}'
    )
    assert only_warning(look(columns)) == message
    assert look(columns, columns={"a": {"type": "category"}}).warnings == []
    assert look(table(a=["1", "2"] * 20)).warnings == []
    assert look(table(a=["1", "odd", "even", "prime"] * 10)).warnings == []  # most would be lost


@pytest.mark.parametrize(
    ("name", "warned"), [("store_id", True), ("storeId", True), ("ID", True), ("paid", False), ("grid", False)]
)
def test_numbers_named_like_identifiers_are_a_warning_where_they_repeat(look, name, warned):
    columns = table() | {name: [i * i % 13 for i in range(ROWS)]}
    found = look(columns)
    assert name in found.features
    message = f"the numbers of {name!r} look like identifiers, whose size has no meaning; to encode each of them by "
    option = f'"columns": {{"{name}": {{"type": "category"}}}}'
    assert found.warnings == [f"{message}itself, set {option}"] * warned
    assert look(columns, columns={name: {"type": "number"}}).warnings == []
