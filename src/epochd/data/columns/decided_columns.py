"""The columns of a table whose values are decided from their text: which ones, how they are read, and the table read.

Columns of text are decided in every format alike, and so are integers that may be dates such as 20241231.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import polars as pl
import polars.selectors as cs

from epochd.core.columns import ColumnOptions, ColumnType, ReadOptions
from epochd.data.columns import dates, detection
from epochd.data.columns.detection import Decision
from epochd.data.columns.reading import Reading
from epochd.data.schema import Kind, kind_of

BATCH_ROWS = 65_536
FIRST_ROWS = 1_000
"""Rows whose integers are looked at before a column of integers is searched for dates."""
DATE_INTEGERS = (dates.USUAL_YEARS[0] * 10_000 + 101, dates.USUAL_YEARS[1] * 10_000 + 101)
MONTH_INTEGERS = (dates.USUAL_YEARS[0] * 100, dates.USUAL_YEARS[1] * 100)
TYPES: dict[Kind, ColumnType] = {Kind.NUMBER: "number", Kind.BOOLEAN: "boolean", Kind.DATE: "date"}


def decide(table: pl.LazyFrame, options: ReadOptions) -> dict[str, Decision]:
    """How the columns of text of a table are read, and those of integers that are dates or months."""
    schema, declared = table.collect_schema(), options.columns
    texts = _texts(schema)
    others = [name for name, one in declared.items() if name in schema and one.reads_text and name not in texts]
    others = [name for name in others if _can_be_text(schema[name], declared[name])]
    numbers = [name for name in others if _are_numbers(declared[name])]
    others = [name for name in others if name not in numbers]
    integers = _date_like(table, [name for name in schema if schema[name].is_integer() and name not in others])
    categories = [name for name, dtype in schema.items() if kind_of(dtype) is Kind.CATEGORY and name not in texts]
    values = detection.counted(_frames(table, [*texts, *others, *integers, *categories]), declared)
    words = {name: missing for name in numbers if (missing := declared[name].missing)}
    found = {name: Decision(Reading("number", missing=tuple(missing))) for name, missing in words.items()}
    for name, of in values.items():
        known = declared.get(name, ColumnOptions())
        if name in categories and not (
            known.type or known.decimal or known.format or known.timezone or known.last_year
        ):
            known = ColumnOptions(type="category")  # their type says that they are no numbers
        decision = detection.decide(of, known, name, is_label=name in options.labels)
        if name not in integers or decision.reading.formats:
            found[name] = replace(decision, is_clean=of.is_clean)
    return found


def follow(
    table: pl.LazyFrame, readings: Mapping[str, Reading], expected: Mapping[str, Kind], *, check: bool
) -> dict[str, Decision]:
    """How the columns are read where ``readings`` are known. Other columns of text are decided where another kind than
    text is ``expected``. A column is left out, and stays as it is, if too many of its values are not of that kind, or,
    with ``check``, cannot be read in the known way."""
    schema = table.collect_schema()
    known = {name: readings[name] for name in schema if name in readings}
    texts = [name for name in _texts(schema) if name not in known]
    to_decide = {name: TYPES[expected[name]] for name in texts if expected.get(name) in TYPES}
    to_check = [name for name in known if check and known[name].read_as != "text"]
    options = {name: ColumnOptions(missing=_listed(known[name].missing)) for name in to_check}
    values = detection.counted(_frames(table, [*to_decide, *to_check]), options)
    found = {name: Decision(Reading()) for name in texts if name not in to_decide}
    found |= {name: Decision(reading) for name, reading in known.items() if name not in to_check}
    for name, of in values.items():
        if name in to_check:
            decision = detection.with_strays(of, known[name])
            is_kept = detection.are_few(decision, of)
        else:
            decision = detection.decide(of, ColumnOptions(), name, wanted=to_decide[name])
            is_kept = decision.reading.kind is expected[name]
        if is_kept:
            found[name] = decision
    return found


def _are_numbers(options: ColumnOptions) -> bool:
    """Whether numbers that are no text are just that by these options."""
    return options.type in (None, "number") and not options.format and not options.timezone


def _texts(schema: pl.Schema) -> list[str]:
    return [name for name, dtype in schema.items() if dtype == pl.String]


def _listed(words: tuple[str, ...] | None) -> list[str] | None:
    return None if words is None else list(words)


def read(table: pl.LazyFrame, decisions: Mapping[str, Decision]) -> pl.LazyFrame:
    """The table with its columns read; what does not fit becomes null."""
    schema = table.collect_schema()
    return table.with_columns(
        one.reading.expression(name, schema[name])
        for name, one in decisions.items()
        if not (one.is_clean and one.reading.read_as == "text" and kind_of(schema[name]) is Kind.CATEGORY)
    )


def _frames(table: pl.LazyFrame, names: list[str]) -> Iterator[pl.DataFrame]:
    """These columns as text, in batches of rows in order."""
    if names:
        chosen = table.select(cs.by_name(names).cast(pl.String))
        yield from chosen.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True, engine="streaming")


def _can_be_text(dtype: pl.DataType, declared: ColumnOptions) -> bool:
    """Whether values of this type are read as text because of what a client declares: numbers and truth values, and
    times that are durations."""
    return kind_of(dtype) in (Kind.NUMBER, Kind.BOOLEAN) or (dtype == pl.Time and declared.type == "duration")


def _date_like(table: pl.LazyFrame, names: list[str]) -> list[str]:
    """The columns of integers whose first values may all be dates such as 20241231, or months such as 202412."""
    if not names:
        return []
    first = table.select(cs.by_name(names)).head(FIRST_ROWS).collect()
    found = []
    for one in first:
        number = one.drop_nulls().cast(pl.Int128)
        month = number.cast(pl.Int64, strict=False) % 100
        are_months = bool(number.is_between(*MONTH_INTEGERS).all()) and bool(month.is_between(1, 12).all())
        if len(number) and (are_months or bool(number.is_between(*DATE_INTEGERS).all())):
            found.append(one.name)
    return found
