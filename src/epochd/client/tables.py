"""Rows in the forms that Python users have them in, as bodies of requests, and answers in the same form.

Lists of dicts, dicts of columns, and data frames of pandas and Polars; neither of these is imported before a frame is
given. A small frame is sent as JSON, which the server answers fastest, a larger one as an Arrow stream.
"""

import json
import math
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from epochd.core.errors import InvalidRequest, Problem
from epochd.core.text import shown

if TYPE_CHECKING:
    import polars as pl

JSON, ARROW, PARQUET = "application/json", "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"
SMALL_VALUES = 5_000
"""Values of a frame that are sent as JSON."""


def is_pandas(data: object) -> bool:
    return _library(data) == "pandas"


def is_polars(data: object) -> bool:
    return _library(data) == "polars"


def _library(data: object) -> str:
    kind = type(data)
    return kind.__module__.partition(".")[0] if kind.__name__ == "DataFrame" else ""


def body(data: Any) -> tuple[bytes, str]:
    """The body of a request with these rows, and its content type. Raises InvalidRequest for what is not rows."""
    if is_polars(data):
        return _frame_body(data)
    if is_pandas(data):
        return _frame_body(from_pandas(data))
    if isinstance(data, Mapping):
        return _json({"columns": {str(name): list(values) for name, values in data.items()}}), JSON
    if isinstance(data, Sequence) and not isinstance(data, str | bytes):
        return _json({"rows": list(data)}), JSON
    message = f"rows are required, but {shown(type(data).__name__, 80)} was given"
    hint = "give a list of dicts, a dict of columns, or a data frame of pandas or Polars"
    raise InvalidRequest(f"data: {message}; {hint}", [Problem("data", message, hint)])


def from_pandas(data: Any) -> "pl.DataFrame":
    """A data frame of pandas in Polars, without its index; it needs no PyArrow."""
    import polars as pl  # noqa: PLC0415 - only users of frames need it

    columns: dict[str, list[Any]] = {}
    for name in data.columns:
        values = zip(data[name].tolist(), data[name].isna().tolist(), strict=True)
        columns[str(name)] = [None if is_missing else value for value, is_missing in values]
    return pl.DataFrame(columns, strict=False)


def to_pandas(found: "pl.DataFrame", like: Any) -> Any:
    """The table as a data frame of pandas; with the index of the rows if there is one prediction for each."""
    index = like.index if len(like) == found.height else None
    return type(like)(found.to_dict(as_series=False), index=index, columns=found.columns)


def read_parquet(content: bytes) -> "pl.DataFrame":
    import polars as pl  # noqa: PLC0415 - only users of frames need it

    return pl.read_parquet(BytesIO(content))


def columns_of(records: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Records as a dict of columns."""
    return {name: [record[name] for record in records] for name in (records[0] if records else ())}


def _frame_body(frame: "pl.DataFrame") -> tuple[bytes, str]:
    plain = not any(dtype.is_nested() or dtype.is_decimal() or dtype.is_temporal() for dtype in frame.dtypes)
    if plain and frame.width * frame.height <= SMALL_VALUES:
        return _json({"columns": frame.to_dict(as_series=False)}), JSON
    file = BytesIO()
    frame.write_ipc_stream(file)
    return file.getvalue(), ARROW


def _json(value: Any) -> bytes:
    return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogatepass")


def _plain(value: Any) -> Any:
    """The value as JSON types: NaN as null, dates in ISO 8601, scalars and arrays of NumPy as Python's."""
    if isinstance(value, Mapping):
        return {str(name): _plain(element) for name, element in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(element) for element in value]
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if value is None or isinstance(value, str | int):
        return value
    for method in ("isoformat", "tolist"):
        if hasattr(value, method):
            return _plain(getattr(value, method)())
    return str(value)
