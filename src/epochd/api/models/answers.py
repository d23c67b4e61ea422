"""Predictions as the body of an answer: JSON, CSV or Parquet, as the client accepts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from typing import Any

import polars as pl
from pydantic_core import to_json

from epochd.api.served_models import Served
from epochd.core.errors import InvalidRequest, Problem, similar_names
from epochd.core.text import cut
from epochd.serving import predictions, rows
from epochd.serving.predictions import Predictions
from epochd.serving.predictor import OnError
from epochd.serving.rows import Columns

JSON, CSV, PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"
RECORDS_AT_ONCE = 1_000
"""Records that are encoded together: some milliseconds, in which no other thread runs."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a client asks for: how unusable rows are treated, and which columns stand in the answer."""

    on_error: OnError = "refuse"
    id_columns: Sequence[str] = ()
    echo: bool = False
    probabilities: bool = True
    every_row: bool = False
    bom: bool = False
    media_type: str = JSON

    def chosen(self, names: Sequence[str], always: Sequence[str]) -> list[str]:
        """The columns of a request, of these names, that are passed to the answer; ``always`` without being asked for.
        Raises InvalidRequest for one that is not there."""
        if self.echo:
            return list(names)
        wanted = dict.fromkeys([*self.id_columns, *always])
        missing = [name for name in wanted if name not in names]
        if missing:
            nearest = similar_names(missing[0], names, 1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else "name columns that the rows have"
            message = f"the rows have no column {cut(missing[0])!r}"
            raise InvalidRequest(f"id_columns: {message}; {hint}", [Problem("id_columns", message, hint)])
        return list(wanted)


def accepted(accept: str) -> str:
    """The media type that an Accept header prefers of those that there are; JSON if it names none."""
    best, found = 0.0, JSON
    for entry in accept.split(","):
        name, *parameters = (part.strip().lower() for part in entry.split(";"))
        quality = _quality(parameters)
        if name in (JSON, CSV, PARQUET) and quality > best:
            best, found = quality, name
    return found


def _quality(parameters: list[str]) -> float:
    try:
        return next((float(part[2:]) for part in parameters if part.startswith("q=")), 1.0)
    except ValueError:
        return 0.0


def encoded(served: Served, found: Predictions, given: Columns | pl.DataFrame, options: Options) -> bytes:
    """The body of an answer; ``given`` are the columns of the request that are passed through."""
    if options.media_type == JSON:
        columns = predictions.json_columns(given) if isinstance(given, pl.DataFrame) else given
        return _json(served, found, columns, options)
    passed = given if isinstance(given, pl.DataFrame) else rows.frame_of(given, {})
    table = found.frame(passed if passed.width else None, probabilities=options.probabilities)
    if options.on_error == "skip":
        table = _with_problems(table, found)
    if options.media_type == CSV:
        return table.write_csv(include_bom=options.bom).encode()
    file = BytesIO()
    table.write_parquet(file)
    return file.getvalue()


def _json(served: Served, found: Predictions, given: Columns, options: Options) -> bytes:
    head = {"success": True, "model": served.version.model, "version": served.version.id}
    records = found.records(given, probabilities=options.probabilities)
    body = b",".join(_parts(records))
    problems = to_json([problem.as_json() for problem in found.problems])
    return b'%s,"predictions":[%s],"problems":%s}' % (to_json(head)[:-1], body, problems)


def _parts(records: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    while part := list(islice(records, RECORDS_AT_ONCE)):
        yield to_json(part, inf_nan_mode="null")[1:-1]


def _with_problems(table: pl.DataFrame, found: Predictions) -> pl.DataFrame:
    """The table with a column of what is wrong with each row that could not be scored."""
    messages: dict[int, str] = {}
    for problem in found.problems:
        before = messages.get(problem.row)
        messages[problem.row] = problem.message if before is None else f"{before}; {problem.message}"
    numbers = range(1, table.height + 1) if found.rows is None else (found.rows + 1).tolist()
    name = "problem"
    while name in table.columns:
        name += predictions.GIVEN
    return table.with_columns(pl.Series(name, [messages.get(number) for number in numbers], pl.String))
