"""NDJSON: a JSON object per line, a column per key.

Columns and types are inferred from all rows; in a large file from the first rows, unless later rows contradict them,
and a key that occurs only later is not a column. A list of numbers becomes a list column.
"""

import glob
import json
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import polars as pl

from epochd.core.columns import ReadOptions
from epochd.data.formats import text, type_inference
from epochd.data.formats.errors import FormatError, short_message
from epochd.data.formats.type_inference import Expected

LARGE_FILE = 64 * 2**20
"""Bytes from which on columns are inferred from the first rows only: inferring them from all takes about two reads."""
COMPRESSION_RATIO = 10
"""The assumed ratio of decompressed to compressed size."""
FIRST_ROWS = 10_000
"""Rows of a large file from which columns and types are inferred first."""
LINES_READ = 5_000_000
"""Lines that are searched for an invalid one: a few seconds."""
ONE_OBJECT_PER_LINE = 'write one object per line, such as {"a": 1, "b": "x"}'


def scan(path: Path, expected: Expected, options: ReadOptions) -> Iterator[pl.LazyFrame]:
    """The table with columns and types of all rows; for a large file, first with those of the first rows."""
    content = text.of(path, options.encoding)
    first = next((line for line in content.lines() if line.strip()), "")
    if first.startswith("["):
        raise FormatError("line 1 is a JSON array, not an object", ONE_OBJECT_PER_LINE)
    # Polars cannot parse a byte order mark.
    is_plain = content.is_utf8 and not content.mark
    with nullcontext(glob.escape(str(path))) if is_plain else text.copied(content.pieces()) as source:
        if schema_caveat(path):
            first_rows = _read_table(source, FIRST_ROWS, expected)
            # Where the first lists are all empty, Polars would read the elements of later ones as missing.
            if pl.List(pl.Null) not in first_rows.collect_schema().dtypes():
                yield first_rows
        yield _read_table(source, None, expected)


def notes(path: Path, options: ReadOptions, name: str) -> list[str]:
    """What is told about how the file of a dataset of this name is read."""
    return text.of(path, options.encoding).notes(name)


def _read_table(source: str | bytes | BinaryIO, rows: int | None, expected: Expected) -> pl.LazyFrame:
    """The table with columns and types of the first ``rows`` rows (None: all)."""
    found = pl.scan_ndjson(source, infer_schema_length=rows)
    if as_text := type_inference.columns_as_text(found.collect_schema(), expected):
        types = dict.fromkeys(as_text, pl.String())
        return pl.scan_ndjson(source, infer_schema_length=rows, schema_overrides=types)
    return found


def schema_caveat(path: Path) -> str:
    """Why the schema may lack columns; empty if it has all, as in files that are not large."""
    is_large = path.stat().st_size > LARGE_FILE // (COMPRESSION_RATIO if text.compression(path) else 1)
    return f"in an NDJSON file this large only keys of the first {FIRST_ROWS:,} rows are columns" if is_large else ""


def explain(path: Path, error: BaseException) -> FormatError:
    """Name the first line that is not a JSON object, or a column of two types; otherwise quote Polars."""
    seen: dict[str, tuple[str, int]] = {}
    content = text.of(path, None)
    for number, line in enumerate(islice(content.lines(), LINES_READ), 1):
        row = _row(number, line) if line.strip() else {}
        for name, kind in ((name, _kind(value)) for name, value in row.items() if value is not None):
            known, where = seen.setdefault(name, (kind, number))
            if known != kind:
                reason = f"column {name!r} is {known} in line {where}, but {kind} in line {number}"
                return FormatError(reason, "give all values of a column the same type")
    return FormatError(short_message(error), ONE_OBJECT_PER_LINE)


def _row(number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line.rstrip(), parse_constant=_reject_constant)
    except json.JSONDecodeError as error:
        reason = f"line {number} is not valid JSON: {error.msg} at character {error.colno}"
        raise FormatError(reason, ONE_OBJECT_PER_LINE) from None
    except ValueError as error:
        raise FormatError(f"line {number} has {error}, which is not a JSON value", "write null instead") from None
    except RecursionError:
        raise FormatError(f"line {number} is nested too deeply", ONE_OBJECT_PER_LINE) from None
    if not isinstance(row, dict):
        raise FormatError(f"line {number} is {_kind(row)}, not an object", ONE_OBJECT_PER_LINE)
    return row


def _reject_constant(constant: str) -> NoReturn:
    raise ValueError(constant)


def _kind(value: Any) -> str:
    """The kind of a value; numbers and text are one kind, because a column of both is read as text."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, list):
        first = next((item for item in value if item is not None), 0)
        return f"a list of {'lists' if isinstance(first, list) else 'objects' if isinstance(first, dict) else 'values'}"
    return "an object" if isinstance(value, dict) else "a single value"
