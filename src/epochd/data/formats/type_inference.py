"""What text is taken for: a missing value, a date, or what is expected of its column.

A file of text does not say what its columns are. Where another table does, such as the one that a model was trained
on, its kinds are expected of this one, too: in a column of text, ``01`` stays text even if all others are numbers.
"""

import re
from collections.abc import Mapping, Sequence

import polars as pl
import polars.selectors as cs

from epochd.data.formats.errors import TYPE_ERRORS
from epochd.data.schema import ALIKE, Kind, col, kind_of

MISSING = ["", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None"]
"""What stands for a missing value in text."""

LOOKED_AT = 1_000
"""Rows that are looked through for dates, and for words in the place of numbers."""

LARGEST_FIRST = re.compile(r"\s*(\d{4}[-/]|\d{1,2}:)")
"""Dates and times that begin with the year or the hour. 01/02/2020 can be read in two ways, so it stays text."""

PLAIN = {Kind.NUMBER, Kind.BOOLEAN, Kind.CATEGORY, Kind.DATE}
"""Kinds whose values can be written as text."""

Expected = Mapping[str, Kind]
"""The kinds of columns, by their names without spaces around them; others may be anything."""


def as_text(found: Mapping[str, pl.DataType], expected: Expected) -> list[str]:
    """Which columns are read as text, of the types that a file suggests: those of which texts are expected, and those
    that turn out to be of another kind than is expected. The caller, who knows what is expected, reads the text, or
    says which row is wrong. Lists have no text."""
    kinds = {name: (kind_of(dtype), expected.get(name.strip())) for name, dtype in found.items()}
    return [name for name, (kind, wanted) in kinds.items() if {kind, wanted} <= PLAIN and _is_text(kind, wanted)]


def texts(schema: Mapping[str, pl.DataType]) -> list[str]:
    return [name for name, dtype in schema.items() if dtype == pl.String]


def without_words(names: Sequence[str]) -> pl.Expr:
    """These columns of text, null for each word that means a missing value."""
    found = cs.by_name(names).as_expr()
    return pl.when(~found.is_in(MISSING)).then(found)


def dates(first: pl.DataFrame, names: Sequence[str]) -> dict[str, pl.DataType]:
    """Which of these columns of text are dates or times, by their first rows.

    Polars could look for dates while it guesses types, but takes microseconds for every value that is none.
    """
    first = first.select(cs.by_name(names)).with_columns(without_words(names))
    begin = {column.name: column.drop_nulls().head(1).to_list() for column in first}
    likely = [name for name, values in begin.items() if values and LARGEST_FIRST.match(values[0])]
    if not likely:
        return {}
    sample = first.select(cs.by_name(likely)).write_csv().encode()
    guessed = pl.scan_csv(sample, try_parse_dates=True, infer_schema_length=None).collect_schema()
    return {name: dtype for name, dtype in guessed.items() if dtype.is_temporal()}


def dated(table: pl.LazyFrame, but: Sequence[str] = (), *, checked: bool = False) -> pl.LazyFrame:
    """A table whose texts, but for these columns, are dates where the first rows suggest it; ``checked``: and where all
    rows are of that type."""
    names = [name for name in texts(table.collect_schema()) if name not in but]
    found = _dates_of(table, names) if names else {}
    if checked:
        found = {name: dtype for name, dtype in found.items() if holds(table.with_columns(_read({name: dtype})), name)}
    return table.with_columns(_read(found))


def holds(table: pl.LazyFrame, name: str) -> bool:
    """Whether every row of the column is of its type."""
    try:
        table.select(col(name).null_count()).collect(engine="streaming")
    except TYPE_ERRORS:
        return False
    return True


def _is_text(kind: Kind, wanted: Kind | None) -> bool:
    return wanted is Kind.CATEGORY or (kind is not wanted and {kind, wanted} != ALIKE)


def _dates_of(table: pl.LazyFrame, names: Sequence[str]) -> dict[str, pl.DataType]:
    """``dates`` of a table's first rows; none if they cannot be read, which reading all rows will report."""
    try:
        first = table.select(cs.by_name(names)).head(LOOKED_AT).collect()
    except TYPE_ERRORS:
        return {}
    return dates(first, names)


def _read(types: Mapping[str, pl.DataType]) -> list[pl.Expr]:
    """Texts as dates and times of these types."""
    return [without_words([name]).str.strptime(dtype, strict=True) for name, dtype in types.items()]  # type: ignore[arg-type]
