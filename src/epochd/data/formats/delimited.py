"""CSV and TSV: a header line, then a line per row.

Types are guessed from the first rows, and from all of them when later rows disagree. Most files leave cells empty where
a number is missing. To compare each cell with every word that may stand there takes as long as reading the numbers,
so it is done only in files that have such words.
"""

import csv
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path

import polars as pl

from epochd.data.formats import text, type_inference
from epochd.data.formats.errors import Unreadable, checked_names, in_short
from epochd.data.formats.type_inference import Expected

FIRST_ROWS = 10_000
"""Rows that types are first guessed from."""
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


def scan(path: Path, expected: Expected, separator: str) -> Iterator[pl.LazyFrame]:
    """The table, ISO dates as Date or Datetime: as the first rows suggest, then as every row does.

    The very first can be read only where no number, date or boolean is written as one of MISSING.
    """
    text.check(path)
    _check_header(path, separator)
    read = partial(pl.scan_csv, path, separator=separator, glob=False)
    careful = partial(read, null_values=type_inference.MISSING)
    first = read(infer_schema=False).head(type_inference.LOOKED_AT).collect()
    schema = careful(infer_schema_length=FIRST_ROWS).collect_schema()
    types = _settled({**schema, **type_inference.dates(first, type_inference.texts(schema))}, expected)
    if not _has_words(first, _settled(schema, expected)):
        yield read(schema=types).with_columns(type_inference.without_words(type_inference.texts(types)))
    yield careful(schema=types)
    schema = careful(infer_schema_length=None).collect_schema()
    dates = {
        name: dtype
        for name, dtype in type_inference.dates(first, type_inference.texts(schema)).items()
        if type_inference.holds(careful(schema={**schema, name: dtype}), name)
    }
    yield careful(schema=_settled({**schema, **dates}, expected))


def explain(path: Path, error: BaseException, separator: str) -> Unreadable:
    """The first line that is not as it should be; Polars' own words if there is none."""
    lines = islice(text.utf8_lines(path), text.LINES_READ)
    rows = csv.reader(lines, delimiter=separator, strict=True)
    width, begun = 0, 1
    try:
        for row in rows:
            width = width or len(row)
            if len(row) > width:
                reason = f"line {begun} has {len(row)} values, but the header names {width} columns"
                return Unreadable(reason, f"put quotes around values that have {SEPARATORS[separator]} in them")
            begun = rows.line_num + 1
    except csv.Error as found:
        return _bad_quotes(found, begun, rows.line_num)
    return Unreadable(in_short(error), "a header line, then one row per line with as many values, in UTF-8")


def _settled(types: Mapping[str, pl.DataType], expected: Expected) -> dict[str, pl.DataType]:
    """The types that columns are read with."""
    return {**types, **dict.fromkeys(type_inference.as_text(types, expected), pl.String())}


def _has_words(first: pl.DataFrame, schema: Mapping[str, pl.DataType]) -> bool:
    """Whether a column that is not text has a word for a missing value in these rows, which are all text."""
    return any(column.is_in(type_inference.MISSING).any() for column in first.drop(type_inference.texts(schema)))


def _check_header(path: Path, separator: str) -> None:
    """Raise Unreadable if the column names are no good, or if no row follows them."""
    lines = text.lines(path)
    try:
        names = next(row for row in csv.reader(lines, delimiter=separator, strict=True) if row)
    except csv.Error as error:
        raise _bad_header(error) from None
    bad = text.bad_byte("".join(names))
    if bad:
        raise Unreadable(f"the header line is not UTF-8 ({bad})", text.AS_UTF8)
    _check_separator(names, separator)
    if not any(line.strip("\r\n ") for line in lines):
        raise Unreadable("there is a header line, but no row below it", "add rows, one line each")
    checked_names(names)


def _check_separator(names: list[str], separator: str) -> None:
    other = next((other for other in SEPARATORS if other != separator and other in names[0]), None)
    if len(names) == 1 and other:
        reason = f"its only column is {names[0]!r}, so its values seem to be separated by {SEPARATORS[other]}"
        renamed = {",": "end its name in .csv", "\t": "end its name in .tsv"}.get(other, "save it as Parquet")
        raise Unreadable(reason, f"separate them by {SEPARATORS[separator]}, or {renamed}")


def _bad_header(error: csv.Error) -> Unreadable:
    if "new-line character" in str(error):
        return Unreadable("its lines end in CR alone", "end them in LF or in CR LF")
    return _bad_quotes(error, 1, 1)


def _bad_quotes(error: csv.Error, begun: int, line: int) -> Unreadable:
    """``begun`` is the line where the row begins, ``line`` the one where reading stopped."""
    if "unexpected end" in str(error) or "field limit" in str(error):
        return Unreadable(
            f"line {begun} opens a quote that is never closed", 'close it, and write "" for a quote in a value'
        )
    return Unreadable(f"line {line}: {error}", 'quote the whole value, and write "" for a quote in it')
