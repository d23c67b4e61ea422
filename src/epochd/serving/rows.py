"""Rows in JSON as columns, and as a table whose types are those that a model was trained on.

Three forms are read: ``{"rows": [{…}, …]}``, a list of objects alone, and ``{"columns": {"a": […], …}}``. A key that a
row lacks and another has is a missing value.
"""

import json
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from pydantic_core import from_json

from epochd.core.columns import Encoding
from epochd.core.errors import InvalidRequest, Problem, TooLarge
from epochd.core.names import composed
from epochd.core.text import cut, shown
from epochd.data.formats import text
from epochd.data.formats.errors import MAX_COLUMNS, FormatError
from epochd.data.formats.type_inference import Expected
from epochd.data.schema import INTERCHANGEABLE, Kind
from epochd.data.tables.source import Source

Columns = dict[str, list[Any]]
FORMS = 'send {"rows": [{"column": value}]}, a list of such objects, or {"columns": {"column": [values]}}'
JSON_SUFFIX = ".json"
"""Of a file with a body in one of the forms above; the other formats are those of ``data.formats``."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Columns of equal length; ``count`` is that length."""

    columns: Columns
    count: int


def parse(body: bytes, most: int | None = None, encoding: Encoding | None = None) -> Rows:
    """The rows in a JSON body, in an ``encoding`` that is detected by default. Raises InvalidRequest for another form,
    TooLarge for more than ``most`` rows."""
    if encoding is not None or not body.isascii():
        try:
            body = text.as_utf8(body, encoding)
        except FormatError as error:
            raise invalid("body", error.reason, error.hint) from None
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise invalid("body", f"not valid JSON: {error}") from None
    return rows_of(value, most)


def rows_of(value: Any, most: int | None = None) -> Rows:
    """The rows in a JSON value. Raises InvalidRequest and TooLarge."""
    if isinstance(value, dict) and value.keys() == {"rows"}:
        value = value["rows"]
    elif isinstance(value, dict) and value.keys() == {"columns"}:
        found = _from_columns(value["columns"])
        check_number(found.count, most)
        return found
    if not isinstance(value, list):
        given = f"the fields {shown(list(value), 80)}" if isinstance(value, dict) else shown(value, 80)
        raise invalid("body", f"rows are required, but {given} was given")
    check_number(len(value), most)
    return _from_rows(value)


def read(source: Source, most: int | None = None) -> pl.DataFrame:
    """The rows of a request's body that was saved in a file: JSON in one of the forms above, or any format that epochd
    trains on. Raises DataError for a file that cannot be read, InvalidRequest, TooLarge."""
    if source.path.suffix == JSON_SUFFIX:
        found = parse(source.path.read_bytes(), most, source.options.encoding)
        return frame_of(found.columns, source.expected)
    frame = source.apply(lambda table: (table if most is None else table.head(most + 1)).collect())
    if not frame.height:
        raise invalid("body", "there are no rows", "send at least one row")
    if most is not None and frame.height > most:
        raise too_many(f"more than {most:,}", most)
    return frame


def check_number(rows: int, most: int | None) -> None:
    """Raise TooLarge for more than ``most`` rows."""
    if most is not None and rows > most:
        raise too_many(f"{rows:,}", most)


def too_many(rows: str, most: int) -> TooLarge:
    return TooLarge(
        f"the request has {rows} rows, and the limit is {most:,} (EPOCHD_PREDICT_ROWS). Send several requests with "
        "fewer rows each"
    )


def _from_rows(rows: list[Any]) -> Rows:
    if not rows:
        raise invalid("rows", "there are no rows")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise invalid("rows", f"row {number} is {shown(row, 80)}, not an object")
    names = rows[0].keys()
    if any(row.keys() != names for row in rows):
        names = dict.fromkeys(name for row in rows for name in row).keys()
    _check_names(names)
    return Rows(_named({name: [row.get(name) for row in rows] for name in names}), len(rows))


def _from_columns(columns: Any) -> Rows:
    if not isinstance(columns, dict) or not columns:
        raise invalid("columns", f"an object of lists is required, but {shown(columns, 80)} was given")
    for name, values in columns.items():
        if not isinstance(values, list):
            raise invalid("columns", f"column {cut(repr(name))} is {shown(values, 80)}, not a list")
    lengths = {name: len(values) for name, values in columns.items()}
    count = next(iter(lengths.values()))
    if uneven := next((name for name, length in lengths.items() if length != count), None):
        first = next(iter(lengths))
        reason = f"column {cut(repr(first))} has {count} values, but {cut(repr(uneven))} has {lengths[uneven]}"
        raise invalid("columns", reason, "give all columns the same number of values")
    if not count:
        raise invalid("columns", "there are no rows")
    _check_names(columns)
    return Rows(_named(columns), count)


def _named(columns: Columns) -> Columns:
    """The columns by their names as a model has them."""
    found = {composed(name): values for name, values in columns.items()}
    if len(found) != len(columns):
        twin = Counter(map(composed, columns)).most_common(1)[0][0]
        reason = f"two columns have the name {cut(repr(twin))}, which Unicode can write in several ways"
        raise invalid("columns", reason, "give each column a unique name")
    return found


def _check_names(names: Collection[str]) -> None:
    if len(names) > MAX_COLUMNS:
        raise invalid("body", f"there are {len(names):,} columns, and at most {MAX_COLUMNS:,} can be read")


def invalid(field: str, message: str, hint: str = FORMS) -> InvalidRequest:
    return InvalidRequest(f"{field}: {message}", [Problem(field, message, hint)])


def frame_of(columns: Mapping[str, Sequence[Any]], expected: Expected) -> pl.DataFrame:
    """A table of these columns. Values that do not fit a column's expected kind become text, for which the encoder
    names the row."""
    return pl.DataFrame([_series(name, values, expected.get(name)) for name, values in columns.items()])


def _series(name: str, values: Sequence[Any], kind: Kind | None) -> pl.Series:
    types = set(map(type, values)) - {type(None)}
    if kind is Kind.LIST or types == {list}:
        return pl.Series(name, [_numbers(value) for value in values], pl.List(pl.Float64))
    if types <= {str}:
        return pl.Series(name, values, pl.String if types else pl.Null)
    if types == {int} and all(value is None or -(2**63) <= value < 2**63 for value in values):
        return pl.Series(name, values, pl.Int64)
    if types == {bool}:
        return pl.Series(name, values, pl.Boolean)
    if types == {float} or (types <= {bool, int, float} and kind in INTERCHANGEABLE):
        return pl.Series(name, [None if value is None else _float(value) for value in values], pl.Float64)
    return pl.Series(name, [_text(value) for value in values], pl.String)


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer of more than 308 digits
        return math.inf


def _numbers(value: Any) -> list[float | None] | None:
    """A list of numbers; None for anything else, for which the encoder names the row."""
    if not isinstance(value, list) or not set(map(type, value)) <= {bool, int, float, type(None)}:
        return None
    return [None if element is None else _float(element) for element in value]


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
