"""Everything that can be wrong with a dataset is a problem with a field, a message and a hint; all at once."""

import datetime
import json
import math

import polars as pl
from tests.support.tables import ROWS, only_problem, table

from epochd.core.specs import parse
from epochd.data.checks.report import check_dataset
from epochd.data.encoding.fit import EncoderFit
from epochd.data.tables.catalog import Catalog


def test_a_good_table_is_described(look):
    found = look(table())
    assert (found.problems, found.warnings) == ([], [])
    assert (found.dataset, found.rows, found.task, found.classes) == ("table.parquet", ROWS, "binary", [0, 1])
    assert [(c.name, c.dtype) for c in found.columns] == [("a", "Float64"), ("b", "String"), ("y", "Int64")]
    assert found.features == ["a", "b"]
    assert (found.width, found.shape) == (1 + 4, (5,))
    assert json.loads(json.dumps(found.as_json()))["columns"][0] == {"name": "a", "dtype": "Float64", "notation": ""}


def test_the_default_dataset_is_used_with_a_warning():
    found = check_dataset(parse({"target_column": "target"}), Catalog())
    assert found.dataset == "sample"
    assert found.problems == []
    assert "no dataset was given, so the server's default 'sample' is used" in found.warnings[0]


def test_a_missing_dataset_is_a_problem_and_no_exception(tmp_path):
    found = check_dataset(parse({"dataset": "irsi", "target_column": "y"}), Catalog([tmp_path]))
    assert only_problem(found) == ("dataset", "there is no dataset 'irsi'")


def test_an_unreadable_file_is_a_problem_and_no_exception(tmp_path):
    (tmp_path / "t.csv").write_text("a,y\n1,2,3\n")
    found = check_dataset(parse({"dataset": "t.csv", "target_column": "y"}), Catalog([tmp_path]))
    field, message = only_problem(found)
    assert field == "dataset"
    assert "line 2 has 3 values" in message


def test_a_table_of_few_rows_is_a_problem(look):
    few = {"a": [1.0, 2.0] * 3, "y": [0, 1] * 3}
    assert only_problem(look(few, batch_size=1)) == ("dataset", "the dataset has only 6 rows")
    none = {"a": pl.Series([], dtype=pl.Float64), "y": pl.Series([], dtype=pl.Int64)}
    assert only_problem(look(none)) == ("dataset", "the dataset has only 0 rows")


def test_a_batch_larger_than_the_training_rows_is_a_warning(look):
    found = look(table(), batch_size=33)
    assert found.problems == []
    assert found.warnings == ["batch_size 33 is more than the 32 training rows: each epoch is one step"]
    assert look(table(), batch_size=32).warnings == []


def test_all_problems_come_at_once(look):
    found = look(
        table(a=[math.inf] * ROWS, b=[[1]] * ROWS, y=[None, 1.5, 2.5, 3.5] * 10),
        feature_columns=["a", "b", "c"],
    )
    fields = sorted(problem.field for problem in found.problems)
    assert fields == ["feature_columns", "feature_columns", "target_column"]


def test_the_expected_shape_follows_the_kinds_of_columns(look):
    days = [datetime.date(2024, 1, 1) + datetime.timedelta(i) for i in range(ROWS)]
    columns = table(a=[None, *range(1, ROWS)], c=days, d=[True, None, False, False] * 10)
    assert look(columns).shape == (2 + 4 + 5 + 2,)
    assert look(columns, time_column="c", sequence_length=5).shape == (5, 2 + 4 + 2)


def test_the_expected_shape_has_a_channel_for_each_list_and_for_the_mask(look):
    lists = [[float(i)] * (2 + i % 3) for i in range(ROWS)]
    found = look(table(c=lists), model_type="lstm")
    assert (found.shape, found.masked, found.problems) == ((4, 1 + 4 + 1 + 1), True, [])


def test_many_categories_become_codes_where_the_network_can_learn_vectors(look):
    columns = table(b=[f"t{i % 20}" for i in range(ROWS)])
    found = look(columns, embedding_threshold=10)
    assert (found.shape, found.embedded) == ((2,), ((1, 21),))
    assert look(columns, embedding_threshold=10, model_type="cnn").shape == (1 + 21,)


def test_the_expectation_is_that_of_the_encoder(look, tmp_path):
    spec = parse({"dataset": "table.parquet", "target_column": "y", "embedding_threshold": 10, "validation_split": 0})
    columns = table(c=[f"t{i % 20}" for i in range(ROWS)], d=[None, True] * 20)
    found = look(columns, embedding_threshold=10)
    frame = pl.DataFrame(columns)
    fit = EncoderFit(spec, frame.schema, found.features, "binary", [0, 1], ROWS)
    fit.partial_fit(frame)
    encoder = fit.finalize()
    assert (found.shape, found.embedded, found.masked) == (encoder.shape, encoder.embedded, encoder.masked)


def test_a_large_table_gets_the_same_verdict_as_a_small_one(look, monkeypatch):
    words = [*map(str, [*range(10), *range(10), *range(10)]), "?", *["x"] * (ROWS - 31)]
    columns = table(a=[*[0.5] * (ROWS - 1), math.inf], c=[None] * ROWS, w=words, y=[0, 1, None, 1] * 10)
    small = look(columns)
    monkeypatch.setattr("epochd.data.checks.statistics.SMALL_ROWS", 10)
    monkeypatch.setattr("epochd.data.checks.statistics.MIN_HEAD", 10)
    assert look(columns) == small
    assert len(small.problems) == 3
    assert "30 of its values are numbers, but '?' (row 31) is not" in small.warnings[0]
