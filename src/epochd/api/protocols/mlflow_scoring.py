"""MLflow's scoring protocol, which ``mlflow models serve`` speaks, for each model under a URL of its own.

https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally: JSON with exactly one of ``dataframe_split``,
``dataframe_records``, ``instances`` and ``inputs``, and ``params``; CSV; Parquet. The answer is ``{"predictions": …}``.
"""

from codecs import BOM_UTF8
from collections.abc import Sequence
from typing import Any

import polars as pl
from fastapi import APIRouter, Request, Response
from pydantic import Field
from pydantic_core import from_json, to_json

import epochd
from epochd.api import bodies
from epochd.api.deps import AUTHORISED, ServiceDep
from epochd.api.responses import MARK, Shape
from epochd.core.errors import InvalidRequest, Problem, TooLarge, UnsupportedMediaType
from epochd.core.text import cut, shown
from epochd.serving import predictions, rows
from epochd.serving.answers import CSV, JSON, PARQUET
from epochd.serving.predictions import Predictions
from epochd.serving.predictor import Predictor
from epochd.serving.rows import Rows

PREFIX = "/serving"
JSON_BYTES = 8 << 20
"""The most JSON that is parsed in the server's process. CSV and Parquet are read by readers."""
FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
PARAMS = ("probabilities",)

router = APIRouter(prefix=PREFIX, tags=["protocols"], dependencies=AUTHORISED)
Content = dict[int | str, dict[str, Any]]
UNKNOWN: Content = {404: {"description": "No such model or version"}}
PLAIN: Content = {
    200: {"description": "Plain text", "content": {"text/plain": {"schema": {"type": "string"}}}},
    **UNKNOWN,
}
SCORED: Content = {
    200: {"description": "The predictions", "content": {"application/json": {"schema": {MARK: "ScoringAnswer"}}}},
    415: {"description": "The Content-Type is none of JSON, CSV and Parquet"},
    **UNKNOWN,
}
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {"schema": {MARK: "ScoringBody"}},
            CSV: {"schema": {"type": "string"}},
            PARQUET: {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


class ScoringError(Shape):
    """The body of every response of this protocol with status 400 or higher."""

    error_code: str = Field(examples=["INVALID_PARAMETER_VALUE"])
    message: str


class SplitFrame(Shape):
    index: list[Any] | None = None
    columns: list[str]
    data: list[list[Any]]


class ScoringBody(Shape):
    """Rows in exactly one of four forms."""

    dataframe_split: SplitFrame | None = None
    dataframe_records: list[dict[str, Any]] | None = None
    instances: list[Any] | dict[str, Any] | None = None
    inputs: list[Any] | dict[str, Any] | None = None
    params: dict[str, Any] | None = Field(None, examples=[{"probabilities": True}])


class ScoringAnswer(Shape):
    predictions: list[Any]


async def ping(model: str, service: ServiceDep, version: str | None = None) -> Response:
    """An empty line once the model is loaded."""
    await service.models.predictor(model, version)
    return Response("\n", media_type="text/plain")


async def latest_ping(model: str, service: ServiceDep) -> Response:
    """An empty line once the model is loaded."""
    return await ping(model, service)


async def server_version(model: str, service: ServiceDep, version: str | None = None) -> Response:
    """The version of the server."""
    await service.models.find(model, version)
    return Response(epochd.__version__, media_type="text/plain")


async def latest_server_version(model: str, service: ServiceDep) -> Response:
    """The version of the server."""
    return await server_version(model, service)


async def invocations(model: str, request: Request, service: ServiceDep, version: str | None = None) -> Response:
    """Predict rows. `{"params": {"probabilities": true}}` asks for the probability of each class as well."""
    served = await service.models.predictor(model, version)
    predictor, most = served.predictor, service.settings.predict_rows
    content_type = bodies.media_type(request.headers.get("content-type", ""))
    if content_type == JSON:
        limit = service.settings.predict_mb << 20
        body = b"".join([chunk async for chunk in bodies.limited([], request.stream(), limit)])
        content = await service.models.run(_answer_json, predictor, body, most)
    elif content_type in (CSV, PARQUET, "application/x-parquet"):
        given = await bodies.read(request, service, predictor)
        content = await service.models.run(_answer, predictor, given, probabilities=False)
    else:
        given_type = shown(content_type, 80) if content_type else "missing"
        raise UnsupportedMediaType(f"the Content-Type is {given_type}: send {JSON}, {CSV} or {PARQUET}")
    return Response(content, media_type=JSON)


async def latest_invocations(model: str, request: Request, service: ServiceDep) -> Response:
    """Predict rows. `{"params": {"probabilities": true}}` asks for the probability of each class as well."""
    return await invocations(model, request, service)


for versioned, latest, names, method in (
    (ping, latest_ping, ("ping", "health"), "GET"),
    (server_version, latest_server_version, ("version",), "GET"),
    (invocations, latest_invocations, ("invocations",), "POST"),
):
    for name in names:
        for path, endpoint, operation_id in (
            (f"/{{model:path}}/versions/{{version}}/{name}", versioned, f"scoring_{name}_version"),
            (f"/{{model:path}}/{name}", latest, f"scoring_{name}"),
        ):
            router.add_api_route(
                path,
                endpoint,
                methods=[method],
                operation_id=operation_id,
                summary=f"{name.capitalize()} of MLflow's scoring protocol",
                responses=SCORED if method == "POST" else PLAIN,
                response_class=Response,
                openapi_extra=BODY if method == "POST" else None,
            )


def read_request(body: bytes, features: Sequence[str], most: int) -> tuple[Rows, bool]:
    """The rows in a JSON body, and whether probabilities are wanted; ``features`` are the names of the values in rows
    without names. Raises InvalidRequest, TooLarge for more than ``most`` rows."""
    try:
        values = from_json(body.removeprefix(BOM_UTF8), allow_inf_nan=True)
    except ValueError as error:
        raise _invalid("body", f"not valid JSON: {error}") from None
    if not isinstance(values, dict):
        raise _invalid("body", f"a JSON object is required, but {shown(values, 80)} was given")
    given = [name for name in FORMS if name in values]
    unknown = [name for name in values if name not in (*FORMS, "params")]
    if len(given) != 1 or unknown:
        raise _invalid("body", f"the fields are {shown(list(values), 120)}")
    return rows.rows_of(_rows_form(given[0], values[given[0]], features), most), _wants_probabilities(values)


def _rows_form(form: str, value: Any, features: Sequence[str]) -> dict[str, Any]:
    """The rows in the form that ``rows.rows_of`` reads."""
    if form == "dataframe_split":
        if not isinstance(value, dict) or not isinstance(value.get("columns"), list):
            raise _invalid(form, 'an object with "columns" and "data" is required')
        return {"rows": _named(form, value.get("data"), value["columns"])}
    if form == "dataframe_records":
        return {"rows": value}
    if isinstance(value, dict):
        return {"columns": {name: _flat(given) for name, given in value.items()}}
    if isinstance(value, list) and value and not isinstance(value[0], dict):
        return {"rows": _named(form, value, features)}
    return {"rows": value}


def _named(form: str, data: Any, names: Sequence[Any]) -> list[dict[str, Any]]:
    """Rows of values as objects with these names. A tensor of more dimensions is flattened row by row."""
    if not isinstance(data, list) or not all(isinstance(name, str) for name in names):
        raise _invalid(form, "a list of rows and names of columns are required")
    found = []
    for number, row in enumerate(data, 1):
        values = row if isinstance(row, list) else [row]
        while len(values) != len(names) and values and isinstance(values[0], list):
            values = [value for part in values if isinstance(part, list) for value in part]
        if len(values) != len(names):
            raise _invalid(form, f"row {number} has {len(values)} values, but there are {len(names)} columns")
        found.append(dict(zip(names, values, strict=True)))
    return found


def _flat(values: Any) -> Any:
    """A column [n, 1] as a list of values."""
    if isinstance(values, list) and values and all(isinstance(value, list) and len(value) == 1 for value in values):
        return [value[0] for value in values]
    return values if isinstance(values, list) else [values]


def _wants_probabilities(values: dict[str, Any]) -> bool:
    params = values.get("params") or {}
    if not isinstance(params, dict) or any(name not in PARAMS for name in params):
        raise _invalid("params", f"{shown(params, 80)} was given; the only parameter is probabilities, true or false")
    wanted = params.get("probabilities", False)
    if not isinstance(wanted, bool):
        raise _invalid("params", f"probabilities is {shown(wanted, 40)}, not true or false")
    return wanted


def _answer_json(predictor: Predictor, body: bytes, most: int) -> bytes:
    if len(body) > JSON_BYTES:
        raise TooLarge(f"the JSON has more than {JSON_BYTES:,} bytes: send fewer rows, CSV or Parquet")
    given, probabilities = read_request(body, predictor.encoder.feature_names, most)
    return _answer(predictor, given, probabilities=probabilities)


def _answer(predictor: Predictor, given: Rows | pl.DataFrame, *, probabilities: bool) -> bytes:
    found: Predictions | None = None
    if isinstance(given, Rows):
        found = predictor.predict_plain(given.columns)
        given = rows.frame_of(given.columns, predictor.expected) if found is None else pl.DataFrame()
    if found is None:
        found = predictor.predict(given)
    if predictor.forecasts:
        passed = given.select(name for name in predictor.ordering if name in given.columns)
        listed: Any = list(found.records(predictions.json_columns(passed), probabilities=probabilities))
    elif probabilities:
        listed = list(found.records(probabilities=True))
    else:
        listed = list(found.labels)
    return to_json({"predictions": listed}, inf_nan_mode="null")


def _invalid(field: str, message: str) -> InvalidRequest:
    hint = f"send one of {', '.join(FORMS)}, and params if needed, as MLflow's documentation describes"
    return InvalidRequest(f"{cut(field)}: {message}; {hint}", [Problem(field, message, hint)])
