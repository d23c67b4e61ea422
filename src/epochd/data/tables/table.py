"""The columns of a dataset that a training needs, as batches of rows, from memory or streamed from the file each time.

Batches begin at the same rows in both cases, so everything computed from them is the same, bit for bit.
"""

import datetime
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import polars.selectors as cs

from epochd.core.arrays import IntArray
from epochd.core.errors import DataError, Problem
from epochd.data.tables.pictures import PIXELS, Pictures

BATCH_ROWS = 65_536
"""Rows that are read, fitted on and encoded together."""

UNITS_PER_DAY = {"D": 1, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}
KNOWN_TIMES, KNOWN_DURATIONS = (-719_161, 2_932_895), (-999_999_998, 999_999_998)
"""Days from the epoch that Python's types can represent; one less at each end, for time zones."""

ColumnReader = Callable[[pl.Series], npt.NDArray[Any]]
"""Turns a column into an array with one number per row."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of ``rows`` rows. ``frame`` is the same table in memory, with the pixels of its ``pictures``; None if it
    is too large for that."""

    lazy: pl.LazyFrame
    frame: pl.DataFrame | None
    rows: int
    pictures: Pictures | None = None

    @classmethod
    def of(cls, lazy: pl.LazyFrame, limit: int | None, pictures: Pictures | None = None) -> "Table":
        """Read the table, unless its values take more than ``limit`` bytes as float32, and its pixels as bytes. Raise
        DataError for pictures that cannot be read."""
        if limit is not None:
            rows = int(lazy.select(pl.len()).collect(engine="streaming").item())
            if rows * (len(lazy.collect_schema()) * 4 + (pictures.values if pictures else 0)) > limit:
                return cls(lazy, None, rows, pictures)
        frame = lazy.collect()
        found = frame if pictures is None else _with_pixels(frame, pictures)
        return cls(frame.lazy(), found, frame.height, pictures)

    def batches(self, columns: Sequence[str]) -> Iterator[tuple[int, pl.DataFrame]]:
        """The number of the first row, and these columns of ``BATCH_ROWS`` rows (fewer in the last batch), in order.
        A batch of pictures has fewer rows, and their pixels. Raise DataError if the number of rows of a streamed table
        has changed, and for pictures that cannot be read."""
        names, pictures = list(dict.fromkeys(columns)), self.pictures
        if pictures is not None and pictures.column not in names:
            pictures = None
        size = BATCH_ROWS if pictures is None else min(BATCH_ROWS, pictures.batch_rows)
        if self.frame is not None:
            added = [pictures.column + PIXELS] if pictures is not None else []
            frame = self.frame.select(cs.by_name([*names, *added]))
            for first in range(0, frame.height, size):
                yield first, frame.slice(first, size)
            return
        end = 0
        for first, frame in batches(self.lazy.select(cs.by_name(names)), size):
            end = first + frame.height
            if end > self.rows:
                break
            yield first, frame if pictures is None else pictures.checked(frame, first)
        if end != self.rows:
            raise rows_changed(self.rows)

    def read(self, readers: Mapping[str, tuple[str, ColumnReader]]) -> dict[str, npt.NDArray[Any]]:
        """One array (rows,) for each reader, by its name: the results of the reader for the batches of its column."""
        found: dict[str, npt.NDArray[Any]] = {}
        for first, frame in self.batches([column for column, _ in readers.values()]):
            with add_row_offset(first):
                pieces = {name: reader(frame.get_column(column)) for name, (column, reader) in readers.items()}
            for name, piece in pieces.items():
                found.setdefault(name, np.empty(self.rows, piece.dtype))[first : first + len(piece)] = piece
        return found


def _with_pixels(frame: pl.DataFrame, pictures: Pictures) -> pl.DataFrame:
    parts = range(0, max(1, frame.height), pictures.batch_rows)
    return pl.concat([pictures.checked(frame.slice(first, pictures.batch_rows), first) for first in parts])


def rows_in_batch(rows: IntArray, first: int, height: int) -> slice:
    """The range of these sorted row numbers that lies in the ``height`` rows from ``first`` on."""
    return slice(*np.searchsorted(rows, [first, first + height]).tolist())


def select_rows(frame: pl.DataFrame, rows: IntArray) -> pl.DataFrame:
    """The rows with these sorted numbers, by a mask, which is several times as fast as looking up each row."""
    if len(rows) == frame.height:
        return frame
    marks = np.zeros(frame.height, np.bool_)
    marks[rows] = True
    return frame.filter(pl.Series(marks))


def rows_changed(rows: int) -> DataError:
    """The error of a dataset that no longer has ``rows`` rows."""
    message = f"the dataset had {rows} rows at first, but has a different number now"
    return DataError([Problem("dataset", message, "do not write to a dataset while it is read; start again")])


@contextmanager
def add_row_offset(first: int) -> Iterator[None]:
    """Add to each DataError raised inside from which row of the dataset its row numbers count, unless the first."""
    try:
        yield
    except DataError as error:
        if first == 0:
            raise
        suffix = f" (rows counted from row {first + 1} of the dataset on)"
        raise DataError([replace(problem, message=problem.message + suffix) for problem in error.problems]) from None


def batches(table: pl.LazyFrame, size: int = BATCH_ROWS) -> Iterator[tuple[int, pl.DataFrame]]:
    """The rows of the table in order: the number of the first row, and a frame of exactly ``size`` rows (fewer in the
    last). The boundaries do not depend on how the file is read, so that sums over frames are the same each time."""
    first, buffered = 0, pl.DataFrame()
    for frame in table.collect_batches(chunk_size=size, maintain_order=True, engine="streaming"):
        buffered = pl.concat([buffered, frame]) if buffered.height else frame
        while buffered.height >= size:
            yield first, buffered.head(size)
            first, buffered = first + size, buffered.slice(size)
    if buffered.height:
        yield first, buffered


def select(table: pl.LazyFrame, expressions: Iterable[pl.Expr]) -> dict[str, Any]:
    """The value of each aggregate expression, by its name; lists as series. One pass over the table."""
    found = list(expressions)
    row = table.select(found).collect(engine="streaming") if found else pl.DataFrame()
    return {one.name: one[0] if one.dtype.is_nested() else python_values(one)[0] for one in row}


def python_values(series: pl.Series) -> list[Any]:
    """The values as Python's; dates and times that Python does not know (it ends with the year 9999) as text,
    such durations in seconds."""
    dtype = series.dtype
    if isinstance(dtype, pl.List | pl.Array):
        return [None if value is None else python_values(value) for value in series]
    if isinstance(dtype, pl.Struct):
        names = [field.name for field in dtype.fields]
        rows = zip(*(python_values(series.struct.field(name)) for name in names), strict=True)
        return [dict(zip(names, row, strict=True)) for row in rows]
    if not isinstance(dtype, pl.Date | pl.Datetime | pl.Duration):
        return series.to_list()
    unit = "D" if isinstance(dtype, pl.Date) else dtype.time_unit
    physical = series.to_physical()
    low, high = KNOWN_DURATIONS if isinstance(dtype, pl.Duration) else KNOWN_TIMES
    per_unit = UNITS_PER_DAY[unit]
    is_known = physical.is_between(max(low * per_unit, -(2**63)), min(high * per_unit, 2**63 - 1))
    found = series.zip_with(is_known.fill_null(False), pl.Series([None], dtype=dtype)).to_list()
    for place in (physical.is_not_null() & ~is_known).arg_true():
        number = physical[place]
        seconds = isinstance(dtype, pl.Duration)
        found[place] = number * 86_400 / per_unit if seconds else str(np.datetime64(number, unit))
    return found


def json_values(series: pl.Series) -> list[Any]:
    """The values as JSON types: dates and times in ISO 8601, numbers that are not finite as None."""
    return [_as_json(value) for value in python_values(series)]


def _as_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_json(element) for element in value]
    if isinstance(value, dict):
        return {name: _as_json(element) for name, element in value.items()}
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else str(value)
