"""One column's values as float64 numbers, whatever plain type they come in, and what to say when that fails.

Rows in messages are counted from 1, in the frame that was given.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from epochd.core.errors import DataError, Problem
from epochd.data.encoding.labels import MAX_NUMBER, plain
from epochd.data.formats.type_inference import MISSING
from epochd.data.schema import Kind, kind_of, type_advice

Float64 = npt.NDArray[np.float64]

PER_SECOND = {"ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
"""How many of Polars' time units make a second."""
TOO_LARGE = "infinite or too large a number"


def numbers(series: pl.Series) -> Float64:
    """Float64 (n,), NaN where missing: durations in seconds, booleans as 0 and 1; numbers written as text are read.

    Raise DataError for anything else. The array may share memory with the series and must not be written to.
    """
    if kind_of(series.dtype) not in (Kind.NUMBER, Kind.BOOLEAN, Kind.CATEGORY):
        raise wrong_type(series, "numbers")
    if isinstance(series.dtype, pl.Duration):
        return series.to_physical().cast(pl.Float64).to_numpy() / PER_SECOND[series.dtype.time_unit]
    series = plain(series)
    return (written(series) if series.dtype == pl.String else series).cast(pl.Float64).to_numpy()


def learnable(series: pl.Series) -> Float64:
    """``numbers`` to fit on; raise DataError also for those whose deviation float64 cannot hold."""
    found = numbers(series)
    if (row := huge(found)) is not None:
        raise bad_value(series, row, TOO_LARGE)
    return found


def huge(found: Float64) -> int | None:
    """Where the first number is that is infinite or larger than MAX_NUMBER."""
    high, low = np.fmax.reduce(found, initial=0.0), np.fmin.reduce(found, initial=0.0)
    return int(np.argmax(np.abs(found) > MAX_NUMBER)) if max(high, -low) > MAX_NUMBER else None


def written(series: pl.Series) -> pl.Series:
    """Numbers from text; raise DataError for the first that is none."""
    present = present_text(series)
    found = present.cast(pl.Float64, strict=False)
    bad = found.is_null() & present.is_not_null()
    if bad.any():
        raise bad_value(series, bad.arg_max() or 0, "not a number")
    return found


def present_text(series: pl.Series) -> pl.Series:
    """Text without space around it, null where it says that a value is missing."""
    stripped = series.str.strip_chars()
    return stripped.set(stripped.is_in(MISSING), None)


def bad_value(
    series: pl.Series, row: int, what: str, hint: str = "give a number, or leave the value out if it is unknown"
) -> DataError:
    """The error about one value; ``row`` is counted from 0, ``what`` continues "row 7 of column 'age' is"."""
    message = f"row {row + 1} of column {series.name!r} is {what}: {_shown(series[row])}"
    return DataError([Problem(series.name, message, hint)])


def wrong_type(series: pl.Series, wanted: str) -> DataError:
    """The error about a column that cannot be read as what the model wants."""
    message = f"column {series.name!r} has the type {series.dtype}, which cannot be read as {wanted}"
    return DataError([Problem(series.name, message, type_advice(series.dtype))])


def finite(value: Any) -> float:
    """A number of a stored state; raise ValueError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a finite number")
    return float(value)


def text(value: Any) -> str:
    """A text of a stored state; raise ValueError for anything else."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not text")
    return value


def truth(value: Any) -> bool:
    """True or false of a stored state; raise ValueError for anything else."""
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false")
    return value


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."
