"""The values of a column as float64 numbers, the errors of values that cannot be converted, and states of fitted parts.

Rows in messages are counted from 1, in the given frame.
"""

import math
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import polars as pl

from epochd.core.errors import DataError, Problem
from epochd.core.text import cut
from epochd.data.columns import words
from epochd.data.schema import Kind, kind_of, type_advice

Float64 = npt.NDArray[np.float64]

PER_SECOND = {"ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
"""Polars' time units per second."""
MAX_NUMBER = 1e100
"""Larger magnitudes have no variance in float64."""
TOO_LARGE = "infinite or too large"
NUMPY_TYPES = {
    *(pl.Float64, pl.Float32, pl.Int64, pl.Int32, pl.Int16, pl.Int8),
    *(pl.UInt64, pl.UInt32, pl.UInt16, pl.UInt8),
}
"""Types that NumPy has, too; they need no conversion by Polars, which takes longer than to predict a row."""


def plain(series: pl.Series) -> pl.Series:
    """The same values as one of Polars' plain types: text for categoricals, float for decimals."""
    if isinstance(series.dtype, pl.Categorical | pl.Enum):
        return series.cast(pl.String)
    return series.cast(pl.Float64) if isinstance(series.dtype, pl.Decimal) else series


def numbers(series: pl.Series) -> Float64:
    """Float64 (n,), NaN where missing: durations in seconds, booleans as 0 and 1, text parsed as numbers. Raise
    DataError for anything else. The array may share memory with the series and must not be written to."""
    if type(series.dtype) in NUMPY_TYPES:
        return series.to_numpy().astype(np.float64, copy=False)
    if kind_of(series.dtype) not in (Kind.NUMBER, Kind.BOOLEAN, Kind.CATEGORY):
        raise wrong_type(series, "numbers")
    if isinstance(series.dtype, pl.Duration):
        return series.to_physical().cast(pl.Float64).to_numpy() / PER_SECOND[series.dtype.time_unit]
    series = plain(series)
    return (parse_numbers(series) if series.dtype == pl.String else series).cast(pl.Float64).to_numpy()


def bounded_numbers(series: pl.Series) -> Float64:
    """``numbers``; raise DataError also for those that are infinite or larger than MAX_NUMBER."""
    found = numbers(series)
    if (row := first_too_large(found)) is not None:
        raise bad_value(series, row, TOO_LARGE)
    return found


def first_too_large(found: Float64) -> int | None:
    """The position of the first number that is infinite or larger than MAX_NUMBER; None if there is none."""
    high, low = np.fmax.reduce(found, initial=0.0), np.fmin.reduce(found, initial=0.0)
    return int(np.argmax(np.abs(found) > MAX_NUMBER)) if max(high, -low) > MAX_NUMBER else None


def parse_numbers(series: pl.Series) -> pl.Series:
    """Numbers parsed from text; raise DataError for the first value that is not a number."""
    present = stripped_text(series)
    found = present.cast(pl.Float64, strict=False)
    bad = found.is_null() & present.is_not_null()
    if bad.any():
        raise bad_value(series, bad.arg_max() or 0, "not a number")
    return found


def stripped_text(series: pl.Series) -> pl.Series:
    """Text without spaces around it, null for the words that mean a missing value."""
    return pl.select(words.cleaned(pl.lit(series))).to_series().alias(series.name)


def bad_value(
    series: pl.Series, row: int, what: str, hint: str = "give a number, or leave the value empty if it is unknown"
) -> DataError:
    """The error of one value; ``row`` is counted from 0, ``what`` completes "row 7 of column 'age' is"."""
    message = f"row {row + 1} of column {series.name!r} is {what}: {cut(repr(series[row]), 80)}"
    return DataError([Problem(series.name, message, hint)])


def wrong_type(series: pl.Series, wanted: str) -> DataError:
    """The error of a column that cannot be read as the ``wanted`` values."""
    message = f"column {series.name!r} has the type {series.dtype}, which cannot be read as {wanted}"
    return DataError([Problem(series.name, message, type_advice(series.dtype))])


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fitted column or scale, whose state is its kind and its fields."""

    kind: ClassVar[str]

    def as_json(self) -> dict[str, Any]:
        """The state as JSON types, in the order of the fields."""
        state: dict[str, Any] = {"kind": self.kind}
        for part in fields(self):
            value = getattr(self, part.name)
            state[part.name] = value.as_json() if isinstance(value, Fitted) else value
            if isinstance(value, tuple):
                state[part.name] = list(value)
        return state


def stored_number(value: Any) -> float:
    """A number in a stored state; raise ValueError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a finite number")
    return float(value)


def stored_text(value: Any) -> str:
    """Text in a stored state; raise ValueError for anything else."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not text")
    return value


def stored_bool(value: Any) -> bool:
    """A boolean in a stored state; raise ValueError for anything else."""
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false")
    return value
