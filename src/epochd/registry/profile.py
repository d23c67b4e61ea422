"""The profile of a dataset: statistics of each column and the first rows, for people who look at it before training.

The table is read in batches, and a second time if it is large, because a histogram needs the range first. Memory per
column is bounded: the figures of small tables are exact, and some of large tables are estimates, marked as such.
"""

import math
from collections.abc import Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from epochd.core.datasets import Facts
from epochd.data.columns.detection import Decision
from epochd.data.schema import col
from epochd.data.tables.source import Source
from epochd.data.tables.table import UNITS_PER_DAY, batches, python_values
from epochd.registry.sketches import DistinctSketch, Floats, Sample

BATCH_ROWS = 131_072
FIRST_ROWS = 10
TOP_VALUES = 10
BINS = 20
MAX_WARNINGS = 100
MAX_TEXT, MAX_LIST = 200, 20
"""The characters of a text and the elements of a list that are shown."""
MAX_COUNTED, MAX_COUNTED_TOTAL = 50_000, 2_000_000
"""Distinct values that are counted exactly: of one column, and of all columns together."""
MAX_SAMPLED, MAX_SAMPLED_TOTAL = 100_000, 20_000_000
"""Values that are sampled for the quartiles, likewise."""
SEED = 20_240_101
MAX_TIMESTAMP = 2**63 - 1
"""The largest integer of a timestamp; converted to a float it is rounded up by one."""


def read_facts(source: Source) -> Facts:
    """Read the whole dataset once, which finds every value that cannot be read. Raises DataError. Blocking."""

    def schema_and_rows(table: pl.LazyFrame) -> tuple[list[dict[str, str]], int]:
        schema = [{"name": name, "type": str(dtype)} for name, dtype in table.collect_schema().items()]
        # Counting the missing values forces Polars to read every value; the count itself is not used.
        counts = table.select(rows=pl.len(), missing=pl.sum_horizontal(pl.all().null_count()))
        return schema, int(counts.collect(engine="streaming")["rows"][0])

    schema, rows = source.apply(schema_and_rows)
    return Facts(rows, source.size_bytes(), schema, source.fingerprint())


def profile(source: Source) -> dict[str, Any]:
    """``columns``, the profile of each column with the notation of its text, ``first_rows``, ``warnings`` about how
    columns are read, and ``notes``, what was detected when the file was read, as plain JSON. Raises DataError.
    Blocking."""
    with np.errstate(over="ignore", invalid="ignore"):  # figures that overflow a float are shown as null
        return source.apply_decided(_profiled) | {"notes": source.notes()}


def _profiled(table: pl.LazyFrame, decisions: Mapping[str, Decision]) -> dict[str, Any]:
    schema = table.collect_schema()
    columns = [_column_profile(name, dtype, len(schema)) for name, dtype in schema.items()]
    random = np.random.Generator(np.random.PCG64(SEED))
    first: list[dict[str, Any]] | None = None
    for _, frame in batches(table, BATCH_ROWS):
        if first is None:
            shown = [[plain(value) for value in python_values(column)] for column in frame.head(FIRST_ROWS)]
            first = [dict(zip(frame.columns, row, strict=True)) for row in zip(*shown, strict=True)]
        keys = random.random(frame.height)
        for column in columns:
            column.add(frame[column.name], keys)
    sampled = [column for column in columns if isinstance(column, NumberProfile) and not column.sample.is_whole]
    if sampled:
        for _, frame in batches(table.select(col(column.name) for column in sampled), BATCH_ROWS):
            for column in sampled:
                column.add_to_histogram(frame[column.name])
    notations = {name: one.reading.describe() or None for name, one in decisions.items()}
    return {
        "columns": [column.as_json() | {"notation": notations.get(column.name)} for column in columns],
        "first_rows": first or [],
        "warnings": [warning for name, one in decisions.items() for warning in one.warnings(name)][:MAX_WARNINGS],
    }


def _column_profile(name: str, dtype: pl.DataType, columns: int) -> "ColumnProfile":
    if dtype.is_numeric() or dtype.is_temporal() or dtype == pl.Null:
        return NumberProfile(name, dtype, columns)
    if dtype in (pl.String, pl.Categorical, pl.Enum, pl.Boolean):
        return CountedProfile(name, dtype, columns)
    return ColumnProfile(name, dtype)


class ColumnProfile:
    """A column for which only missing values are counted: lists, structs, binary."""

    kind = "other"

    def __init__(self, name: str, dtype: pl.DataType) -> None:
        self.name, self.dtype, self.missing = name, dtype, 0

    def add(self, values: pl.Series, keys: Floats) -> None:
        """Add one batch of n values; ``keys``, (n,), are random numbers in [0, 1) that choose the sample."""
        self.missing += values.null_count()

    def as_json(self) -> dict[str, Any]:
        kind = "list" if isinstance(self.dtype, pl.List | pl.Array) else self.kind
        return {"name": self.name, "type": str(self.dtype), "kind": kind, "missing": self.missing}


class CountedProfile(ColumnProfile):
    """A column of texts or booleans: the number of distinct values, and the most frequent ones. The table has
    ``columns`` columns."""

    def __init__(self, name: str, dtype: pl.DataType, columns: int) -> None:
        super().__init__(name, dtype)
        self.most_counted = max(100, min(MAX_COUNTED, MAX_COUNTED_TOTAL // columns))
        self.kind = "boolean" if dtype == pl.Boolean else "text"
        self.counts: pl.DataFrame | None = pl.DataFrame()
        self.sketch = DistinctSketch()

    def add(self, values: pl.Series, keys: Floats) -> None:
        super().add(values, keys)
        values = values.drop_nulls().alias("value")
        if values.dtype in (pl.Categorical, pl.Enum):
            values = values.cast(pl.String)
        if self.counts is None:
            self.sketch.add(values)
            return
        both = pl.concat([self.counts, values.value_counts(name="count")], how="diagonal")
        self.counts = both.group_by("value").agg(pl.col("count").sum())
        if self.counts.height > self.most_counted:
            self.sketch.add(self.counts["value"])
            self.counts = None

    def as_json(self) -> dict[str, Any]:
        top: list[dict[str, Any]] | None = None if self.counts is None else []
        if self.counts is not None and not self.counts.is_empty():
            most = self.counts.sort("count", "value", descending=[True, False]).head(TOP_VALUES)
            values = python_values(most["value"])
            top = [{"value": plain(value), "count": count} for value, count in zip(values, most["count"], strict=True)]
        distinct = self.sketch.distinct if self.counts is None else self.counts.height
        return super().as_json() | {"distinct": distinct, "distinct_is_estimate": self.counts is None, "top": top}


class NumberProfile(CountedProfile):
    """A column of numbers, dates or times: in addition range, mean, deviation, quartiles and histogram.

    Infinite values are counted and otherwise ignored.
    """

    def __init__(self, name: str, dtype: pl.DataType, columns: int) -> None:
        super().__init__(name, dtype, columns)
        self.most_sampled = max(1_000, min(MAX_SAMPLED, MAX_SAMPLED_TOTAL // columns))
        self.is_date = dtype.is_temporal() and dtype != pl.Duration
        self.kind = "date" if self.is_date else "number"
        self.sample = Sample()
        self.infinite = self.count = 0
        self.mean = self.squares = 0.0
        self.low: Any = None
        self.high: Any = None
        self.histogram: npt.NDArray[np.int64] | None = None

    def add(self, values: pl.Series, keys: Floats) -> None:
        values = values if self.is_date else _numbers(values)
        finite = _is_finite(values)
        super().add(values, keys)
        self.infinite += int((values.is_not_null() & ~finite).sum())
        values, keys = values.filter(finite), keys[finite.to_numpy()]
        if values.is_empty():
            return
        comparable = values.to_physical() if self.is_date else values  # Python's datetime has no nanoseconds
        low, high = comparable.min(), comparable.max()
        self.low = low if self.low is None else min(self.low, low)
        self.high = high if self.high is None else max(self.high, high)
        floats = _floats(values)
        self.sample.add(floats, keys, self.most_sampled)
        # The update of Chan, Golub and LeVeque (1979) keeps its precision if the mean is large.
        count, mean = len(floats), float(floats.mean())
        shift, total = mean - self.mean, self.count + count
        self.squares += float(((floats - mean) ** 2).sum()) + shift * shift * self.count * count / total
        self.mean += shift * count / total
        self.count = total

    def add_to_histogram(self, values: pl.Series) -> None:
        """Count one batch of a second pass, when the whole range is known."""
        if (edges := self._edges()) is not None:
            counts = np.histogram(_floats(values.filter(_is_finite(values))), edges)[0]
            self.histogram = counts if self.histogram is None else self.histogram + counts

    def as_json(self) -> dict[str, Any]:
        std = math.sqrt(self.squares / (self.count - 1)) if self.count > 1 and not self.is_date else None
        quartiles, histogram = self.sample.quartiles(), None
        if (edges := self._edges()) is not None:
            counts = np.histogram(self.sample.values, edges)[0] if self.histogram is None else self.histogram
            histogram = {"edges": [self._plain(edge) for edge in edges.tolist()], "counts": counts.tolist()}
        figures = super().as_json() | {
            "min": self._plain(self.low),
            "max": self._plain(self.high),
            "mean": self._plain(self.mean) if self.count else None,
            "std": plain(std),
            "quartiles": quartiles and [self._plain(value) for value in quartiles],
            "quartiles_are_estimates": not self.sample.is_whole,
            "histogram": histogram,
        }
        return figures if self.is_date else figures | {"infinite": self.infinite}

    def _edges(self) -> Floats | None:
        """The bin edges, including the last one; integers in a small range get one bin each. None without values, or if
        the range overflows. There are fewer bins where floats are too far apart, and one of width 0 for one value."""
        if not self.count:
            return None
        if self.dtype.is_integer() and self.high - self.low < BINS:
            edges = np.array([float(number) for number in range(self.low, self.high + 1 + (self.low < self.high))])
        else:
            as_float = self.dtype == pl.Duration or self.dtype.is_decimal()
            dtype = pl.Int64 if self.is_date else pl.Float64 if as_float else self.dtype
            limits = pl.Series([self.low, self.high], dtype=dtype)
            low, high = _floats(limits).tolist()
            if not math.isfinite(high - low):
                return None
            edges = np.linspace(low, high, BINS + 1).clip(low, high)
        edges = np.unique(edges)
        return edges if len(edges) > 1 else edges.repeat(2)

    def _plain(self, value: Any) -> Any:
        """A figure as JSON: a number, or a date or time in ISO 8601."""
        if not self.is_date or value is None:
            return plain(value)
        physical = pl.Series([min(round(value), MAX_TIMESTAMP)], dtype=pl.Int64)
        physical = physical.cast(pl.Int32) if self.dtype == pl.Date else physical
        return plain(python_values(physical.cast(self.dtype))[0])


def plain(value: Any) -> Any:
    """A value as JSON: dates and times in ISO 8601, durations in seconds, NaN and infinity null, long values cut."""
    match value:
        case None | bool() | int():
            return value
        case float() | Decimal():
            return float(value) if math.isfinite(value) else None
        case str():
            return value if len(value) <= MAX_TEXT else value[:MAX_TEXT] + "…"
        case date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case bytes():
            return f"<{len(value)} bytes>"
        case list() | pl.Series():
            return [plain(item) for item in value[:MAX_LIST]] + (["…"] if len(value) > MAX_LIST else [])
        case dict():
            return {str(key): plain(item) for key, item in value.items()}
        case _:
            return plain(str(value))


def _is_finite(values: pl.Series) -> pl.Series:
    """Which values are neither missing, NaN nor infinite."""
    return values.is_finite().fill_null(False) if values.dtype.is_float() else values.is_not_null()


def _numbers(values: pl.Series) -> pl.Series:
    """Decimals and durations (in seconds) as floats, other numbers unchanged."""
    if isinstance(values.dtype, pl.Duration):
        return values.to_physical() / (UNITS_PER_DAY[values.dtype.time_unit] / 86_400)
    return values.cast(pl.Float64) if values.dtype == pl.Decimal else values


def _floats(values: pl.Series) -> Floats:
    """Values without missing ones as float64; dates and times as their physical integers."""
    numbers = values.to_physical() if values.dtype.is_temporal() and values.dtype != pl.Duration else _numbers(values)
    return numbers.cast(pl.Float64).to_numpy()
