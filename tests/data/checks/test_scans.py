"""A table is read at most twice to check a config, and once more where a message quotes a row."""

import gzip
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from polars.io.plugins import register_io_source

from epochd.core import specs
from epochd.data.checks import report, statistics, validation_set
from epochd.data.checks.report import check_dataset, check_table
from epochd.data.tables.catalog import Catalog

ROWS = 3_000
RANDOM = np.random.default_rng(5)
TABLE = pl.DataFrame(
    {
        "number": RANDOM.normal(size=ROWS),
        "word": [f"word {i % 40}" for i in range(ROWS)],
        "user": [f"user {i % 700}" for i in range(ROWS)],
        "gap": [None] * (ROWS - 1) + [1.0],
        "series": [i % 3 for i in range(ROWS)],
        "day": [datetime(2020, 1, 1) + timedelta(hours=i) for i in range(ROWS)],
        "y": [i // 2 % 2 for i in range(ROWS)],
    }
)
FEATURES = {"feature_columns": ["number", "word", "user", "gap"], "target_column": "y"}


class CountingSource:
    """A table that counts how often it is opened for all of its rows, and how often for the first ones."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame
        self.whole = self.beginnings = 0

    def scan(self) -> pl.LazyFrame:
        return register_io_source(self._read, schema=self.frame.schema, is_pure=True)

    def _read(self, columns, predicate, rows, batch_rows):
        self.whole += rows is None
        self.beginnings += rows is not None
        found = self.frame if rows is None else self.frame.head(rows)
        found = found.select(columns) if columns is not None else found
        found = found.filter(predicate) if predicate is not None else found
        yield from found.iter_slices(batch_rows or 1_000)


@pytest.fixture(autouse=True)
def _streamed(monkeypatch):
    monkeypatch.setattr(statistics, "MIN_HEAD", 50)
    monkeypatch.setattr(statistics, "SMALL_ROWS", 500)
    monkeypatch.setattr(statistics, "COUNTED_BYTES", 0)


def checked(frame, tmp_path, file="table.parquet", **options):
    """The report on a frame, as if it were read from this file, and the source that counted."""
    source = CountingSource(frame)
    frame.head(20).write_parquet(tmp_path / "table.parquet")
    (tmp_path / "table.csv").write_text("a\n1\n")
    (tmp_path / "packed.csv").write_bytes(gzip.compress(b"a\n1\n"))
    spec = specs.parse({"dataset": file} | FEATURES | options)
    found = check_table(source.scan(), frame.schema, spec, Catalog([tmp_path]).open(file))[0]
    assert found.rows == frame.height
    return found, source


@pytest.mark.parametrize(
    ("options", "passes"),
    [
        ({"feature_columns": ["number", "word", "gap"]}, 1),
        ({}, 2),
        ({"split": "time", "time_column": "day"}, 2),
        ({"split": "group", "group_column": "series"}, 2),
        ({"split": "group"}, 2),
        ({"sequence_length": 5, "time_column": "day", "group_column": "series"}, 2),
        ({"validation_dataset": "other.parquet"}, 2),
    ],
    ids=["plain", "estimated texts", "time", "group", "content", "windows", "validation set"],
)
def test_a_good_table_is_read_at_most_twice(tmp_path, options, passes):
    found, source = checked(TABLE, tmp_path, **options)
    assert found.problems == []
    assert (source.whole, source.beginnings) == (passes, 1)


@pytest.mark.parametrize(("file", "passes"), [("table.csv", 1), ("packed.csv", 2), ("table.parquet", 2)])
def test_a_text_of_moderate_size_is_read_once_but_not_what_may_unpack_to_more(tmp_path, monkeypatch, file, passes):
    monkeypatch.setattr(statistics, "COUNTED_BYTES", 1 << 20)
    found, source = checked(TABLE, tmp_path, file)
    assert found.problems == []
    assert (source.whole, source.beginnings) == (passes, 1)


def test_repeated_rows_are_searched_in_the_second_pass(tmp_path):
    found, source = checked(pl.concat([TABLE, TABLE]), tmp_path)
    assert any("also stand among the training rows" in warning for warning in found.warnings)
    assert (source.whole, source.beginnings) == (2, 1)


def test_leaks_are_confirmed_in_the_second_pass(tmp_path):
    leaky = TABLE.with_columns(copy=pl.col("y"), code=pl.col("y").replace_strict({0: "no", 1: "yes"}))
    found, source = checked(leaky, tmp_path, feature_columns=["number", "copy", "code"])
    assert len(found.problems) == 2
    assert source.whole == 2


def test_all_messages_that_quote_rows_cost_one_more_pass(tmp_path):
    last = pl.int_range(pl.len()) == ROWS - 1
    broken = TABLE.with_columns(
        number=pl.when(last).then(float("inf")).otherwise("number"),
        user=pl.concat_str(pl.lit("id "), pl.int_range(pl.len()).cast(pl.String)),
        y=pl.when(last).then(None).otherwise("y"),
    )
    found, source = checked(broken, tmp_path)
    messages = "\n".join([*(problem.message for problem in found.problems), *found.warnings])
    assert f"row {ROWS} is inf" in messages
    assert "such as 'id 0' in row 1" in messages
    assert f"the first is row {ROWS}" in messages
    assert source.whole <= 3


def test_a_validation_dataset_is_read_at_most_twice_too(tmp_path, monkeypatch):
    TABLE.write_parquet(tmp_path / "table.parquet")
    other = CountingSource(TABLE.with_columns(number=pl.col("number") + 1))
    other.frame.write_parquet(tmp_path / "other.parquet")
    whole = validation_set.collect
    monkeypatch.setattr(validation_set, "collect", lambda table, *columns: whole(other.scan(), *columns))
    spec = specs.parse({"dataset": "table.parquet", "validation_dataset": "other.parquet"} | FEATURES)
    assert check_dataset(spec, Catalog([tmp_path])).problems == []
    assert (other.whole, other.beginnings) == (2, 1)


def test_the_counting_source_counts():
    source = CountingSource(TABLE)
    source.scan().select(pl.len()).collect()
    source.scan().head(3).collect()
    assert (source.whole, source.beginnings) == (1, 1)
    assert report.MIN_ROWS < ROWS
