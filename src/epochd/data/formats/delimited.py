"""CSV and TSV: a header line, then a line per row.

``layout`` tells how the file is written; one that Polars would not read as it is meant is copied first, in UTF-8. Types
are inferred from the first rows, and from all rows if later ones contradict them. At last, columns of which Polars
infers a type that it cannot parse are text, as those of integers in full-width, Arabic or other digits. A column in
which a value is no plain number, such as ``NA`` or ``1,234``, is text here; how it is read is decided from all its
values (``data/columns``).
"""

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import polars as pl
import polars.selectors as cs

from epochd.core.columns import ReadOptions
from epochd.data.formats import header, layout, text, type_inference
from epochd.data.formats.errors import FormatError, short_message
from epochd.data.formats.layout import Layout
from epochd.data.formats.type_inference import Expected
from epochd.data.schema import col

MISSING_WORDS = ["NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NAN", "null", "NULL", "None", "none", "\\N", "<NA>"]
"""The words for a missing value (``columns.words``) that numbers most often have beside them."""
FIRST_ROWS = 10_000
"""Rows from which types are inferred first."""
COPIED_ROWS = 10_000
"""Rows that are copied at once."""


def scan(path: Path, expected: Expected, options: ReadOptions, separator: str) -> Iterator[pl.LazyFrame]:
    """The table with types of the first rows, then with types of all rows, then without those that do not fit."""
    found = layout.examine(path, separator, options.encoding)
    names = header.check_names(found.names)
    with _readable(path, found) as source:
        skipped = found.skipped if found.is_regular else 0
        read = partial(pl.scan_csv, source, separator=found.separator, has_header=False, skip_lines=skipped, glob=False)
        unnamed = _without_values(partial(read, new_columns=names), names, found.names)
        for rows in (FIRST_ROWS, None):
            inferred, words = _inferred(partial(read, new_columns=names), rows, keeps_words=options.keeps_words)
            types = _final_types(inferred, expected)
            numbers = [name for name, dtype in types.items() if dtype.is_numeric() and name not in expected]
            texts = read(new_columns=names, infer_schema=False)
            if found.may_have_zeros:
                types |= dict.fromkeys(type_inference.with_leading_zeros(texts, numbers), pl.String())
            floats = [name for name in numbers if types[name].is_float()]
            types |= dict.fromkeys(type_inference.with_ambiguous_points(texts, floats), pl.String())
            table = read(schema=types, null_values=words)
            yield table.drop(unnamed) if unnamed else table
        texts = read(new_columns=names, infer_schema=False, null_values=words)
        if as_text := _unparsable(texts, types):
            table = read(schema={**types, **dict.fromkeys(as_text, pl.String())}, null_values=words)
            yield table.drop(unnamed) if unnamed else table


def _inferred(
    read: Callable[..., pl.LazyFrame], rows: int | None, *, keeps_words: bool
) -> tuple[pl.Schema, list[str] | None]:
    """The types of columns by their first ``rows`` (None: all), and the words that are null where that makes numbers of
    a column: otherwise every value would be compared with them, which takes as long as reading it."""
    types = read(infer_schema_length=rows).collect_schema()
    texts = [name for name, dtype in types.items() if dtype == pl.String]
    if not texts or keeps_words:
        return types, None
    found = read(infer_schema_length=rows, null_values=MISSING_WORDS).collect_schema()
    return (types, None) if all(found[name] == pl.String for name in texts) else (found, MISSING_WORDS)


def _unparsable(texts: pl.LazyFrame, types: Mapping[str, pl.DataType]) -> list[str]:
    """The columns with a value that is not of their type; ``texts`` is the table read as text."""
    typed = [name for name, dtype in types.items() if dtype != pl.String]
    if not typed:
        return []
    found = texts.select(col(name).cast(types[name], strict=False).count() < col(name).count() for name in typed)
    row = found.collect(engine="streaming")
    return [name for name in typed if row.get_column(name).item()]


def notes(path: Path, options: ReadOptions, name: str, separator: str) -> list[str]:
    """What is told about how the file of a dataset of this name is read."""
    return layout.examine(path, separator, options.encoding).notes(name)


def index_columns(path: Path, options: ReadOptions, separator: str) -> list[str]:
    """The columns that are an index by their name."""
    return header.index_columns(layout.examine(path, separator, options.encoding).names)


def explain(path: Path, error: BaseException) -> FormatError:
    return FormatError(short_message(error), "write a header line, then one row per line with as many values, in UTF-8")


def _readable(path: Path, found: Layout) -> AbstractContextManager[Path | bytes | BinaryIO]:
    """The file, or a copy of it that Polars can read: without what is above the rows if it is not regular."""
    if found.is_regular and found.text.is_utf8:
        return nullcontext(path)
    return text.copied(found.text.pieces() if found.is_regular else _copied(found))


def _copied(found: Layout) -> Iterator[bytes]:
    """The rows as text in UTF-8, with quotes where they are needed."""
    rows = found.rows()
    while some := list(islice(rows, COPIED_ROWS)):
        out = io.StringIO()
        csv.writer(out, delimiter=found.separator, lineterminator="\n").writerows(some)
        yield out.getvalue().encode()


def _without_values(named: Callable[..., pl.LazyFrame], names: list[str], given: list[str]) -> list[str]:
    """The columns that have no name and no value. Raises FormatError if one has a value."""
    unnamed = [name for name, written in zip(names, given, strict=True) if not written.strip()]
    if unnamed:
        text_of = cs.by_name(unnamed).as_expr().str.strip_chars()
        values = text_of.filter(text_of != "").first()
        found = named(infer_schema=False).select(values).collect(engine="streaming")
        columns = {str(names.index(name) + 1): found[name][0] for name in unnamed if found[name][0] is not None}
        if columns:
            raise header.no_name(columns)
    return unnamed


def _final_types(types: Mapping[str, pl.DataType], expected: Expected) -> dict[str, pl.DataType]:
    """The types to read columns with: text where the inferred kind is not the expected one."""
    return {**types, **dict.fromkeys(type_inference.columns_as_text(types, expected), pl.String())}
