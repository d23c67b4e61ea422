"""Columns that must stay text although their values look like numbers.

Where types are known from another table, such as the one that a model was trained on, this table is expected to have
the same kinds: in a column of text, ``01`` stays text even if all other values are numbers. An integer written with a
leading zero is a code, not a number, and ``1.234`` may be a thousand or one and a bit.
"""

from collections.abc import Mapping, Sequence

import polars as pl
import polars.selectors as cs

from epochd.core.names import trimmed
from epochd.data.schema import INTERCHANGEABLE, Kind, col, kind_of

FIRST_ROWS = 1_000
"""Rows whose floats are looked at as text."""
SCALAR_KINDS = {Kind.NUMBER, Kind.BOOLEAN, Kind.CATEGORY, Kind.DATE}
"""Kinds whose values can be written as text."""
Expected = Mapping[str, Kind]
"""The expected kinds of columns, by their cleaned names; other columns may be of any kind."""


def columns_as_text(found: Mapping[str, pl.DataType], expected: Expected) -> list[str]:
    """The columns to read as text, given the inferred types: those of another kind than the expected one, and those
    expected to be text. The caller parses the text or names the invalid row. Lists cannot be read as text."""
    kinds = {name: (kind_of(dtype), expected.get(trimmed(name))) for name, dtype in found.items()}
    return [
        name
        for name, (kind, wanted) in kinds.items()
        if {kind, wanted} <= SCALAR_KINDS
        and (wanted is Kind.CATEGORY or (kind is not wanted and {kind, wanted} != INTERCHANGEABLE))
    ]


def with_ambiguous_points(texts: pl.LazyFrame, names: Sequence[str]) -> list[str]:
    """Those of these columns of floats whose points may separate thousands, as in ``1.234``, by their first rows: they
    are decided from all their values as text. ``texts`` is the table read as text."""
    if not names:
        return []
    first = texts.select(cs.by_name(names)).head(FIRST_ROWS).collect(engine="streaming")
    clear = pl.all().str.contains(".", literal=True) & ~pl.all().str.contains(r"^\s*[-+]?[1-9]\d{0,2}\.\d{3}\s*$")
    return [name for name, is_clear in zip(names, first.select(clear.any()).row(0), strict=True) if not is_clear]


def with_leading_zeros(texts: pl.LazyFrame, names: Sequence[str]) -> list[str]:
    """Those of these columns that have an integer with a leading zero; ``texts`` is the table read as text."""
    if not names:
        return []
    found = texts.select(col(name).str.contains(r"^\s*[-+]?0\d+\s*$").any() for name in names)
    row = found.collect(engine="streaming")
    return [name for name in names if row.get_column(name).item()]
