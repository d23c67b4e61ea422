"""What a person wants to see of a dataset before training on it: columns, their values, the first rows.

The table streams by in batches, twice if it is large (a histogram needs the extremes first). What is kept of a column
is bounded whatever the table's size: sums, a table of counts as long as it is small, beyond that a sketch of
the distinct values, and a sample for the quartiles. So small tables get exact figures and large ones say
which of theirs are estimates.
"""

import math
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from epochd.core.datasets import Facts
from epochd.data.schema import col
from epochd.data.tables.source import Source
from epochd.data.tables.table import batches

Floats = npt.NDArray[np.float64]

BATCH_ROWS = 131_072
FIRST_ROWS = 10
TOP_VALUES = 10
BINS = 20
LONGEST_TEXT, LONGEST_LIST = 200, 20
"""Characters of a text, values of a list, that are shown."""
COUNTED, COUNTED_IN_ALL = 50_000, 2_000_000
"""Distinct values that are counted one by one: of a column, and of all columns together."""
SAMPLED, SAMPLED_IN_ALL = 100_000, 20_000_000
"""Values that are sampled for the quartiles, likewise."""
SEED = 20_240_101
LAST_MOMENT = 2**63 - 1
"""The largest number that stands for a moment; as a float it would be one more."""


def facts(source: Source) -> Facts:
    """Read the dataset once, so that what cannot be read is found now. Raises DataError. Blocking."""
    schema, rows = source.apply(_read_through)
    return Facts(rows, size(source), schema, source.fingerprint())


def size(source: Source) -> int:
    """Bytes of the dataset's file, or of all files in its folder."""
    files = source.path.rglob("*") if source.path.is_dir() else [source.path]
    return sum(file.stat().st_size for file in files if file.is_file())


def profile(source: Source) -> dict[str, Any]:
    """``columns``, a profile of each, and ``first_rows``, as plain JSON. Raises DataError. Blocking."""
    with np.errstate(over="ignore", invalid="ignore"):  # figures that are too large for a float are left out
        return source.apply(_profiled)


def _read_through(table: pl.LazyFrame) -> tuple[list[dict[str, str]], int]:
    schema = [{"name": name, "type": str(dtype)} for name, dtype in table.collect_schema().items()]
    # The missing values are not wanted: counting them makes every value be read.
    every = table.select(rows=pl.len(), missing=pl.sum_horizontal(pl.all().null_count()))
    return schema, int(every.collect(engine="streaming")["rows"][0])


def _profiled(table: pl.LazyFrame) -> dict[str, Any]:
    columns = [_tally(name, dtype) for name, dtype in table.collect_schema().items()]
    room = Room(len(columns))
    draw = np.random.Generator(np.random.PCG64(SEED))
    first: list[dict[str, Any]] | None = None
    for _, frame in batches(table, BATCH_ROWS):
        first = plain_rows(frame.head(FIRST_ROWS)) if first is None else first
        keys = draw.random(frame.height)
        for column in columns:
            column.add(frame[column.name], keys, room)
    large = [column for column in columns if isinstance(column, Numbers) and not column.sample.is_whole]
    if large:
        for _, frame in batches(table.select(col(column.name) for column in large), BATCH_ROWS):
            for column in large:
                column.bin(frame[column.name])
    return {"columns": [column.as_json() for column in columns], "first_rows": first or []}


def _tally(name: str, dtype: pl.DataType) -> "Tally":
    if dtype.is_numeric() or dtype.is_temporal() or dtype == pl.Null:
        return Numbers(name, dtype)
    if dtype in (pl.String, pl.Categorical, pl.Enum, pl.Boolean):
        return Values(name, dtype)
    return Tally(name, dtype)


class Room:
    """How much may be kept of each of so many columns."""

    def __init__(self, columns: int) -> None:
        self.counted = max(100, min(COUNTED, COUNTED_IN_ALL // max(1, columns)))
        self.sampled = max(1_000, min(SAMPLED, SAMPLED_IN_ALL // max(1, columns)))


class Tally:
    """A column of which only the missing values are counted: lists, structs, binary."""

    kind = "other"

    def __init__(self, name: str, dtype: pl.DataType) -> None:
        self.name, self.dtype = name, dtype
        self.missing = 0

    def add(self, values: pl.Series, keys: Floats, room: Room) -> None:
        """Take in one batch. ``keys`` are the rows' random numbers."""
        self.missing += values.null_count()

    def as_json(self) -> dict[str, Any]:
        kind = "list" if isinstance(self.dtype, pl.List | pl.Array) else self.kind
        return {"name": self.name, "type": str(self.dtype), "kind": kind, "missing": self.missing}


class Values(Tally):
    """A column of texts or booleans: how many different ones, and which are frequent."""

    def __init__(self, name: str, dtype: pl.DataType) -> None:
        super().__init__(name, dtype)
        self.kind = "boolean" if dtype == pl.Boolean else "text"
        self.counts: pl.DataFrame | None = pl.DataFrame()
        self.sketch = Sketch()

    def add(self, values: pl.Series, keys: Floats, room: Room) -> None:
        super().add(values, keys, room)
        values = values.drop_nulls().alias("value")
        if values.dtype in (pl.Categorical, pl.Enum):
            values = values.cast(pl.String)
        if self.counts is None:
            self.sketch.add(values)
            return
        both = pl.concat([self.counts, values.value_counts(name="count")], how="diagonal")
        self.counts = both.group_by("value").agg(pl.col("count").sum())
        if self.counts.height > room.counted:
            self.sketch.add(self.counts["value"])
            self.counts = None

    def as_json(self) -> dict[str, Any]:
        return super().as_json() | {
            "distinct": self.sketch.distinct if self.counts is None else self.counts.height,
            "distinct_is_estimate": self.counts is None,
            "top": self._top(),
        }

    def _top(self) -> list[dict[str, Any]] | None:
        """The most frequent values; None if there are too many different ones to count."""
        if self.counts is None or self.counts.is_empty():
            return None if self.counts is None else []
        best = self.counts.sort("count", "value", descending=[True, False]).head(TOP_VALUES)
        return [{"value": plain(value), "count": count} for value, count in best.iter_rows()]


class Numbers(Values):
    """A column of numbers, dates or times: besides, its range, moments, quartiles and histogram.

    Infinite values are counted and otherwise left out.
    """

    def __init__(self, name: str, dtype: pl.DataType) -> None:
        super().__init__(name, dtype)
        self.is_date = dtype.is_temporal() and dtype != pl.Duration
        self.kind = "date" if self.is_date else "number"
        self.sample = Sample()
        self.infinite = self.number = 0
        self.mean = self.squares = 0.0
        self.low: Any = None
        self.high: Any = None
        self.binned: npt.NDArray[np.int64] | None = None

    def add(self, values: pl.Series, keys: Floats, room: Room) -> None:
        there = values.is_not_null()
        finite = _finite(values)
        super().add(values if self.is_date else _numbers(values), keys, room)
        self.infinite += int((there & ~finite).sum())
        values, keys = values.filter(finite), keys[finite.to_numpy()]
        if values.is_empty():
            return
        limits = values.to_physical() if self.is_date else values  # Python's moments have no nanoseconds
        least, most = limits.min(), limits.max()
        self.low = least if self.low is None else min(self.low, least)
        self.high = most if self.high is None else max(self.high, most)
        floats = _floats(values)
        self._add_moments(floats)
        self.sample.add(floats, keys, room.sampled)

    def _add_moments(self, values: Floats) -> None:
        """The update of Chan, Golub and LeVeque (1979), which loses no digits to large means."""
        number, mean = len(values), float(values.mean())
        shift, total = mean - self.mean, self.number + number
        self.squares += float(((values - mean) ** 2).sum()) + shift * shift * self.number * number / total
        self.mean += shift * number / total
        self.number = total

    def bin(self, values: pl.Series) -> None:
        """Take one batch into the histogram, once the whole range is known."""
        edges = self._edges()
        if edges is not None:
            counts = histogram(_floats(values.filter(_finite(values))), edges)
            self.binned = counts if self.binned is None else self.binned + counts

    def as_json(self) -> dict[str, Any]:
        std = math.sqrt(self.squares / (self.number - 1)) if self.number > 1 and not self.is_date else None
        quartiles = self.sample.quartiles()
        found = super().as_json() | {
            "min": self._shown(self.low),
            "max": self._shown(self.high),
            "mean": self._shown(self.mean) if self.number else None,
            "std": plain(std),
            "quartiles": quartiles and [self._shown(value) for value in quartiles],
            "quartiles_are_estimates": not self.sample.is_whole,
            "histogram": self._histogram(),
        }
        return found if self.is_date else found | {"infinite": self.infinite}

    def _histogram(self) -> dict[str, Any] | None:
        edges = self._edges()
        if edges is None:
            return None
        counts = histogram(self.sample.values, edges) if self.binned is None else self.binned
        return {"edges": [self._shown(edge) for edge in edges.tolist()], "counts": counts.tolist()}

    def _edges(self) -> Floats | None:
        """The borders of the bins, the last one included; whole numbers in a small range get a bin each."""
        if not self.number:
            return None
        if self.dtype.is_integer() and self.high - self.low < BINS:
            return whole_edges(self.low, self.high)
        limits = pl.Series([self.low, self.high], dtype=pl.Int64 if self.is_date else self.dtype)
        low, high = _floats(limits).tolist()
        return edges(low, high, BINS)

    def _shown(self, value: Any) -> Any:
        """A figure as JSON: a number, or a moment in ISO 8601."""
        if not self.is_date or value is None:
            return plain(value)
        whole = pl.Series([min(round(value), LAST_MOMENT)], dtype=pl.Int64)
        return plain(whole.cast(pl.Int32).cast(self.dtype)[0] if self.dtype == pl.Date else whole.cast(self.dtype)[0])


def plain_rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON objects."""
    return [{name: plain(value) for name, value in row.items()} for row in frame.iter_rows(named=True)]


def plain(value: Any) -> Any:
    """A value as plain JSON: moments in ISO 8601, durations in seconds, no NaN and no infinity, nothing long."""
    match value:
        case None | bool() | int():
            return value
        case float() | Decimal():
            return float(value) if math.isfinite(value) else None
        case str():
            return value if len(value) <= LONGEST_TEXT else value[:LONGEST_TEXT] + "…"
        case date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case bytes():
            return f"<{len(value)} bytes>"
        case list() | pl.Series():
            return [plain(item) for item in value[:LONGEST_LIST]] + (["…"] if len(value) > LONGEST_LIST else [])
        case dict():
            return {str(key): plain(item) for key, item in value.items()}
        case _:
            return plain(str(value))


def _finite(values: pl.Series) -> pl.Series:
    """Which values are there and neither NaN nor infinite."""
    if values.dtype.is_float():
        return values.is_finite().fill_null(False)
    return values.is_not_null()


def _numbers(values: pl.Series) -> pl.Series:
    """Decimals and durations (in seconds) as floats, integers and floats as they are."""
    if values.dtype == pl.Duration:
        return values.dt.total_microseconds() / 1e6
    return values.cast(pl.Float64) if values.dtype == pl.Decimal else values


def _floats(values: pl.Series) -> Floats:
    """Values that are there as floats; moments as the number that stands for them."""
    numbers = values.to_physical() if values.dtype.is_temporal() and values.dtype != pl.Duration else _numbers(values)
    return numbers.cast(pl.Float64).to_numpy()


SKETCHED = 4_096
"""Hashes that estimate the number of distinct values: the error is about 1/√SKETCHED, 1.6 %."""


HASH_SEED = 20_240_101


class Sample:
    """The values with the smallest random keys: all of them while there are few, else an even sample."""

    def __init__(self) -> None:
        self.values: Floats = np.empty(0)
        self.is_whole = True
        self._keys: Floats = np.empty(0)

    def add(self, values: Floats, keys: Floats, most: int) -> None:
        if not self.is_whole:
            chosen = keys < self._keys.max()
            values, keys = values[chosen], keys[chosen]
        self.values = np.concatenate([self.values, values])
        self._keys = np.concatenate([self._keys, keys])
        if len(self.values) > most:
            kept = np.argpartition(self._keys, most)[:most]
            self.values, self._keys, self.is_whole = self.values[kept], self._keys[kept], False

    def quartiles(self) -> list[float] | None:
        return np.quantile(self.values, [0.25, 0.5, 0.75]).tolist() if len(self.values) else None


class Sketch:
    """The number of distinct values from the smallest of their hashes (Bar-Yossef et al., 2002)."""

    def __init__(self) -> None:
        self._smallest = np.empty(0, np.uint64)

    def add(self, values: pl.Series) -> None:
        hashes = values.hash(HASH_SEED).to_numpy()
        if len(self._smallest) == SKETCHED:
            hashes = hashes[hashes < self._smallest[-1]]
        self._smallest = np.unique(np.concatenate([self._smallest, hashes]))[:SKETCHED]

    @property
    def distinct(self) -> int:
        if len(self._smallest) < SKETCHED:
            return len(self._smallest)
        return round((SKETCHED - 1) / (float(self._smallest[-1]) / 2**64))


def edges(low: float, high: float, bins: int) -> Floats | None:
    """The borders of so many bins of one width: fewer where there are fewer floats between ``low`` and ``high``, and
    one bin without a width where they are equal. None if ``high - low`` is too large for a float."""
    if not math.isfinite(high - low):
        return None
    return _borders(np.linspace(low, high, bins + 1).clip(low, high))


def whole_edges(low: int, high: int) -> Floats:
    """The borders of a bin for each whole number, or for each float that stands for some where floats are sparser."""
    return _borders(np.array([float(number) for number in range(low, high + 1 + (low < high))]))


def _borders(found: Floats) -> Floats:
    borders = np.unique(found)
    return borders if len(borders) > 1 else borders.repeat(2)


def histogram(values: Floats, borders: Floats) -> npt.NDArray[np.int64]:
    """How many values lie in each bin, its left border included, and in the last one the right border too."""
    return np.histogram(values, borders)[0]
