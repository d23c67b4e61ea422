"""When rows happened and which belong together: the columns of time and group as plain numbers.

Splits and windows only compare them, so any number that keeps the order, or distinguishes groups, is enough.
"""

from collections.abc import Hashable

import numpy as np
import numpy.typing as npt
import polars as pl

from epochd.core.errors import DataError, Problem
from epochd.data.encoding import dates, values
from epochd.data.schema import Kind, kind_of
from epochd.data.splitting.split import Times


def moments(series: pl.Series) -> Times:
    """Numbers in the order of these times: int64 (n,), float64 for numbers that are not whole.

    Dates, times, both, durations and numbers are taken; text must be ISO dates, and what has an offset to UTC is
    ordered by UTC. Raise DataError (field ``time_column``) for a missing time or one that cannot be read.
    """
    try:
        found = _numbers(series)
    except DataError as error:
        raise DataError([Problem("time_column", p.message, p.hint) for p in error.problems]) from None
    if found.has_nulls():
        row = (found.is_null().arg_max() or 0) + 1
        message = f"row {row} has no value of {series.name!r}, so it has no place in the order of time"
        raise DataError([Problem("time_column", message, "fill it in, or remove the row")])
    return found.to_numpy()


def _numbers(series: pl.Series) -> pl.Series:
    """Int64 or Float64, null where missing."""
    dtype = series.dtype
    if kind_of(dtype) is Kind.CATEGORY:
        series = dates.local(series, clock=False, zone="UTC")
    elif not (dtype.is_numeric() or dtype.is_temporal()):
        raise values.wrong_type(series, "times")
    whole = dtype.is_integer() and dtype not in (pl.UInt64, pl.Int128)
    if whole or not dtype.is_numeric():
        return series.to_physical().cast(pl.Int64)
    return series.cast(pl.Float64).fill_nan(None)


class Groups:
    """Numbers groups 0, 1, … as they first come, over batches of rows. A missing group is one of its own."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}

    def __call__(self, series: pl.Series) -> npt.NDArray[np.int32]:
        """The group number of each row, int32 (n,)."""
        if kind_of(series.dtype) is Kind.CATEGORY:
            series = series.cast(pl.String)
        found = series.unique(maintain_order=True)
        numbers = [self._numbers.setdefault(value, len(self._numbers)) for value in found.to_list()]
        return series.replace_strict(found, numbers, return_dtype=pl.Int32).to_numpy()
