"""The time and group columns as numbers that keep the order of times and distinguish groups."""

from collections.abc import Hashable

import numpy as np
import numpy.typing as npt
import polars as pl

from epochd.core.errors import DataError, Problem
from epochd.data.encoding import dates, values
from epochd.data.schema import Kind, kind_of
from epochd.data.splitting.split import Times


def time_keys(series: pl.Series) -> Times:
    """Numbers in the order of these times: int64 (n,), float64 for numbers that are not integers.

    Dates, times, both, durations and numbers are accepted; text must be ISO dates, and times with an offset to UTC are
    compared in UTC. Raise DataError (field ``time_column``) for a missing time or one that cannot be read.
    """
    series = readable(series)
    dtype = series.dtype
    if (dtype.is_integer() and dtype not in (pl.UInt64, pl.Int128)) or not dtype.is_numeric():
        found = series.to_physical().cast(pl.Int64)
    else:
        found = series.cast(pl.Float64).fill_nan(None)
    if found.has_nulls():
        row = (found.is_null().arg_max() or 0) + 1
        message = f"row {row} has no value of {series.name!r}, so its position in time is unknown"
        raise DataError([Problem("time_column", message, "fill it in, or leave the row out if its time is unknown")])
    return found.to_numpy()


def readable(series: pl.Series) -> pl.Series:
    """The column with text parsed, of a temporal or numeric type. Raise DataError (field ``time_column``)."""
    dtype = series.dtype
    try:
        if kind_of(dtype) is Kind.CATEGORY:
            series = dates.local(series, clock=False, zone="UTC")
        elif not (dtype.is_numeric() or dtype.is_temporal()):
            raise values.wrong_type(series, "times")
    except DataError as error:
        raise DataError([Problem("time_column", p.message, p.hint) for p in error.problems]) from None
    return series


class GroupNumbers:
    """Numbers groups 0, 1, … in the order of their first rows, over batches. Missing values are one group."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}

    def __call__(self, series: pl.Series) -> npt.NDArray[np.int32]:
        """The group number of each row, int32 (n,)."""
        if kind_of(series.dtype) is Kind.CATEGORY:
            series = series.cast(pl.String)
        series = series.to_physical() if series.dtype.is_temporal() else series
        found = series.unique(maintain_order=True)
        numbers = [self._numbers.setdefault(value, len(self._numbers)) for value in found.to_list()]
        return series.replace_strict(found, numbers, return_dtype=pl.Int32).to_numpy()
