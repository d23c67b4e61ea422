"""Tables that can be read and yet not be trained on, as people have them, and what should be told about each.

The file-level ones are in ``broken``.
"""

import dataclasses
import datetime
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from tests.support.tables import ROWS, table

Columns = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """``field`` has the one problem, whose message matches ``message``; with ``field`` None a warning does."""

    columns: Columns
    field: str | None
    message: str
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    validation: Columns | None = None

    def write(self, folder: Path) -> dict[str, Any]:
        """Put the table into a dataset folder; the config that is to be refused."""
        config: dict[str, Any] = {"dataset": "table.parquet", "target_column": "y", "epochs": 1}
        pl.DataFrame(self.columns, strict=False).write_parquet(folder / "table.parquet")
        if self.validation is not None:
            pl.DataFrame(self.validation, strict=False).write_parquet(folder / "second.parquet")
            config["validation_dataset"] = "second.parquet"
        return config | self.options


BROKEN_TABLES: dict[str, Callable[[], Case]] = {}
SUSPICIOUS_TABLES: dict[str, Callable[[], Case]] = {}

WINDOWS = {"time_column": "t", "sequence_length": 5}
NUMBERS = [i * 0.37 % 5 for i in range(ROWS)]
DAYS = [datetime.date(2024, 1, 1) + datetime.timedelta(i) for i in range(ROWS)]


def case(build: Callable[[], Case]) -> Callable[[], Case]:
    BROKEN_TABLES[build.__name__] = build
    return build


def suspicious(build: Callable[[], Case]) -> Callable[[], Case]:
    SUSPICIOUS_TABLES[build.__name__] = build
    return build


def short(rows: int) -> Columns:
    return {name: values[:rows] for name, values in table().items()}


@case
def seven_rows() -> Case:
    return Case(short(7), "dataset", "has only 7 rows", {"batch_size": 1})


@case
def no_rows() -> Case:
    empty = {"a": pl.Series([], dtype=pl.Float64), "y": pl.Series([], dtype=pl.Int64)}
    return Case(empty, "dataset", "has only 0 rows")


@case
def only_a_target() -> Case:
    return Case({"y": table()["y"]}, "dataset", "no column besides the target")


@case
def one_class() -> Case:
    return Case(table(y=["yes"] * ROWS), "target_column", "every row of 'y' has the same value, 'yes'")


@case
def a_class_of_one_row() -> Case:
    return Case(table(y=["p", "q"] * 19 + ["p", "r"]), "target_column", r"class 'r' has only 1 row \(row 40\)")


@case
def nan_in_the_target() -> Case:
    values = [*NUMBERS[:8], math.nan, *NUMBERS[9:]]
    return Case(table(y=values), "target_column", r"1 row has no value of 'y' \(of 40; the first is row 9\)")


@case
def missing_targets() -> Case:
    message = r"20 rows have no value of 'y' \(of 40; the first is row 3\)"
    return Case(table(y=[0, 1, None, None] * 10), "target_column", message)


@case
def an_empty_target() -> Case:
    return Case(table(y=[None] * ROWS), "target_column", "'y' has no value in any of the 40 rows")


@case
def an_infinite_target() -> Case:
    return Case(table(y=[*NUMBERS[1:], math.inf]), "target_column", "'y' has infinite or huge values: row 40 is inf")


@case
def a_date_as_target() -> Case:
    return Case(table(y=DAYS), "target_column", r"'y' has the type Date, .* in row 1")


@case
def words_to_regress() -> Case:
    values = ["1", "2", "many", "4"] * 10
    return Case(table(y=values), "task", "such as 'many' in row 3", {"task": "regression"})


@case
def a_label_for_each_row() -> Case:
    rows = 3000
    columns = {"a": [i % 83 for i in range(rows)], "y": [f"case {i}" for i in range(rows)]}
    return Case(columns, "target_column", "'y' has 3,000 distinct values, too many for classes")


@case
def accuracy_of_a_regression() -> Case:
    return Case(table(y=NUMBERS), "monitor", "does not exist for regression", {"monitor": "val_accuracy"})


@case
def shares_of_classes_of_a_regression() -> Case:
    return Case(table(y=NUMBERS), "split", "'y' suggests a regression", {"split": "stratified"})


@case
def a_misspelt_target() -> Case:
    return Case(table(), "target_column", "no column 'yy'", {"target_column": "yy"})


@case
def a_misspelt_feature() -> Case:
    return Case(table(height=NUMBERS), "feature_columns", "no column 'hieght'", {"feature_columns": ["hieght"]})


@case
def a_pattern_without_a_match() -> Case:
    options = {"feature_columns": ["a", "pixel*"]}
    return Case(table(), "feature_columns", r"no column that matches 'pixel\*'", options)


@case
def the_target_as_a_feature() -> Case:
    return Case(table(copy=table()["y"]), "feature_columns", "'copy' is equal to the target 'y' in every row")


@case
def the_target_in_other_words() -> Case:
    renamed = ["ham" if y else "spam" for y in table()["y"]]
    return Case(table(label=renamed), "feature_columns", "'label' maps one-to-one to the target 'y'")


@case
def a_feature_without_values() -> Case:
    return Case(table(a=[None] * ROWS), "feature_columns", "'a' has no value in any of the 40 rows")


@case
def an_infinite_feature() -> Case:
    return Case(table(a=[math.inf, *NUMBERS[1:]]), "feature_columns", "'a' has infinite or huge values: row 1 is inf")


@case
def a_huge_feature() -> Case:
    return Case(table(a=[*NUMBERS[1:], -1e300]), "feature_columns", "row 40 is -1e\\+300")


@case
def a_million_categories() -> Case:
    rows = 1_000_000
    numbers = pl.int_range(rows, eager=True)
    columns = {"name": "customer " + numbers.cast(pl.String), "y": numbers // 3 % 2}
    return Case(columns, "feature_columns", "'name' looks like an identifier: about .* in row 1")


@case
def more_categories_than_codes() -> Case:
    rows = 400_000
    numbers = pl.int_range(rows, eager=True)
    columns = {"name": "customer " + (numbers % 200_000).cast(pl.String), "y": numbers // 3 % 2}
    return Case(columns, "feature_columns", "about .* distinct values, too many to encode .limit 100,000")


@case
def more_categories_than_columns() -> Case:
    rows = 3600
    columns = {"a": [f"name {i % 1200}" for i in range(rows)], "y": [i // 7 % 2 for i in range(rows)]}
    return Case(columns, "feature_columns", "1,200 distinct values, too many to encode", {"model_type": "cnn"})


@case
def identifiers() -> Case:
    rows = 600
    columns = {"a": [f"{i:x}-{i * 7:x}" for i in range(rows)], "y": [i // 7 % 2 for i in range(rows)]}
    return Case(columns, "feature_columns", "'a' looks like an identifier: 600 distinct texts in 600 rows")


@case
def a_struct() -> Case:
    return Case(table(a=[{"k": i} for i in range(ROWS)]), "feature_columns", "'a' has the unsupported type Struct")


@case
def bytes_of_pictures() -> Case:
    return Case(table(a=[b"\x89PNG"] * ROWS), "feature_columns", r"'a' has the unsupported type Binary, .* in row 1")


@case
def lists_of_words() -> Case:
    return Case(table(a=[["p", "q"]] * ROWS), "feature_columns", r"unsupported type List\(String\)")


@case
def lists_of_lists() -> Case:
    return Case(table(a=[[[1.0], [2.0]]] * ROWS), "feature_columns", r"unsupported type List\(List\(Float64\)\)")


@case
def an_empty_list() -> Case:
    lists = [[1.0, i] for i in range(ROWS - 1)] + [[]]
    return Case(table(a=lists), "feature_columns", "'a' has an empty list in row 40", {"model_type": "lstm"})


@case
def lists_of_different_lengths_in_a_row() -> Case:
    a, c = [[1.0, i] for i in range(ROWS)], [[1.0, i] for i in range(ROWS - 1)] + [[1.0]]
    return Case(table(a=a, c=c), "feature_columns", "row 40 has lists of different lengths", {"model_type": "gru"})


@case
def ragged_lists_for_an_mlp() -> Case:
    return Case(table(a=[[1.0] * (2 + i % 3) for i in range(ROWS)]), "model_type", "mlp needs lists of one length")


@case
def windows_of_lists() -> Case:
    columns = table(a=[[1.0, i] for i in range(ROWS)], t=DAYS)
    return Case(columns, "sequence_length", "'a' holds lists", WINDOWS)


@case
def an_unreadable_time() -> Case:
    times = [*map(str, DAYS[:20]), "next tuesday", *map(str, DAYS[21:])]
    return Case(table(t=times), "time_column", "row 21 of 't' is missing", WINDOWS)


@case
def a_missing_time() -> Case:
    return Case(table(t=[*DAYS[:-1], None]), "time_column", "row 40 of 't' is missing", WINDOWS)


@suspicious
def rows_out_of_order() -> Case:
    return Case(table(t=DAYS[::-1]), None, "row 2 .'2024-02-08'. is earlier than the row before it", WINDOWS)


@case
def all_at_the_same_time() -> Case:
    return Case(table(t=DAYS[:1] * ROWS), "time_column", "too few rows have different times", WINDOWS)


@case
def windows_longer_than_a_group() -> Case:
    columns = table(t=DAYS, g=["p"] * 20 + ["q"] * 20)
    options = WINDOWS | {"group_column": "g", "sequence_length": 20, "validation_split": 0}
    return Case(columns, "sequence_length", "take 21 rows, but the longest group has only 20", options)


@case
def validation_too_short_for_a_window() -> Case:
    return Case(table(t=DAYS), "sequence_length", "fits into the validation rows", WINDOWS | {"sequence_length": 12})


@case
def a_single_group() -> Case:
    options = {"group_column": "g", "split": "group"}
    return Case(table(g=["p"] * ROWS), "group_column", "only 1 group", options)


@case
def columns_that_fill_no_image() -> Case:
    options = {"model_type": "cnn", "input_shape": [28, 28]}
    columns = table(b=NUMBERS[::-1], c=[*NUMBERS[3:], 1, 2, 3])
    return Case(columns, "input_shape", "holds 784 values, but there are 3 features", options)


@case
def validation_on_the_training_rows() -> Case:
    return Case(table(), "validation_dataset", "is the dataset that is trained on", validation=table())


@case
def an_unknown_label_to_validate() -> Case:
    second = short(12) | {"y": [0, 1, 2] * 4}
    message = "row 3 of 'second.parquet' has the label 2"
    return Case(table(), "validation_dataset", message, validation=second)


@case
def validation_without_a_column() -> Case:
    second = {"a": table()["a"][:12], "y": table()["y"][:12]}
    return Case(table(), "validation_dataset", "'second.parquet' has no column 'b'", validation=second)


@case
def validation_of_another_type() -> Case:
    second = short(12) | {"a": ["low", "high"] * 6}
    message = "'a' is String in 'second.parquet', but Float64 in training"
    return Case(table(), "validation_dataset", message, validation=second)


@case
def a_model_larger_than_the_machine() -> Case:
    options = {"hidden_units": [14_000, 14_000], "batch_size": 32}
    return Case(table(), "hidden_units", "this training needs about .* limit is 2,000 MiB", options)


@suspicious
def a_batch_larger_than_the_data() -> Case:
    return Case(table(), None, "batch_size 500 is more than the 32 training rows", {"batch_size": 500})


@suspicious
def a_stray_word_among_numbers() -> Case:
    values = [*map(str, [i * i for i in range(ROWS - 1)]), "odd"]
    return Case(table(a=values), None, r"1 value is not of that form and taken as missing: 'odd' \(row 40\)")


@suspicious
def a_feature_that_never_changes() -> Case:
    return Case(table(a=[3.0] * ROWS), None, "constant columns, from which a model learns nothing: 'a'")


@suspicious
def a_multiple_of_the_target() -> Case:
    columns = table(a=[-3 * value for value in NUMBERS], y=NUMBERS)
    return Case(columns, None, "'a' and the target 'y' are almost perfectly correlated")


@suspicious
def a_column_that_counts_rows() -> Case:
    rows = 100
    columns = {"a": [i * i % 97 for i in range(rows)], "n": list(range(rows)), "y": [i // 3 % 2 for i in range(rows)]}
    return Case(columns, None, "'n' looks like a row index: each value is the one before plus 1; it is left out")
