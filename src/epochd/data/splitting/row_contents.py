"""Rows with the same content: found by a hash of their values, in the form that all formats have in common."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from epochd.core.arrays import IntArray
from epochd.data.schema import Kind, col, kind_of
from epochd.data.tables.table import Table


def row_hashes(schema: Mapping[str, pl.DataType], names: Sequence[str]) -> pl.Expr:
    """One number for each row, the same in all formats: numbers are rounded to float32."""
    return pl.struct(_plain(name, schema[name]) for name in names).hash()


def group_numbers(hashes: npt.NDArray[np.uint64]) -> IntArray:
    """Numbers 0, 1, … of the rows with the same hash, int64 (rows,), in the order of their first rows: they do not
    depend on the hash function."""
    _, first, places = np.unique(hashes, return_index=True, return_inverse=True)
    ranks = np.empty(len(first), np.int64)
    ranks[np.argsort(first)] = np.arange(len(first))
    return ranks[places]


def content_groups(table: Table, features: Sequence[str]) -> IntArray:
    """The group of each row in a split that keeps rows with the same features together, int64 (rows,)."""
    hashes = np.empty(table.rows, np.uint64)
    for first, frame in table.batches(features):
        found = frame.select(row_hashes(frame.schema, features).alias("row")).to_series()
        hashes[first : first + frame.height] = found.to_numpy()
    return group_numbers(hashes)


def _plain(name: str, dtype: pl.DataType) -> pl.Expr:
    """The column's values in a form that all formats have in common."""
    this, kind = col(name), kind_of(dtype)
    if kind in (Kind.NUMBER, Kind.BOOLEAN):
        return (this.dt.total_microseconds() if dtype == pl.Duration else this).cast(pl.Float32)
    if kind is Kind.LIST:
        return this.cast(pl.List(pl.Float32))
    return this.cast(pl.Datetime("us") if kind is Kind.DATE and dtype != pl.Time else pl.String)
