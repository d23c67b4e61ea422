"""Types of columns that are written as text: missing values, dates, and columns that must stay text.

Where types are known from another table, such as the one that a model was trained on, this table is expected to have
the same kinds: in a column of text, ``01`` stays text even if all other values are numbers.
"""

import re
from collections.abc import Mapping, Sequence

import polars as pl
import polars.selectors as cs

from epochd.core.names import trimmed
from epochd.data.formats.errors import TYPE_ERRORS
from epochd.data.schema import INTERCHANGEABLE, Kind, col, kind_of

NULL_VALUES = ["", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None"]
"""Text that means a missing value."""
SAMPLE_ROWS = 1_000
"""Rows that are searched for dates and for NULL_VALUES."""
UNAMBIGUOUS_DATE = re.compile(r"\s*(\d{4}[-/]|\d{1,2}:)")
"""Dates and times that begin with the year or the hour. 01/02/2020 is ambiguous, so it stays text."""
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


def text_columns(schema: Mapping[str, pl.DataType]) -> list[str]:
    return [name for name, dtype in schema.items() if dtype == pl.String]


def markers_as_null(names: Sequence[str]) -> pl.Expr:
    """These columns of text, with null for each of NULL_VALUES."""
    found = cs.by_name(names).as_expr()
    return pl.when(~found.is_in(NULL_VALUES)).then(found)


def detect_dates(first: pl.DataFrame, names: Sequence[str]) -> dict[str, pl.DataType]:
    """The types of those columns of text that are dates or times, inferred from the first rows.

    Polars could infer dates itself, but needs microseconds for every value that is not a date.
    """
    first = first.select(cs.by_name(names)).with_columns(markers_as_null(names))
    begin = {column.name: column.drop_nulls().head(1).to_list() for column in first}
    likely = [name for name, values in begin.items() if values and UNAMBIGUOUS_DATE.match(values[0])]
    if not likely:
        return {}
    sample = first.select(cs.by_name(likely)).write_csv().encode()
    inferred = pl.scan_csv(sample, try_parse_dates=True, infer_schema_length=None).collect_schema()
    return {name: dtype for name, dtype in inferred.items() if dtype.is_temporal()}


def with_dates(table: pl.LazyFrame, but: Sequence[str] = (), *, checked: bool = False) -> pl.LazyFrame:
    """The table with columns of text parsed as dates where the first rows are dates; if ``checked``, only where all
    rows are. Columns in ``but`` stay text."""
    names = [name for name in text_columns(table.collect_schema()) if name not in but]
    if not names:
        return table
    try:
        first = table.select(cs.by_name(names)).head(SAMPLE_ROWS).collect()
    except TYPE_ERRORS:  # reading all rows will report it
        return table
    found = detect_dates(first, names)
    if checked:
        found = {
            name: dtype
            for name, dtype in found.items()
            if all_rows_have_type(table.with_columns(_parse_dates({name: dtype})), name)
        }
    return table.with_columns(_parse_dates(found))


def all_rows_have_type(table: pl.LazyFrame, name: str) -> bool:
    """Whether every row of the column can be read as its type."""
    try:
        table.select(col(name).null_count()).collect(engine="streaming")
    except TYPE_ERRORS:
        return False
    return True


def _parse_dates(types: Mapping[str, pl.DataType]) -> list[pl.Expr]:
    """Expressions that parse columns of text as dates and times of these types."""
    return [markers_as_null([name]).str.strptime(dtype, strict=True) for name, dtype in types.items()]  # type: ignore[arg-type]
