"""Columns that must stay text although their values look like numbers.

Where types are known from another table, such as the one that a model was trained on, this table is expected to have
the same kinds: in a column of text, ``01`` stays text even if all other values are numbers. And an integer written with
a leading zero is a code, not a number.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from epochd.core.names import trimmed
from epochd.data.formats.text import compression
from epochd.data.schema import INTERCHANGEABLE, Kind, col, kind_of

SCALAR_KINDS = {Kind.NUMBER, Kind.BOOLEAN, Kind.CATEGORY, Kind.DATE}
"""Kinds whose values can be written as text."""
Expected = Mapping[str, Kind]
"""The expected kinds of columns, by their cleaned names; other columns may be of any kind."""
SEARCHED_BYTES = 1 << 24
"""Bytes of a file that are searched together."""


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


def may_have_leading_zeros(source: object, separator: str) -> bool:
    """Whether a digit follows a 0 at the beginning of a value anywhere in a text file, possibly after a sign; true for
    what is not a plain file, which is not searched."""
    if not isinstance(source, Path) or compression(source):
        return True
    before = np.zeros(256, np.bool_)
    before[[*b"\n\r\"' \t", ord(separator)]] = True
    rest = b"\n"
    with source.open("rb") as file:
        while block := file.read(SEARCHED_BYTES):
            data = np.frombuffer(rest + block, np.uint8)
            zeros = np.flatnonzero(data[2:-1] == ord("0")) + 2 if len(data) > 3 else np.empty(0, np.int64)
            zeros = zeros[(data[zeros + 1] >= ord("0")) & (data[zeros + 1] <= ord("9"))]
            signed = (data[zeros - 1] == ord("-")) | (data[zeros - 1] == ord("+"))
            if (before[data[zeros - 1]] | (signed & before[data[zeros - 2]])).any():
                return True
            rest = bytes(data[-4:])
    return False


def with_leading_zeros(texts: pl.LazyFrame, names: Sequence[str]) -> list[str]:
    """Those of these columns that have an integer with a leading zero; ``texts`` is the table read as text."""
    if not names:
        return []
    found = texts.select(col(name).str.contains(r"^\s*[-+]?0\d+\s*$").any() for name in names)
    row = found.collect(engine="streaming")
    return [name for name in names if row.get_column(name).item()]
