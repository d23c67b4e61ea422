"""How a column's type decides what a table model makes of it.

Inspection and encoding must agree about this to the letter, so both ask here.
"""

from enum import Enum

import polars as pl
import polars.selectors as cs


class Kind(Enum):
    NUMBER = "number"
    """Integers, decimals, floats, booleans: standardised."""
    CATEGORY = "category"
    """Text, categoricals, enums: one column for each distinct value."""
    UNSUPPORTED = "unsupported"
    """Dates and times, lists, structs, binary."""


def kind_of(dtype: pl.DataType) -> Kind:
    """The kind of a column; one without any value (Polars' Null type) counts as a number."""
    if dtype.is_numeric() or dtype in (pl.Boolean, pl.Null):
        return Kind.NUMBER
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return Kind.CATEGORY
    return Kind.UNSUPPORTED


def way_out(dtype: pl.DataType) -> str:
    """What to do about a column of an unsupported type."""
    if dtype.is_temporal():
        return "turn it into numbers first, such as year, month and weekday, or days since a fixed date"
    if dtype.is_nested():
        return "spread it over several plain columns first"
    return "turn it into numbers or text first"


def column(name: str) -> pl.Expr:
    """The column of exactly this name (``pl.col`` would read ``*`` and ``^…$`` as patterns)."""
    return cs.by_name(name).as_expr()
