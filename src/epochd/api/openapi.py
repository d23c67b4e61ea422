"""The OpenAPI description: every body, answer, event and error as one named schema, and every status of an operation.

FastAPI describes routes and their answers. Bodies, which routes read as raw JSON to find all problems at once, events
and values that are sent as they are stored are added here, under the names that ``described_as`` refers to.
"""

from functools import cache
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from epochd.api.datasets.responses import ColumnProfile, DatasetOptions, PathRegistration, QueryRegistration
from epochd.api.models.responses import AliasBody, ColumnsBody, RowList, RowsBody
from epochd.api.predictions import shapes as prediction_shapes
from epochd.api.protocols import mlflow_scoring, open_inference
from epochd.api.responses import MARK, error_code_schema
from epochd.api.system.responses import LoginBody
from epochd.api.tasks import shapes
from epochd.core.jobs import REVISABLE

REF = "#/components/schemas/{model}"
COMPONENTS: list[type[BaseModel]] = [
    shapes.TrainingConfig,
    shapes.RetryOptions,
    shapes.PriorityBody,
    shapes.EpochMetrics,
    shapes.CurveRow,
    shapes.BestMetrics,
    shapes.NoMetrics,
    shapes.JobErrorShape,
    shapes.CheckpointShape,
    shapes.StartingPoint,
    shapes.Receipt,
    shapes.RevisionShape,
    shapes.CheckedDatasetShape,
    shapes.TrainingSummary,
    shapes.ModelComparison,
    shapes.FinalMetrics,
    shapes.TrainingEvent,
    shapes.LiveEvent,
    shapes.LogStreamEvent,
    prediction_shapes.PredictionConfig,
    prediction_shapes.PredictionEvent,
    ColumnProfile,
    DatasetOptions,
    PathRegistration,
    QueryRegistration,
    RowsBody,
    ColumnsBody,
    RowList,
    AliasBody,
    LoginBody,
    open_inference.InferBody,
    open_inference.InferAnswer,
    open_inference.OpenInferenceError,
    mlflow_scoring.ScoringBody,
    mlflow_scoring.ScoringAnswer,
    mlflow_scoring.ScoringError,
]
ERROR_SHAPES = {open_inference.PREFIX: "OpenInferenceError", mlflow_scoring.PREFIX: "ScoringError"}
"""The shapes of errors of other protocols, by the beginning of their paths."""
WITHOUT_ERROR = {("/health", "503"), ("/v2/health/ready", "503")}
"""Answers that report a state in the shape of other answers."""
STATUSES = {
    "403": "The host, or that of the page that sent the request, is not allowed; or a CSRF token is missing or wrong",
    "422": "The request is invalid; `problems` names each field",
    "500": "An unexpected error, which the server has logged",
    "503": "The server cannot answer now; repeat the request after `Retry-After`",
}
AUTHORISED = {"401": "The token is missing or wrong", "507": "The server's disk is full"}
WITH_BODY = {"400": "The body is malformed", "413": "The body is larger than the limit"}


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI description of the app, made once."""
    if app.openapi_schema is None:
        described = FastAPI.openapi(app)
        schemas = described["components"]["schemas"]
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        described["components"]["schemas"] = components() | schemas
        for path, operations in described["paths"].items():
            for operation in operations.values():
                _declare_responses(path, operation)
        app.openapi_schema = _with_references(described)
    return app.openapi_schema


@cache
def components() -> dict[str, Any]:
    """The schemas that FastAPI does not see, by name."""
    _, found = models_json_schema([(model, "validation") for model in COMPONENTS], ref_template=REF)
    schemas: dict[str, Any] = found["$defs"]
    options = schemas["TrainingConfig"]["properties"]
    # Without defaults: an option that is not sent keeps its value.
    changes = {name: {k: v for k, v in options[name].items() if k != "default"} for name in REVISABLE}
    resume = {"type": "object", "properties": changes, "additionalProperties": False}
    schemas["ResumeOptions"] = {"title": "ResumeOptions", **resume}
    schemas["ContinueOptions"] = {"title": "ContinueOptions", **resume, "required": ["epochs"]}
    schemas["ErrorCode"] = error_code_schema()
    return schemas


def _declare_responses(path: str, operation: dict[str, Any]) -> None:
    """Declare each status that the operation can have, the shape of errors, and parameters of the path as text."""
    statuses = STATUSES | (AUTHORISED if "security" in operation else {})
    statuses |= WITH_BODY if "requestBody" in operation else {}
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path":  # routes without a version share a function whose version may be None
            parameter["schema"].pop("anyOf", None)
            parameter["schema"]["type"] = "string"
    responses = operation["responses"]
    for status, description in statuses.items():
        response = responses.setdefault(status, {"description": description})
        if response["description"] == "Validation Error":
            response["description"] = description
    for status, response in responses.items():
        if status >= "400" and (path, status) not in WITHOUT_ERROR:
            shape = next((name for start, name in ERROR_SHAPES.items() if path.startswith(f"{start}/")), "ErrorShape")
            shape = ERROR_SHAPES.get(path, shape)
            response["content"] = {"application/json": {"schema": {MARK: shape}}}


def _with_references(value: Any) -> Any:
    """The value with a reference in place of each mark."""
    if isinstance(value, list):
        return [_with_references(item) for item in value]
    if not isinstance(value, dict):
        return value
    rest = {key: _with_references(item) for key, item in value.items() if key != MARK}
    return {"$ref": REF.format(model=value[MARK])} | rest if MARK in value else rest
