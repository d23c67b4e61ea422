"""What the training side of a split lacks is told before anything is trained."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from epochd.core import specs
from epochd.data.checks import statistics
from epochd.data.checks.report import check_dataset
from epochd.data.prepare import prepare
from epochd.data.splitting.split import split
from epochd.data.tables.catalog import Catalog

ROWS = 300
DAYS = [datetime(2020, 1, 1) + timedelta(days=day) for day in range(ROWS)]
X = np.random.default_rng(3).normal(size=ROWS)


@pytest.fixture(params=["whole", "streamed"])
def examined(tmp_path, monkeypatch, request):
    """What is said of a training on these columns, beside a feature ``x``, with the last fifth of the days held out."""
    if request.param == "streamed":
        monkeypatch.setattr(statistics, "MIN_HEAD", 50)
        monkeypatch.setattr(statistics, "SMALL_ROWS", 50)

    def examine(columns, **options):
        pl.DataFrame({"day": DAYS, "x": X} | columns).write_parquet(tmp_path / "table.parquet")
        values = {"dataset": "table.parquet", "target_column": "y", "split": "time", "time_column": "day"}
        return check_dataset(specs.parse({**values, "feature_columns": ["x"], **options}), Catalog([tmp_path]))

    return examine


def test_training_rows_of_one_class_are_refused(examined):
    found = examined({"y": ["a"] * 240 + ["b"] * 60})
    [problem] = found.problems
    assert (problem.field, problem.message) == (
        "split",
        "all 240 training rows have the 'y' 'a': other classes are in held-out rows only",
    )


def test_a_class_that_only_held_out_rows_have_is_told(examined):
    found = examined({"y": ["a", "b"] * 125 + ["a", "c"] * 25})
    assert found.problems == []
    [warning] = [text for text in found.warnings if "no training row" in text]
    assert warning.startswith("25 held-out rows have a 'y' that no training row has: 'c'")


def test_a_class_of_one_held_out_group_is_missed_too(examined):
    groups = np.arange(ROWS) // 10
    options = {"split": "group", "group_column": "g", "time_column": None}
    held_out = groups[split(specs.parse({"target_column": "y"} | options), ROWS, groups=groups).validation[0]]
    found = examined({"y": (groups == held_out).astype(int), "g": groups}, **options)
    assert [problem.field for problem in found.problems] == ["split"]
    kept = groups[groups != held_out][0]
    assert examined({"y": (groups == kept).astype(int), "g": groups}, **options).problems == []


def test_where_each_class_is_trained_on_nothing_is_said(examined):
    found = examined({"y": ["a", "b", "c"] * 100})
    assert (found.problems, [text for text in found.warnings if "training row" in text]) == ([], [])


@pytest.mark.parametrize("kind", ["number", "nan", "date", "text"])
def test_a_feature_that_only_held_out_rows_have_is_told_and_says_nothing(examined, tmp_path, kind):
    late = {
        "number": [None] * 270 + [1e6 + i for i in range(30)],
        "nan": [float("nan")] * 270 + [1e6 + i for i in range(30)],
        "date": [None] * 270 + DAYS[270:],
        "text": [None] * 270 + ["u", "v"] * 15,
    }[kind]
    options = {"feature_columns": ["x", "late"], "dataset": "table.parquet", "target_column": "y"}
    options |= {"split": "time", "time_column": "day"}
    found = examined({"y": [0, 1] * 150, "late": late}, **options)
    assert found.problems == []
    assert "features with values in held-out rows only" in "\n".join(found.warnings)
    validation = prepare(specs.parse(options), Catalog([tmp_path])).validation
    assert np.abs(validation.x[:, 1:]).max() <= 1, "not the raw number"


def test_nothing_is_held_out_nothing_is_lacking(examined):
    assert examined({"y": ["a"] * 240 + ["b"] * 60}, validation_split=0).problems == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 19, "test_split": 0.6}, "19 folds need at least 19 rows that are not test rows, but there are 16"),
        ({"folds": 8, "group_column": "g"}, "8 folds of whole groups need as many groups, but the rows have only 4"),
    ],
)
def test_folds_need_as_many_rows_or_groups(look, options, message):
    found = look({"x": [i * 0.37 for i in range(40)], "g": [i % 4 for i in range(40)], "y": [0, 1] * 20}, **options)
    assert [problem.message for problem in found.problems] == [message]
    assert found.problems[0].field == "folds"
