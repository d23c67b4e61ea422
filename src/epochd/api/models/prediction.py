"""Prediction: rows in the body of a request, predictions in the answer."""

from collections.abc import Collection
from typing import Annotated, Any

import polars as pl
import polars.selectors as cs
from fastapi import APIRouter, Query, Request, Response

from epochd.api import bodies
from epochd.api.deps import AUTHORISED, ServiceDep
from epochd.api.models.responses import PredictionsOf
from epochd.api.responses import MARK, ErrorShape
from epochd.api.security import MODELS_PATH
from epochd.api.served_models import Served
from epochd.api.service import Service
from epochd.core.columns import Encoding, ReadOptions, parse_options
from epochd.data.tables.pictures import PIXELS, REASON
from epochd.serving import rows
from epochd.serving.answers import CSV, PARQUET, Options, accepted, encoded
from epochd.serving.predictions import Predictions
from epochd.serving.predictor import OnError
from epochd.serving.rows import Columns, Rows

router = APIRouter(prefix=MODELS_PATH, tags=["models"], dependencies=AUTHORISED)

INLINE_ROWS, INLINE_OPERATIONS = 32, 2e6
"""Up to so many rows and floating-point operations a prediction takes less time than handing it to a thread."""
UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"model": ErrorShape, "description": "No such model or version"}}
BINARY = {"schema": {"type": "string", "format": "binary"}}
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The predictions, in the order of the rows",
        "content": {CSV: {"schema": {"type": "string"}}, PARQUET: BINARY},
    },
    **UNKNOWN,
}
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"anyOf": [{MARK: "RowsBody"}, {MARK: "ColumnsBody"}, {MARK: "RowList"}]},
                "examples": {
                    "rows": {"value": {"rows": [{"feature1": 1.5, "feature2": "a"}]}},
                    "columns": {"value": {"columns": {"feature1": [1.5], "feature2": ["a"]}}},
                },
            },
            CSV: {"schema": {"type": "string"}},
            "application/x-ndjson": {"schema": {"type": "string"}},
            PARQUET: BINARY,
            "application/vnd.apache.arrow.stream": BINARY,
            "application/vnd.apache.arrow.file": BINARY,
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": BINARY,
        },
    }
}
OnErrorParameter = Annotated[
    OnError, Query(description="Whether all rows are refused if one cannot be scored, or such rows are skipped.")
]
IdColumns = Annotated[
    list[str] | None,
    Query(max_length=1_000, description="Columns of the request to pass to the answer, separated by commas."),
]
Echo = Annotated[bool, Query(description="Pass all columns of the request to the answer.")]
Probabilities = Annotated[bool, Query(description="Whether the answer has the probability of each class.")]
EveryRow = Annotated[
    bool, Query(description="Of a model that forecasts: one prediction per row, not only the last of each group.")
]
TextEncoding = Annotated[
    Encoding | None,
    Query(description="The encoding of text in the body. Default: that of Content-Type, or detected."),
]
Sheet = Annotated[
    str | None,
    Query(
        max_length=100,
        description="The sheet of a spreadsheet, by name or number from 1. Default: the first visible one.",
    ),
]
Bom = Annotated[bool, Query(description="Begin CSV with a byte order mark, as Excel needs it.")]


async def predict(
    model: str,
    request: Request,
    service: ServiceDep,
    version: str | None = None,
    on_error: OnErrorParameter = "refuse",
    id_columns: IdColumns = None,
    echo: Echo = False,
    probabilities: Probabilities = True,
    every_row: EveryRow = False,
    bom: Bom = False,
    encoding: TextEncoding = None,
    sheet: Sheet = None,
) -> Response:
    """Predict the rows in the body: JSON, CSV, NDJSON, Parquet, Arrow or a spreadsheet, as its Content-Type
    says. The answer is JSON,
    CSV or Parquet, as Accept says."""
    media_type = accepted(request.headers.get("accept", ""))
    options = Options(on_error, id_columns or (), echo, probabilities, every_row, bom, media_type)
    served = await service.models.predictor(model, version)
    reading = parse_options({} if sheet is None else {"sheet": sheet}).updated(ReadOptions(encoding))
    given = await bodies.read(request, service, served.predictor, reading)
    return Response(await answer(service, served, given, options), media_type=media_type)


async def predict_latest(
    model: str,
    request: Request,
    service: ServiceDep,
    on_error: OnErrorParameter = "refuse",
    id_columns: IdColumns = None,
    echo: Echo = False,
    probabilities: Probabilities = True,
    every_row: EveryRow = False,
    bom: Bom = False,
    encoding: TextEncoding = None,
    sheet: Sheet = None,
) -> Response:
    """Predict with the version that `latest` leads to; see the other operation."""
    options = on_error, id_columns, echo, probabilities, every_row, bom, encoding, sheet
    return await predict(model, request, service, None, *options)


for path, endpoint, name in (
    ("/{model:path}/versions/{version}/predict", predict, "predict_with_version"),
    ("/{model:path}/predict", predict_latest, "predict"),
):
    router.add_api_route(
        path,
        endpoint,
        methods=["POST"],
        operation_id=name,
        summary="Predict rows",
        response_model=PredictionsOf,
        responses=ANSWERS,
        openapi_extra=BODY,
    )


async def answer(service: Service, served: Served, given: Rows | pl.DataFrame, options: Options) -> bytes:
    """The body of the answer. A few rows of plain values are predicted here, everything else in a thread."""
    if isinstance(given, pl.DataFrame):
        return await service.models.run(_answer_table, served, given, options)
    found = answered_here(served, given, options)
    return await service.models.run(_answer_rows, served, given, options) if found is None else found


def answered_here(served: Served, given: Rows, options: Options) -> bytes | None:
    """The body of the answer for a few rows of plain values, which takes a fraction of a millisecond; None for others.
    Raises InvalidRequest for columns that are not there."""
    predictor = served.predictor
    if given.count > INLINE_ROWS or given.count * predictor.operations > INLINE_OPERATIONS:
        return None
    found = predictor.predict_plain(given.columns)
    return None if found is None else encoded(_about(served), found, passed_on(given.columns, served, options), options)


def passed_on(columns: Columns, served: Served, options: Options) -> Columns:
    """The columns of the request that are passed to the answer."""
    return {name: columns[name] for name in options.chosen(list(columns), ordering(served, columns))}


def _answer_rows(served: Served, given: Rows, options: Options) -> bytes:
    passed = passed_on(given.columns, served, options)
    found = served.predictor.predict_plain(given.columns)
    if found is None:
        found = _predict(served, rows.frame_of(given.columns, served.predictor.expected), options)
    return encoded(_about(served), found, passed, options)


def _answer_table(served: Served, given: pl.DataFrame, options: Options) -> bytes:
    names = [name for name in given.columns if not name.endswith((PIXELS, REASON))]
    passed = given.select(cs.by_name(options.chosen(names, ordering(served, names))))
    return encoded(_about(served), _predict(served, given, options), passed, options)


def _predict(served: Served, frame: pl.DataFrame, options: Options) -> Predictions:
    return served.predictor.predict(frame, on_error=options.on_error, every_row=options.every_row)


def _about(served: Served) -> dict[str, Any]:
    return {"success": True, "model": served.version.model, "version": served.version.id}


def ordering(served: Served, columns: Collection[str]) -> list[str]:
    """The columns that the answer has without being asked for: time and group of a forecast."""
    return [name for name in served.predictor.ordering if name in columns]
