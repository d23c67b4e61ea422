"""Batches begin at the same rows whether a table is in memory or streamed."""

import datetime as dt

import numpy as np
import polars as pl
import pytest

from epochd.core.errors import DataError, Problem
from epochd.data.tables import table
from epochd.data.tables.table import Table, add_row_offset, python_values, rows_in_batch


@pytest.fixture
def lazy(tmp_path):
    frame = pl.DataFrame({"a": range(250), "b": [str(row) for row in range(250)], "c": [1.0] * 250})
    frame.write_parquet(tmp_path / "t.parquet", row_group_size=37)
    return pl.scan_parquet(tmp_path / "t.parquet")


def test_a_table_is_read_into_memory_up_to_the_limit(lazy):
    assert Table.of(lazy, None).frame is not None
    assert Table.of(lazy, 250 * 3 * 4).frame is not None
    assert Table.of(lazy, 250 * 3 * 4 - 1).frame is None
    assert Table.of(lazy, 1).rows == 250


@pytest.mark.parametrize("limit", [None, 1])
def test_batches_are_equal_pieces_of_the_requested_columns(lazy, limit, monkeypatch):
    monkeypatch.setattr(table, "BATCH_ROWS", 100)
    found = list(Table.of(lazy, limit).batches(["b", "a", "b"]))
    assert [(first, frame.height, frame.columns) for first, frame in found] == [
        (0, 100, ["b", "a"]),
        (100, 100, ["b", "a"]),
        (200, 50, ["b", "a"]),
    ]
    assert pl.concat([frame for _, frame in found]).get_column("a").to_list() == list(range(250))


@pytest.mark.parametrize("rows", [249, 251])
def test_a_table_that_changes_while_it_is_streamed_is_reported(lazy, rows):
    with pytest.raises(DataError, match=f"had {rows} rows at first"):
        list(Table(lazy, None, rows).batches(["a"]))


@pytest.mark.parametrize("limit", [None, 1])
def test_results_of_readers_are_concatenated_over_batches(lazy, limit, monkeypatch):
    monkeypatch.setattr(table, "BATCH_ROWS", 100)
    lengths = "b", lambda series: series.str.len_chars().to_numpy()
    found = Table.of(lazy, limit).read({"lengths": lengths, "doubled": ("a", lambda series: series.to_numpy() * 2)})
    assert found["doubled"].tolist() == list(range(0, 500, 2))
    assert found["lengths"].tolist() == [len(str(row)) for row in range(250)]


def test_an_error_in_a_later_batch_names_the_row_at_which_its_row_numbers_start():
    for first, expected in ((0, "row 3 is odd"), (200, "row 3 is odd (rows counted from row 201 of the dataset on)")):
        with pytest.raises(DataError) as caught, add_row_offset(first):
            raise DataError([Problem("a", "row 3 is odd")])
        assert caught.value.problems[0].message == expected


def test_rows_in_a_batch():
    rows = np.array([0, 5, 9, 10, 30])
    assert rows[rows_in_batch(rows, 5, 5)].tolist() == [5, 9]
    assert rows[rows_in_batch(rows, 11, 19)].tolist() == []


def test_values_outside_of_pythons_calendar_are_text():
    days = pl.Series([2_932_896, 2_932_897, -719_162, -719_163, 2**31 - 1, 18_000, None], dtype=pl.Int32).cast(pl.Date)
    assert python_values(days) == [
        "9999-12-31",
        "10000-01-01",
        "0001-01-01",
        "0000-12-31",
        "5881580-07-11",
        dt.date(2019, 4, 14),
        None,
    ]
    moments = pl.Series([253_402_300_800_000, 2**62, 0], dtype=pl.Int64).cast(pl.Datetime("ms"))
    assert python_values(moments) == [
        "10000-01-01T00:00:00.000",
        str(np.datetime64(2**62, "ms")),
        dt.datetime(1970, 1, 1),
    ]
    assert python_values(pl.Series([2**62, 1500]).cast(pl.Duration("ms"))) == [2**62 / 1000, dt.timedelta(seconds=1.5)]
    nested = pl.DataFrame({"s": [{"d": [2_932_897, None]}, {"d": []}]}).cast({"s": pl.Struct({"d": pl.List(pl.Date)})})
    assert python_values(nested["s"]) == [{"d": ["10000-01-01", None]}, {"d": []}]


@pytest.mark.parametrize(
    "values",
    [
        pl.Series([1, None, 2**40]).cast(pl.Datetime("us", "Asia/Shanghai")),
        pl.Series([2**63 - 1, -(2**63) + 1]).cast(pl.Datetime("ns")),
        pl.Series([2**63 - 1, -(2**63) + 1]).cast(pl.Duration("us")),
        pl.Series([[1, 2], None, []], dtype=pl.List(pl.Int64)),
        pl.Series([[1.5, 2.5]], dtype=pl.Array(pl.Float64, 2)),
        pl.Series([{"a": 1, "b": ["x"]}]),
        pl.Series(["x", None]),
        pl.Series([dt.time(12, 30), None]),
        pl.Series([True, None]),
    ],
    ids=lambda values: str(values.dtype),
)
def test_all_other_values_are_those_of_polars(values):
    assert python_values(values) == values.to_list()
