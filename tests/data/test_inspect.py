"""Everything that can be wrong with a dataset is a problem with a field, a message and a hint; all at once."""

import datetime
import json
import math
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from epochd.core.specs import parse
from epochd.data.inspect import inspect

ROWS = 40


@pytest.fixture
def look(tmp_path: Path):
    """Inspect a table given as columns; options become the spec."""

    def look(columns, **options):
        pl.DataFrame(columns, strict=False).write_parquet(tmp_path / "table.parquet")
        spec = parse({"dataset": "table.parquet", "target_column": "y"} | options)
        return inspect(spec, [tmp_path], "sample")

    return look


def table(**columns):
    """A good table of ROWS rows: features a (number) and b (text), binary target y."""
    good = {"a": [float(i) for i in range(ROWS)], "b": ["u", "v"] * (ROWS // 2), "y": [0, 1] * (ROWS // 2)}
    return good | columns


def only_problem(inspection):
    assert len(inspection.problems) == 1, inspection.problems
    problem = inspection.problems[0]
    assert problem.hint
    return problem.field, problem.message


def test_a_good_table_is_described(look):
    found = look(table())
    assert (found.problems, found.warnings) == ([], [])
    assert (found.dataset, found.rows, found.task, found.classes) == ("table.parquet", ROWS, "binary", [0, 1])
    assert [(c.name, c.dtype) for c in found.columns] == [("a", "Float64"), ("b", "String"), ("y", "Int64")]
    assert found.features == ["a", "b"]
    assert found.width == 1 + 3
    assert json.loads(json.dumps(found.as_json()))["columns"][0] == {"name": "a", "dtype": "Float64"}


def test_features_come_in_the_order_of_the_spec(look):
    assert look(table(), feature_columns=["b", "a"]).features == ["b", "a"]


def test_the_default_dataset_is_used_with_a_warning():
    found = inspect(parse({"target_column": "target"}), [], "sample")
    assert found.dataset == "sample"
    assert found.problems == []
    assert "no dataset was given, so the server's default 'sample' is used" in found.warnings[0]


def test_a_missing_dataset_is_a_problem_and_no_exception(tmp_path):
    found = inspect(parse({"dataset": "irsi", "target_column": "y"}), [tmp_path], "sample")
    assert only_problem(found) == ("dataset", "there is no dataset 'irsi'")


def test_an_unreadable_file_is_a_problem_and_no_exception(tmp_path):
    (tmp_path / "t.csv").write_text("a,y\n1,2,3\n")
    found = inspect(parse({"dataset": "t.csv", "target_column": "y"}), [tmp_path], "sample")
    field, message = only_problem(found)
    assert field == "dataset"
    assert "line 2 has 3 values" in message


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
        ([0.0, 2.0] * 20, "regression", None),
        ([0.5, 1.0, 2.0, 3.0] * 10, "regression", None),
        ([Decimal("1.10"), Decimal("2.20"), Decimal("3.35"), Decimal("4.40")] * 10, "regression", None),
    ],
)
def test_the_task_is_inferred_from_the_target(look, values, task, classes):
    found = look(table(y=values))
    assert found.problems == []
    assert (found.task, found.classes) == (task, classes)


def test_the_spec_overrides_the_task(look):
    assert look(table(y=[1, 2, 3, 4] * 10), task="regression").task == "regression"
    floats = look(table(y=[0.5, 1.5] * 20), task="binary")
    assert (floats.task, floats.classes, floats.problems) == ("binary", [0.5, 1.5], [])


def test_columns_that_do_not_exist_are_named_with_the_nearest(look):
    found = look(table(height=[1.0] * 39 + [2.0]), feature_columns=["hieght", "zzz"], target_column="Y")
    first, second, third = found.problems
    assert (first.field, first.message) == ("feature_columns", "the dataset has no column 'hieght'")
    assert first.hint == "did you mean 'height'? its columns are: a, b, y, height"
    assert second.hint == "its columns are: a, b, y, height"
    assert (third.field, third.message) == ("target_column", "the dataset has no column 'Y'")


def test_very_many_missing_columns_are_summed_up(look):
    found = look(table(), feature_columns=[f"c{i}" for i in range(500)])
    assert len(found.problems) == 21
    assert found.problems[-1].message == "480 more columns do not exist"


def test_column_names_are_never_patterns(look):
    found = look({"*": list(range(ROWS)), "^a.*$": ["u", "v"] * 20, "y": [0, 1] * 20})
    assert found.problems == []
    assert found.features == ["*", "^a.*$"]
    assert look(table(), feature_columns=["*"]).problems[0].message == "the dataset has no column '*'"


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


def test_a_class_of_one_row_is_a_problem_when_rows_are_held_out(look):
    labels = ["a", "b"] * 19 + ["a", "c"]
    message = "class 'c' has only 1 row: it cannot be both trained on and validated"
    assert only_problem(look(table(y=labels))) == ("target_column", message)
    assert look(table(y=labels), validation_split=0.0).problems == []


def test_a_text_target_cannot_be_regressed(look):
    found = look(table(y=["1", "2", "many", "4"] * 10), task="regression")
    message = "task is 'regression', but 'y' has values that are not numbers, such as 'many'"
    assert only_problem(found) == ("task", message)


def test_a_binary_task_needs_two_values(look):
    found = look(table(y=[1, 2, 3, 4] * 10), task="binary")
    assert only_problem(found) == ("task", "task is 'binary', but 'y' has 4 distinct values")


def test_too_many_classes_are_a_problem_of_what_asked_for_them(look):
    rows = 2400
    columns = {"a": list(range(rows)), "y": [f"id{i // 2}" for i in range(rows)]}
    message = "'y' has 1200 distinct values, too many for classes (the limit is 1000)"
    assert only_problem(look(columns)) == ("target_column", message)
    assert only_problem(look(columns, task="multiclass")) == ("task", message)


def test_accuracy_cannot_be_watched_for_an_inferred_regression(look):
    found = look(table(y=[float(i) for i in range(ROWS)]), monitor="val_accuracy")
    field, message = only_problem(found)
    assert field == "monitor"
    assert message.startswith("val_accuracy does not exist for regression")


def test_infinite_and_huge_values_are_problems(look):
    numbers = [1.0] * (ROWS - 1)
    assert only_problem(look(table(a=[*numbers, math.inf]))) == (
        "feature_columns",
        "'a' has infinite or huge values, such as inf",
    )
    assert "such as -1e+200" in only_problem(look(table(a=[-1e200, *numbers])))[1]
    assert only_problem(look(table(y=[*numbers, -math.inf]))) == (
        "target_column",
        "'y' has 1 infinite or huge values, such as -inf",
    )


def test_a_feature_without_any_value_is_a_problem(look):
    for dtype in (pl.Float64, pl.String, pl.Null):
        found = look(table(a=pl.Series([None] * ROWS, dtype=dtype)))
        assert only_problem(found) == ("feature_columns", "'a' has no value in any of the 40 rows")


def test_text_with_too_many_values_is_a_problem(look):
    rows = 1200
    columns = {"a": [f"id{i}" for i in range(rows)], "y": [0, 1] * (rows // 2)}
    message = "'a' is text with 1200 distinct values, too many to encode (limit 1000)"
    assert only_problem(look(columns)) == ("feature_columns", message)
    columns["a"] = [*map(str, range(rows - 1)), "?"]
    assert "'?' is not" in look(columns).problems[0].hint


@pytest.mark.parametrize(
    ("value", "dtype", "hint"),
    [
        (datetime.date(2024, 1, 1), "Date", "days since"),
        (datetime.datetime(2024, 1, 1), "Datetime", "days since"),
        ([1, 2], "List(Int64)", "plain columns"),
        ({"k": 1}, "Struct", "plain columns"),
        (b"x", "Binary", "numbers or text"),
    ],
)
def test_types_that_cannot_be_used_are_problems_with_a_way_out(look, value, dtype, hint):
    feature = look(table(a=[value] * ROWS))
    field, message = only_problem(feature)
    assert field == "feature_columns"
    assert message.startswith(f"'a' has the unsupported type {dtype}")
    assert hint in feature.problems[0].hint
    target = look(table(y=[value] * ROWS))
    field, message = only_problem(target)
    assert field == "target_column"
    assert message.startswith(f"'y' has the type {dtype}")


def test_a_table_of_few_rows_is_a_problem(look):
    few = {"a": [1.0, 2.0] * 3, "y": [0, 1] * 3}
    assert only_problem(look(few, batch_size=1)) == ("dataset", "the dataset has only 6 rows")
    none = {"a": pl.Series([], dtype=pl.Float64), "y": pl.Series([], dtype=pl.Int64)}
    assert only_problem(look(none)) == ("dataset", "the dataset has only 0 rows")


def test_a_table_of_only_a_target_is_a_problem(look):
    message = "the dataset has no column besides the target to learn from"
    assert only_problem(look({"y": [0, 1] * 20})) == ("dataset", message)


def test_a_batch_larger_than_the_training_rows_is_a_warning(look):
    found = look(table(), batch_size=33)
    assert found.problems == []
    assert found.warnings == ["batch_size 33 is more than the 32 training rows: each epoch is a single step"]
    assert look(table(), batch_size=32).warnings == []


def test_constant_features_are_a_warning(look):
    found = look(table(a=[3.0] * ROWS, b=["u"] * ROWS))
    assert found.problems == []
    assert found.warnings == ["always the same value, nothing to learn from: 'a', 'b'"]


def test_a_stray_word_that_makes_a_column_text_is_a_warning(look):
    found = look(table(a=["1", "2", "3", "?"] * 10))
    assert found.warnings == ["'a' is read as text: 30 of its values are numbers, but '?' is not; should it be empty?"]
    assert look(table(a=["1", "2"] * 20)).warnings == []


def test_all_problems_come_at_once(look):
    found = look(
        table(a=[math.inf] * ROWS, b=[[1]] * ROWS, y=[None, 1.5, 2.5, 3.5] * 10),
        feature_columns=["a", "b", "c"],
        monitor="val_accuracy",
    )
    fields = sorted(problem.field for problem in found.problems)
    assert fields == ["feature_columns", "feature_columns", "feature_columns", "monitor", "target_column"]
