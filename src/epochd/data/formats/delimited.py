"""CSV and TSV: a header line, then a line per row.

Types are inferred from the first rows, and from all rows if later ones contradict them. A column in which a value is
no plain number, such as ``NA`` or ``1,234``, is text here; how it is read is decided from all its values
(``data/columns``).
"""

import csv
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import polars as pl

from epochd.core.columns import ReadOptions
from epochd.data.formats import text, type_inference
from epochd.data.formats.errors import FormatError, clean_column_names, short_message
from epochd.data.formats.type_inference import Expected

FIRST_ROWS = 10_000
"""Rows from which types are inferred first."""
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


def scan(path: Path, expected: Expected, options: ReadOptions, separator: str) -> Iterator[pl.LazyFrame]:
    """The table with types of the first rows, then with types of all rows."""
    text.check(path)
    _check_header(path, separator)
    read = partial(pl.scan_csv, path, separator=separator, glob=False)
    texts = read(infer_schema=False)
    zeros = not expected and type_inference.may_have_leading_zeros(path, separator)
    for rows in (FIRST_ROWS, None):
        types = _final_types(read(infer_schema_length=rows).collect_schema(), expected)
        if zeros:
            integers = [name for name, dtype in types.items() if dtype.is_numeric()]
            types |= dict.fromkeys(type_inference.with_leading_zeros(texts, integers), pl.String())
        yield read(schema=types)


def explain(path: Path, error: BaseException, separator: str) -> FormatError:
    """Name the first invalid line; quote Polars if there is none."""
    rows = csv.reader(text.utf8_lines(path), delimiter=separator, strict=True)
    width, start_line = 0, 1
    try:
        for row in rows:
            width = width or len(row)
            if len(row) > width:
                reason = f"line {start_line} has {len(row)} values, but the header names {width} columns"
                return FormatError(reason, f"put quotes around values that contain {SEPARATORS[separator]}")
            start_line = rows.line_num + 1
    except csv.Error as found:
        return _bad_quotes(found, start_line, rows.line_num)
    return FormatError(short_message(error), "write a header line, then one row per line with as many values, in UTF-8")


def _final_types(types: Mapping[str, pl.DataType], expected: Expected) -> dict[str, pl.DataType]:
    """The types to read columns with: text where the inferred kind is not the expected one."""
    return {**types, **dict.fromkeys(type_inference.columns_as_text(types, expected), pl.String())}


def _check_header(path: Path, separator: str) -> None:
    """Raise FormatError if the column names are invalid, or if no row follows them."""
    lines = text.lines(path)
    try:
        names = next(row for row in csv.reader(lines, delimiter=separator, strict=True) if row)
    except csv.Error as error:
        if "new-line character" in str(error):
            raise FormatError("its lines end in CR alone", "end lines in LF or CR LF") from None
        raise _bad_quotes(error, 1, 1) from None
    if bad := text.bad_byte("".join(names)):
        raise FormatError(f"the header line is not UTF-8 ({bad})", text.AS_UTF8)
    other = next((other for other in SEPARATORS if other != separator and other in names[0]), None)
    if len(names) == 1 and other:
        reason = f"its only column is {names[0]!r}, so the values seem to be separated by {SEPARATORS[other]}"
        renamed = {",": "end its name in .csv", "\t": "end its name in .tsv"}.get(other, "save it as Parquet")
        raise FormatError(reason, f"separate them by {SEPARATORS[separator]}, or {renamed}")
    if not any(line.strip("\r\n ") for line in lines):
        raise FormatError("there is a header line, but no row below it", "add rows, one line each")
    clean_column_names(names)


def _bad_quotes(error: csv.Error, start_line: int, line: int) -> FormatError:
    """``start_line`` is the first line of the row, ``line`` the line where reading stopped."""
    if "unexpected end" in str(error) or "field limit" in str(error):
        reason = f"line {start_line} opens a quote that is never closed"
        return FormatError(reason, 'close it, and write "" for a quote in a value')
    return FormatError(f"line {line}: {error}", 'quote the whole value, and write "" for a quote in it')
