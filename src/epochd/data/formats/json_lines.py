"""NDJSON: a JSON object per line, a column per key.

Columns and types are those of all rows; of a large file they are those of the first rows, unless later ones disagree,
and a key that comes only later is left out. A list of numbers becomes a list column, and ISO dates become dates as they
do in CSV.
"""

import glob
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import polars as pl

from epochd.data.formats import text, type_inference
from epochd.data.formats.errors import Unreadable, in_short
from epochd.data.formats.type_inference import Expected

LARGE = 64 * 2**20
"""Bytes of a file whose rows are not all looked at for its columns, which takes about as long as reading it twice."""
PACKED = 10
"""How many times as large a compressed file may be once it is unpacked."""
FIRST_ROWS = 10_000
"""Rows of a large file that columns and types are first taken from."""

ONE_EACH = 'write one object per line, such as {"a": 1, "b": "x"}'


def scan(path: Path, expected: Expected) -> Iterator[pl.LazyFrame]:
    """The table with the columns and types of every row; of a large file, first with those of its first rows."""
    text.check(path)
    first = next((line for line in text.lines(path) if line.strip()), "")
    if first.startswith("["):
        raise Unreadable("line 1 is a JSON array, not an object", ONE_EACH)
    # Polars stumbles over a byte order mark; such a file is read into memory without it.
    source = text.without_mark(path) if text.has_mark(path) else glob.escape(str(path))
    if is_large(path):
        first_rows = _table(source, FIRST_ROWS, expected)
        # Polars reads whatever later lists hold as missing where the first ones are all empty.
        if pl.List(pl.Null) not in first_rows.collect_schema().dtypes():
            yield first_rows
    yield _table(source, None, expected)


def _table(source: str | bytes, rows: int | None, expected: Expected) -> pl.LazyFrame:
    """The table with the columns and types of so many rows (None: all)."""
    found = pl.scan_ndjson(source, infer_schema_length=rows)
    texts = type_inference.as_text(found.collect_schema(), expected)
    if texts:
        types = dict.fromkeys(texts, pl.String())
        found = pl.scan_ndjson(source, infer_schema_length=rows, schema_overrides=types)
    return type_inference.dated(found, texts, checked=rows is None)


def is_large(path: Path) -> bool:
    """Whether the columns are looked for in the first rows only."""
    return path.stat().st_size > LARGE // (PACKED if text.packing(path) else 1)


def unseen(path: Path) -> str:
    """Why a column may not be seen that is there; empty if all are."""
    return f"in an NDJSON file this large only keys of the first {FIRST_ROWS:,} rows are columns" * is_large(path)


def explain(path: Path, error: BaseException) -> Unreadable:
    """The first line that is no JSON object, or a column of two types; Polars' own words if there is neither."""
    seen: dict[str, tuple[str, int]] = {}
    for number, line in enumerate(islice(text.utf8_lines(path), text.LINES_READ), 1):
        row = _row(number, line) if line.strip() else {}
        for name, kind in ((name, _kind(value)) for name, value in row.items() if value is not None):
            known, where = seen.setdefault(name, (kind, number))
            if known != kind:
                reason = f"column {name!r} is {known} in line {where}, but {kind} in line {number}"
                return Unreadable(reason, "give all values of a column one type")
    return Unreadable(in_short(error), ONE_EACH)


def _row(number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line.rstrip(), parse_constant=_no_json)
    except json.JSONDecodeError as error:
        raise Unreadable(f"line {number} is not valid JSON: {error.msg} at character {error.colno}", ONE_EACH) from None
    except ValueError as error:
        raise Unreadable(f"line {number} has {error}, which JSON does not have", "write null instead") from None
    except RecursionError:
        raise Unreadable(f"line {number} is nested too deeply", ONE_EACH) from None
    if not isinstance(row, dict):
        raise Unreadable(f"line {number} is {_kind(row)}, not an object", ONE_EACH)
    return row


def _no_json(constant: str) -> NoReturn:
    raise ValueError(constant)


def _kind(value: Any) -> str:
    """What a value is; numbers and text are of one kind, because a column of both reads as text."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, list):
        first = next((item for item in value if item is not None), 0)
        return f"a list of {'lists' if isinstance(first, list) else 'objects' if isinstance(first, dict) else 'values'}"
    return "an object" if isinstance(value, dict) else "a single value"
