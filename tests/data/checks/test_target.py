"""What a target column suggests, and what rules it out."""

import datetime
import math
from decimal import Decimal

import polars as pl
import pytest
from tests.support.tables import ROWS, only_problem, only_warning, table

from epochd.core.specs import parse, task_option_problems
from epochd.data.prepare import prepare
from epochd.data.tables.catalog import Catalog


@pytest.mark.parametrize(
    ("values", "task", "classes"),
    [
        ([True, False] * 20, "binary", [False, True]),
        (["no", "yes"] * 20, "binary", ["no", "yes"]),
        (["c", "a", "b", "a"] * 10, "multiclass", ["a", "b", "c"]),
        (pl.Series(["z", "a"] * 20, dtype=pl.Categorical), "binary", ["a", "z"]),
        ([1, 2] * 20, "binary", [1, 2]),
        ([-1000, 70_000] * 20, "binary", [-1000, 70_000]),
        ([1, 2, 3, 5] * 10, "multiclass", [1, 2, 3, 5]),
        (list(range(20)) * 2, "multiclass", list(range(20))),
        ([0, 10, 20, 500] * 10, "regression", None),
        ([2019, 2020, 2021, 2022] * 10, "regression", None),
        (list(range(40)), "regression", None),
        ([0.0, 1.0] * 20, "binary", [0.0, 1.0]),
        ([0.0, 2.0] * 20, "binary", [0, 2]),
        ([-1.0, 1.0] * 20, "binary", [-1, 1]),
        ([1.0, 2.0, 3.0, 5.0] * 10, "multiclass", [1, 2, 3, 5]),
        ([0.0, 10.0, 20.0, 500.0] * 10, "regression", None),
        ([float(i) for i in range(40)], "regression", None),
        ([Decimal("1.00"), Decimal("2.00")] * 20, "binary", [1, 2]),
        ([0.5, 1.0, 2.0, 3.0] * 10, "regression", None),
        ([Decimal("1.10"), Decimal("2.20"), Decimal("3.35"), Decimal("4.40")] * 10, "regression", None),
    ],
)
def test_the_task_is_inferred_from_the_target(look, values, task, classes):
    found = look(table(y=values))
    assert found.problems == []
    assert (found.task, found.classes) == (task, classes)


@pytest.mark.parametrize("dtype", [pl.Int64, pl.UInt8, pl.Float32, pl.Float64, pl.Decimal(10, 2)])
def test_the_same_whole_numbers_have_the_same_classes_whatever_their_type(look, dtype):
    found = look(table(y=pl.Series([1, 2, 3, 5] * 10, dtype=dtype)))
    assert (found.task, found.classes, found.problems) == ("multiclass", [1, 2, 3, 5], [])
    assert [type(label) for label in found.classes] == [int] * 4


def test_whole_floats_are_trained_on_as_classes(tmp_path):
    pl.DataFrame(table(y=[1.0, 2.0, 3.0, 2.0] * 10)).write_csv(tmp_path / "t.csv")
    found = prepare(parse({"dataset": "t.csv", "target_column": "y"}), Catalog([tmp_path]))
    assert found.encoder.classes == (1, 2, 3)
    assert set(found.train.y.tolist()) == {0, 1, 2}


def test_counts_with_a_value_of_one_row_may_be_a_regression(look):
    counts = [1, 2, 3, 4] * 9 + [2, 3, 2, 5]
    found = look(table(y=counts))
    assert only_problem(found)[1].startswith("class 5 has only 1 row (row 40)")
    assert '"task": "regression"' in found.problems[0].hint
    assert look(table(y=counts), task="regression").problems == []
    assert "regression" not in look(table(y=["a", "b"] * 19 + ["a", "c"])).problems[0].hint


def test_the_spec_overrides_the_task(look):
    assert look(table(y=[1, 2, 3, 4] * 10), task="regression").task == "regression"
    floats = look(table(y=[0.5, 1.5] * 20), task="binary")
    assert (floats.task, floats.classes, floats.problems) == ("binary", [0.5, 1.5], [])


def test_missing_target_values_are_counted_and_located(look):
    found = look(table(y=[0, 1, None, None] * 10))
    assert only_problem(found) == (
        "target_column",
        "20 rows have no value of 'y' (of 40; the first is row 3)",
    )
    assert found.task == "binary"


def test_a_target_without_any_value_is_a_problem(look):
    empty = pl.Series([None] * ROWS, dtype=pl.Float64)
    assert only_problem(look(table(y=empty))) == ("target_column", "'y' has no value in any of the 40 rows")


@pytest.mark.parametrize("value", [1, 2.5, "same", True])
def test_a_target_that_never_changes_is_a_problem(look, value):
    field, message = only_problem(look(table(y=[value] * ROWS)))
    assert field == "target_column"
    assert message.startswith(f"every row of 'y' has the same value, {value!r}")


@pytest.mark.parametrize("base", [1e6, -1e6, 1e-30])
def test_a_target_that_varies_in_its_last_digits_only_is_a_problem(look, base):
    values = [base + step * 1e-14 * abs(base) for step in range(ROWS)]
    field, message = only_problem(look(table(y=values)))
    assert field == "target_column"
    assert message.startswith("'y' varies by only ")
    assert "too few digits of a 64-bit number are left" in message


def test_whole_numbers_that_are_equal_in_64_bits_of_floating_point_are_a_problem(look):
    field, message = only_problem(look(table(y=[2**60 + step for step in range(ROWS)])))
    assert (field, message[:25]) == ("target_column", "'y' varies by only 0 arou")


def test_a_target_without_a_logarithm_is_named_with_its_row_and_value(look):
    values = [1.5 + step for step in range(ROWS)]
    values[6] = -1.0
    field, message = only_problem(look(table(y=values), target_transform="log1p"))
    assert field == "target_column"
    assert message == "target_transform 'log1p' needs values of 'y' above -1, but row 7 is -1.0"
    assert look(table(y=values)).problems == []
    assert look(table(y=[-0.9, *values[7:], *values[:6]]), target_transform="log1p").problems == []


def test_a_value_of_the_validation_dataset_without_a_logarithm_is_named_too(look):
    values = [1.5 + step for step in range(ROWS)]
    held_out = [step + 0.25 for step in range(ROWS - 1)] + [-4.0]
    field, message = only_problem(look(table(y=values), table(y=held_out), target_transform="log1p"))
    assert field == "validation_dataset"
    assert message.endswith("needs values of 'y' above -1, but row 40 is -4.0 in 'second.parquet'")


def test_the_logarithm_of_classes_is_refused_by_the_data_too():
    spec = parse({"target_column": "y", "target_transform": "log1p"})
    [problem] = task_option_problems(spec, "multiclass", 3)
    assert problem.field == "target_transform"
    assert problem.message.endswith("the task is multiclass, which is the task that 'y' suggests")


def test_the_logarithm_is_suggested_for_a_positive_target_that_it_makes_less_skewed(look):
    skewed = [float(10 ** (step / 10)) for step in range(ROWS)]
    warning = only_warning(look(table(y=skewed)))
    assert warning.startswith("the values of 'y' are positive and heavily skewed (skewness 2.")
    assert "target_transform 'log1p'" in warning
    assert look(table(y=skewed), target_transform="none").warnings == []
    assert look(table(y=skewed), target_transform="log1p").warnings == []


@pytest.mark.parametrize(
    "values",
    [
        [float(step) for step in range(ROWS)],
        [10 ** (step / 10) - 3 for step in range(ROWS)],
        [10 ** (step / 10) * 1e-9 for step in range(ROWS)],
        [1e8 + 10 ** (step / 10) for step in range(ROWS)],
        [100.0 + step for step in range(ROWS - 1)] + [1e30],
    ],
    ids=["even", "with values below 0", "tiny, like its logarithm", "hardly varies", "one outlier"],
)
def test_the_logarithm_is_not_suggested_where_it_does_not_help(look, values):
    assert not [warning for warning in look(table(y=values)).warnings if "log1p" in warning]


def test_a_target_may_vary_little_around_a_large_number(look):
    assert look(table(y=[1e6 + step * 1e-3 for step in range(ROWS)])).problems == []


def test_a_class_of_one_row_is_a_problem_when_rows_are_held_out(look):
    labels = ["a", "b"] * 19 + ["a", "c"]
    message = "class 'c' has only 1 row (row 40): it cannot be both trained on and held out"
    assert only_problem(look(table(y=labels))) == ("target_column", message)
    assert only_problem(look(table(y=labels), validation_split=0.0, test_split=0.1)) == ("target_column", message)
    assert look(table(y=labels), validation_split=0.0).problems == []


def test_a_text_target_cannot_be_regressed(look):
    found = look(table(y=["1", "2", "many", "4"] * 10), task="regression")
    message = "task is 'regression', but 'y' has values that are not numbers, such as 'many' in row 3"
    assert only_problem(found) == ("task", message)


@pytest.mark.parametrize("rows", [200, 2_400])
def test_a_stray_word_among_numbers_is_named_with_its_row(look, rows):
    values = [f"{i * 0.37:.2f}" for i in range(rows)]
    columns = {"a": [i * 7919 % 5003 for i in range(rows + 1)], "y": [*values[:-9], "oops", *values[-9:]]}
    message = f"'y' is read as text: {rows} of its values are numbers, but 'oops' (row {rows - 8}) is not"
    assert only_problem(look(columns)) == ("target_column", message)


def test_a_rare_word_among_words_is_no_stray_one(look):
    message = "class '7' has only 1 row (row 40): it cannot be both trained on and held out"
    assert only_problem(look(table(y=["a", "b"] * 19 + ["a", "7"]))) == ("target_column", message)


def test_a_binary_task_needs_two_values(look):
    found = look(table(y=[1, 2, 3, 4] * 10), task="binary")
    assert only_problem(found) == ("task", "task is 'binary', but 'y' has 4 distinct values")


def test_too_many_classes_are_a_problem_of_what_asked_for_them(look):
    rows = 2400
    columns = {"a": [i % 7 for i in range(rows)], "y": [f"id{i // 2}" for i in range(rows)]}
    message = "'y' has 1,200 distinct values, too many for classes (the limit is 1,000)"
    assert only_problem(look(columns)) == ("target_column", message)
    assert only_problem(look(columns, task="multiclass")) == ("task", message)


def test_infinite_values_are_located(look):
    message = "'y' has infinite or huge values: row 40 is -inf"
    assert only_problem(look(table(y=[1.5] * (ROWS - 1) + [-math.inf]))) == ("target_column", message)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (datetime.date(2024, 1, 1), "Date"),
        ([1, 2], "List(Int64)"),
        ({"k": 1}, "Struct({'k': Int64})"),
        (b"x", "Binary"),
    ],
)
def test_types_that_cannot_be_predicted_are_problems(look, value, dtype):
    field, message = only_problem(look(table(y=[value] * ROWS)))
    assert field == "target_column"
    assert message.startswith(f"'y' has the type {dtype}, which cannot be predicted, such as ")
    assert message.endswith(" in row 1")


def test_times_of_day_that_may_be_durations_name_the_option(look):
    rows = table(y=[f"1:{row % 60:02}:15" for row in range(ROWS)])
    [problem] = look(rows).problems
    assert problem.message.startswith("'y' has the type Time, which cannot be predicted, such as ")
    assert problem.hint.startswith('if they are durations, set columns: {"y": {"type": "duration"}}; else ')
    declared = look(rows, columns={"y": {"type": "duration"}})
    assert (declared.problems, declared.task) == ([], "regression")


def test_classes_cannot_be_kept_in_proportion_where_there_are_none(look):
    found = look(table(y=[i * 0.37 % 5 for i in range(ROWS)]), split="stratified")
    assert only_problem(found) == (
        "split",
        "split 'stratified' keeps the shares of classes, but 'y' suggests a regression",
    )


def test_a_target_in_a_large_table_is_counted_as_a_stream(look, monkeypatch):
    monkeypatch.setattr("epochd.data.checks.statistics.SMALL_ROWS", 100)
    rows = 5000
    columns = {"a": [i * 7919 % 5003 for i in range(rows)], "y": ["no", "yes", "maybe"] * (rows // 3) + ["yes", "no"]}
    found = look(columns)
    assert (found.rows, found.task, found.classes, found.problems) == (rows, "multiclass", ["maybe", "no", "yes"], [])
    columns["y"] = [f"label {i}" for i in range(rows)]
    assert "too many for classes" in only_problem(look(columns))[1]


def test_a_class_that_some_folds_lack_is_a_warning(look):
    columns = table(y=(["a"] * 19 + ["b"] * 18 + ["rare"] * 3))
    message = only_warning(look(columns, folds=5))
    assert message == "class 'rare' has fewer rows than there are folds (5): some folds are validated without it"
    assert look(columns, folds=3).warnings == []
