"""The columns of a table whose values are decided from their text: which ones, how they are read, and the table read.

Columns of text are decided in every format alike, and so are integers that may be dates such as 20241231.
"""

from collections.abc import Iterator, Mapping

import polars as pl
import polars.selectors as cs

from epochd.core.columns import ColumnOptions, ColumnType
from epochd.data.columns import dates, detection
from epochd.data.columns.detection import Decision
from epochd.data.columns.reading import Reading
from epochd.data.schema import Kind, kind_of

BATCH_ROWS = 65_536
FIRST_ROWS = 1_000
"""Rows whose integers are looked at before a column of integers is searched for dates."""
DATE_INTEGERS = tuple(year * 10_000 + 101 for year in dates.COMPACT_YEARS)
TYPES: dict[Kind, ColumnType] = {Kind.NUMBER: "number", Kind.BOOLEAN: "boolean", Kind.DATE: "date"}


def decide(
    table: pl.LazyFrame,
    options: Mapping[str, ColumnOptions],
    readings: Mapping[str, Reading] | None = None,
    expected: Mapping[str, Kind] | None = None,
) -> dict[str, Decision]:
    """How the columns are read. With ``readings``, those of other columns of text are decided only where another kind
    than text is ``expected``; such a column is left out if its values are not of that kind."""
    schema, expected = table.collect_schema(), expected or {}
    texts = [name for name, dtype in schema.items() if kind_of(dtype) is Kind.CATEGORY]
    declared = [name for name, one in options.items() if name in schema and one.reads_text and name not in texts]
    declared = [name for name in declared if kind_of(schema[name]) in (Kind.NUMBER, Kind.BOOLEAN)]
    if readings is not None:
        found = {name: Decision(readings[name]) for name in schema if name in readings}
        open_columns = {n: TYPES[expected[n]] for n in texts if n not in found and expected.get(n) in TYPES}
        hints = {name: ColumnOptions(type=type_) for name, type_ in open_columns.items()}
        decided = detection.decide_all(_frames(table, list(hints)), hints, {})
        found |= {name: one for name, one in decided.items() if one.reading.kind is expected[name]}
        return found | {name: Decision(Reading()) for name in texts if name not in found and name not in hints}
    integers = _date_like(table, [name for name in schema if schema[name].is_integer() and name not in declared])
    found = detection.decide_all(_frames(table, [*texts, *declared, *integers]), options, {})
    return {name: one for name, one in found.items() if name not in integers or one.reading.formats}


def read(table: pl.LazyFrame, decisions: Mapping[str, Decision]) -> pl.LazyFrame:
    """The table with its columns read; what does not fit becomes null."""
    schema = table.collect_schema()
    return table.with_columns(one.reading.expression(name, schema[name]) for name, one in decisions.items())


def _frames(table: pl.LazyFrame, names: list[str]) -> Iterator[pl.DataFrame]:
    """These columns as text, in batches of rows in order."""
    if names:
        chosen = table.select(cs.by_name(names).cast(pl.String))
        yield from chosen.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True, engine="streaming")


def _date_like(table: pl.LazyFrame, names: list[str]) -> list[str]:
    """The columns of integers whose first values are all in the range of dates such as 20241231."""
    if not names:
        return []
    first = table.select(cs.by_name(names)).head(FIRST_ROWS).collect()
    low, high = DATE_INTEGERS
    return [one.name for one in first if one.count() and bool(one.drop_nulls().is_between(low, high).all())]
