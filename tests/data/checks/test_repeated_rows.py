"""Rows that stand in a table several times are on both sides of a split, unless it keeps them together."""

import numpy as np
import polars as pl
import pytest
from tests.support.tables import only_problem, only_warning

from epochd.core import specs
from epochd.data.checks import statistics
from epochd.data.prepare import prepare
from epochd.data.splitting.row_contents import group_numbers
from epochd.data.tables.catalog import Catalog

KNOWN = 50


def repeated(times=5, seed=1, **columns):
    """Rows of random numbers, each of them several times, with labels by coin."""
    random = np.random.default_rng(seed)
    frame = pl.DataFrame({"a": random.normal(size=KNOWN), "b": random.normal(size=KNOWN)} | columns)
    frame = frame.with_columns(y=pl.Series(random.integers(0, 2, KNOWN)))
    return pl.concat([frame] * times).sample(fraction=1, shuffle=True, seed=seed).to_dict(as_series=False)


def test_the_share_of_held_out_rows_that_are_trained_on_is_a_warning_that_offers_a_split(look):
    message = only_warning(look(repeated()))
    assert message == (
        "100% of the held-out rows (50 of 50) also stand among the training rows, with the same features and the same "
        'target: their scores say little about new rows; to keep rows with the same features on one side, set "split": '
        '"group" without group_column'
    )


def test_the_figures_are_those_of_the_split_that_is_trained_on(look, tmp_path):
    columns = repeated(times=2)
    message = only_warning(look(columns))
    spec = specs.parse({"dataset": "table.parquet", "target_column": "y"})
    rows, found = pl.DataFrame(columns).rows(), prepare(spec, Catalog([tmp_path]))
    trained = {rows[row] for row in found.rows["train"]}
    known = sum(rows[row] in trained for row in found.rows["validation"])
    assert 0 < known < len(found.rows["validation"]) == 20
    assert f"({known} of 20)" in message


@pytest.mark.parametrize(
    "options", [{"task": "regression"}, {"split": "time", "time_column": "t"}, {"split": "random"}]
)
def test_repeated_rows_are_found_in_every_split_of_rows(look, options):
    columns = repeated() | {"t": list(range(KNOWN * 5))}
    asked = {"feature_columns": ["a", "b"], **options}
    assert any("also stand among the training rows" in warning for warning in look(columns, **asked).warnings)


def test_rows_with_another_target_are_a_second_figure(look):
    columns = repeated(times=2)
    columns["y"] = [int(value) for value in np.random.default_rng(3).integers(0, 2, KNOWN * 2)]
    found = look(columns)
    assert found.problems == []
    assert len(found.warnings) == 2
    assert "have the features of training rows, but another target" in found.warnings[1]


def test_rows_of_few_possible_values_are_the_same_by_chance(look):
    random = np.random.default_rng(0)
    columns = {name: random.integers(0, 3, 200).tolist() for name in "abc"} | {"y": random.integers(0, 2, 200).tolist()}
    assert look(columns).warnings == []


def test_rows_that_are_hardly_repeated_are_no_warning(look):
    random = np.random.default_rng(0)
    columns = {"a": random.normal(size=200).tolist(), "y": random.integers(0, 2, 200).tolist()}
    for name in columns:
        columns[name][100:102] = columns[name][:2]
    assert look(columns).warnings == []


def test_rows_are_compared_by_what_is_learned_from(look):
    """The same rows with a customer number each are the same rows to a model."""
    found = look(repeated() | {"id": [i * 7919 % 10_007 for i in range(KNOWN * 5)]})
    assert any("100% of the held-out rows" in warning for warning in found.warnings)


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_a_split_by_content_keeps_rows_with_the_same_features_together(look, tmp_path, task):
    columns = repeated()
    assert look(columns, split="group", task=task, test_split=0.1).warnings == []
    options = {"dataset": "table.parquet", "target_column": "y", "split": "group", "task": task, "test_split": 0.1}
    found = prepare(specs.parse(options), Catalog([tmp_path]))
    sides = [{columns["a"][row] for row in found.rows[side]} for side in ("train", "validation", "test")]
    assert sum(map(len, sides)) == len(set.union(*sides)) == KNOWN
    assert [len(found.rows[side]) for side in ("train", "validation", "test")] == [175, 50, 25]


def test_a_split_by_content_of_rows_that_are_all_the_same_is_refused(look):
    columns = {"a": [1.0] * 40, "b": ["u"] * 40, "y": [0, 1] * 20}
    found = look(columns, split="group")
    assert only_problem(found)[0] == "split"
    assert "the rows have only 1 different contents" in found.problems[0].message


def test_a_split_by_content_says_which_classes_only_held_out_rows_have(look):
    columns = {"a": [float(i // 4) for i in range(200)], "y": ["x", "y"] * 98 + ["z"] * 4}
    found = [look(columns, split="group", seed=seed) for seed in range(12)]
    lacking = [one for one in found if any("a 'y' that no training row has: 'z'" in w for w in one.warnings)]
    assert 0 < len(lacking) < 12
    assert all(one.problems == [] for one in found)


def test_windows_have_no_split_by_content():
    options = {"target_column": "y", "split": "group", "sequence_length": 3, "time_column": "t"}
    assert [problem.field for problem in specs.parse_leniently(options)[1]] == ["split"]


@pytest.mark.parametrize("order", ["shuffled", "appended"])
def test_repeated_rows_of_a_large_table_are_found_too(look, monkeypatch, order):
    for name in ("SMALL_ROWS", "MIN_HEAD", "COUNTED_BYTES"):
        monkeypatch.setattr(statistics, name, 40)
    columns = repeated()
    if order == "appended":
        columns = pl.concat([pl.DataFrame(columns).unique()] * 5).to_dict(as_series=False)
    assert "100% of the held-out rows (50 of 50)" in only_warning(look(columns))


def test_groups_are_numbered_by_their_first_rows_whatever_the_hashes_are():
    assert group_numbers(np.array([9, 4, 9, 1, 4], np.uint64)).tolist() == [0, 1, 0, 2, 1]
    assert group_numbers(np.array([2, 8, 2, 5, 8], np.uint64)).tolist() == [0, 1, 0, 2, 1]


def test_rows_that_stand_in_several_folds_are_a_warning(look):
    message = only_warning(look(repeated(), folds=5))
    assert message.startswith("100% of the held-out rows (50 of 50) also stand among the training rows")
    assert look(repeated(), folds=5, split="group").warnings == []
