"""A validation dataset whose rows are trained on is told, whatever its format."""

import datetime

import polars as pl
import pytest
from tests.support.tables import ROWS, table

from epochd.core.specs import parse
from epochd.data.checks import validation_set
from epochd.data.checks.report import check_dataset
from epochd.data.tables.catalog import Catalog

DAYS = [datetime.date(2024, 1, 1) + datetime.timedelta(i) for i in range(ROWS)]
TABLE = pl.DataFrame(table(c=[i / 7 for i in range(ROWS)], d=DAYS, e=[True, False, None, True] * 10))


@pytest.fixture
def warnings(tmp_path):
    """Those for a training table as Parquet, and a second one as a file of this suffix."""

    def warnings(training, second, suffix="parquet"):
        training.write_parquet(tmp_path / "first.parquet")
        getattr(second, f"write_{suffix}")(tmp_path / f"second.{suffix}")
        options = {"dataset": "first.parquet", "target_column": "y", "validation_dataset": f"second.{suffix}"}
        found = check_dataset(parse(options), Catalog([tmp_path]))
        assert found.problems == []
        return [told for told in found.warnings if told.startswith("validation_dataset")]

    return warnings


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_known_rows_are_found_in_every_format(warnings, suffix):
    (told,) = warnings(TABLE, TABLE.sample(20, seed=1), suffix)
    assert "'second." in told
    assert "20 of its 20 rows are in the training data too, so its scores say nothing about new rows" in told
    small = TABLE.with_columns(pl.col("c").cast(pl.Float32), pl.col("y").cast(pl.Int8))
    assert warnings(small, TABLE, suffix) != []


def test_most_rows_suffice_and_fewer_are_none(warnings):
    changed = TABLE.with_columns(c=pl.when(pl.int_range(ROWS) < 4).then(99.5).otherwise("c"))
    assert "36 of its 40 rows" in warnings(TABLE, changed)[0]
    changed = TABLE.with_columns(c=pl.when(pl.int_range(ROWS) < 5).then(99.5).otherwise("c"))
    assert warnings(TABLE, changed) == []


def test_a_known_row_with_another_label_is_a_new_one(warnings):
    assert warnings(TABLE, TABLE.with_columns(y=1 - pl.col("y"))) == []


def test_rows_of_a_few_values_are_alike_by_chance(warnings):
    few = pl.DataFrame({"a": [i % 5 for i in range(60)], "y": [i // 2 % 2 for i in range(60)]})
    assert warnings(few, few.tail(20)) == []


def test_lists_are_compared_and_large_data_are_not(warnings, monkeypatch):
    lists = TABLE.with_columns(l=pl.concat_list("a", "c"))
    assert warnings(lists, lists.tail(20)) != []
    assert warnings(lists, lists.with_columns(l=pl.concat_list("c", "a"))) == []
    monkeypatch.setattr(validation_set, "MAX_CELLS", 200)
    assert warnings(TABLE, TABLE.tail(20)) == []
