"""How a column's type decides what a table model makes of it.

Inspection and encoding must agree about this to the letter, so both ask here.
"""

from collections.abc import Mapping
from enum import Enum

import polars as pl
import polars.selectors as cs


class Kind(Enum):
    NUMBER = "number"
    """Integers, decimals, floats, durations (in seconds): scaled."""
    BOOLEAN = "boolean"
    """False and true: -1 and 1."""
    CATEGORY = "category"
    """Text, categoricals, enums: one column for each distinct value, or one column of codes to learn vectors for."""
    DATE = "date"
    """Dates, times, and both: calendar parts."""
    LIST = "list"
    """Lists and arrays of numbers: a channel of a sequence."""
    UNSUPPORTED = "unsupported"
    """Lists of anything else, structs, binary."""


ALIKE = {Kind.NUMBER, Kind.BOOLEAN}
"""Kinds that are read as each other."""


def kind_of(dtype: pl.DataType) -> Kind:
    """The kind of a column; one without any value (Polars' Null type) counts as a number."""
    if dtype.is_numeric() or dtype in (pl.Duration, pl.Null):
        return Kind.NUMBER
    if dtype == pl.Boolean:
        return Kind.BOOLEAN
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return Kind.CATEGORY
    if dtype in (pl.Date, pl.Datetime, pl.Time):
        return Kind.DATE
    return Kind.LIST if _is_sequence(dtype) else Kind.UNSUPPORTED


def kinds_of(schema: Mapping[str, pl.DataType]) -> dict[str, Kind]:
    """The kinds of a table's columns."""
    return {name: kind_of(dtype) for name, dtype in schema.items()}


def _is_sequence(dtype: pl.DataType) -> bool:
    """Whether each value is a plain list of numbers (or of nothing but missing ones)."""
    if not isinstance(dtype, pl.List | pl.Array) or (isinstance(dtype, pl.Array) and len(dtype.shape) > 1):
        return False
    inner: pl.DataType = dtype.inner  # type: ignore[assignment]
    return kind_of(inner) in (Kind.NUMBER, Kind.BOOLEAN)


def way_out(dtype: pl.DataType) -> str:
    """What to do about a column whose type cannot be used as asked."""
    if dtype.is_temporal():
        return "turn it into numbers first, such as year, month and weekday, or days since a fixed date"
    if dtype.is_nested():
        return "spread it over several plain columns first"
    return "turn it into numbers or text first"


def column(name: str) -> pl.Expr:
    """The column of exactly this name (``pl.col`` would read ``*`` and ``^…$`` as patterns)."""
    return cs.by_name(name).as_expr()
