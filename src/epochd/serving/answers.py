"""Predictions as the body of an answer: JSON, CSV or Parquet, as the client accepts."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from typing import Any

import polars as pl
from pydantic_core import to_json

from epochd.artifact.predictions import missing_in_csv
from epochd.core.errors import InvalidRequest, Problem, similar_names
from epochd.core.language import translated
from epochd.core.names import composed
from epochd.core.text import cut
from epochd.serving import predictions, rows
from epochd.serving.predictions import Predictions, RowProblem
from epochd.serving.predictor import OnError
from epochd.serving.rows import Columns

JSON, CSV, PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"
PROBLEM = "problem"
RECORDS_AT_ONCE = 1_000
"""Records that are encoded together: some milliseconds, in which no other thread runs."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a client asks for: how unusable rows are treated, and which columns stand in the answer. An entry of
    ``id_columns`` is a column, or several, separated by commas."""

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
        asked = map(composed, self.id_columns)
        given = [name for one in asked for name in ([one] if one in names else filter(None, one.split(",")))]
        wanted = dict.fromkeys([*given, *always])
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


def encoded(about: Mapping[str, Any], found: Predictions, given: Columns | pl.DataFrame, options: Options) -> bytes:
    """The body of an answer; ``given`` are the columns of the request that are passed through, ``about`` the first
    fields of an answer in JSON."""
    if options.media_type == JSON:
        records = records_of(found, given, options)
        problems = to_json([_told(problem) for problem in found.problems])
        about = {**about, "warnings": list(map(translated, found.warnings))} if found.warnings else about
        return b'%s,"predictions":[%s],"problems":%s}' % (to_json(about)[:-1], b",".join(_parts(records)), problems)
    table = table_of(found, given, options)
    if options.media_type == CSV:
        return table.write_csv(include_bom=options.bom, null_value=missing_in_csv(table.width)).encode()
    file = BytesIO()
    table.write_parquet(file)
    return file.getvalue()


def records_of(found: Predictions, given: Columns | pl.DataFrame, options: Options) -> Iterator[dict[str, Any]]:
    """The predictions as JSON objects; where unusable rows are skipped, with what is wrong with them."""
    columns = predictions.json_columns(given) if isinstance(given, pl.DataFrame) else given
    records = found.records(columns, probabilities=options.probabilities)
    if options.on_error == "refuse":
        return records
    return ({**record, _free_name(record): problem} for record, problem in zip(records, _problems(found), strict=True))


def table_of(found: Predictions, given: Columns | pl.DataFrame, options: Options) -> pl.DataFrame:
    """The predictions as a table; where unusable rows are skipped, with a column of what is wrong with them."""
    passed = given if isinstance(given, pl.DataFrame) else rows.frame_of(given, {})
    table = found.frame(passed if passed.width else None, probabilities=options.probabilities)
    if options.on_error == "refuse":
        return table
    return table.with_columns(pl.Series(_free_name(table.columns), _problems(found), pl.String))


def _parts(records: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    while part := list(islice(records, RECORDS_AT_ONCE)):
        yield to_json(part, inf_nan_mode="null")[1:-1]


def _told(problem: RowProblem) -> dict[str, Any]:
    """A problem in the language of the request."""
    return problem.as_json() | {"message": translated(problem.message), "hint": translated(problem.hint)}


def _problems(found: Predictions) -> list[str | None]:
    """What is wrong with the row of each prediction; None for most."""
    messages: dict[int, str] = {}
    for problem in found.problems:
        before, message = messages.get(problem.row), translated(problem.message)
        messages[problem.row] = message if before is None else f"{before}; {message}"
    numbers = range(len(found.labels)) if found.rows is None else found.rows.tolist()
    return [messages.get(number + 1) for number in numbers]


def _free_name(taken: Collection[str]) -> str:
    name = PROBLEM
    while name in taken:
        name += predictions.GIVEN
    return name
