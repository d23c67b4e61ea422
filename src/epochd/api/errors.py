"""The one shape of all errors, also of FastAPI's: ``{"success": false, "code", "message", "problems"}``.

Only the routes of other protocols have the shapes that their clients read.
"""

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from epochd.api.language import told
from epochd.core.errors import (
    MAX_PROBLEMS,
    BadRequest,
    Busy,
    EpochdError,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    OutOfSpace,
    Problem,
    Unauthorized,
)
from epochd.core.text import cut, shown

MLFLOW_CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    413: "INVALID_PARAMETER_VALUE",
    415: "BAD_REQUEST",
    422: "INVALID_PARAMETER_VALUE",
    503: "TEMPORARILY_UNAVAILABLE",
}
"""The names of MLflow's REST API for the statuses of errors."""

log = logging.getLogger(__name__)


def answer(error: Exception, headers: Mapping[str, str] | None = None, *, path: str = "") -> JSONResponse:
    """The response for an error on this path; the text of one that is not epochd's is not shown."""
    if not isinstance(error, EpochdError):
        error = InternalError("internal server error: see the server's log for details")
    extra = {"WWW-Authenticate": "Bearer"} if isinstance(error, Unauthorized) else {}
    if isinstance(error, Busy):
        extra["Retry-After"] = str(error.retry_seconds)
    return JSONResponse(_shaped(error, path), error.status, {**(headers or {}), **extra})


def _shaped(error: EpochdError, path: str) -> dict[str, Any]:
    """The body for an error: the Open Inference Protocol has a flat text, MLflow's protocol a code and a text."""
    if path.startswith("/v2"):
        return {"error": _text(error)}
    if path.startswith("/serving/"):
        return {"error_code": MLFLOW_CODES.get(error.status, "INTERNAL_ERROR"), "message": _text(error)}
    return told(error.as_json())


def _text(error: EpochdError) -> str:
    """The message with the hints of its problems, which have no field of their own there."""
    answer = told(error.as_json())
    hints = [problem["hint"] for problem in answer["problems"] if problem["hint"] not in answer["message"]]
    return "; ".join([answer["message"], *dict.fromkeys(hints)])


def install(app: FastAPI) -> None:
    """Register the handlers that give every error of the app the one shape."""
    app.add_exception_handler(EpochdError, handle_epochd_error)
    app.add_exception_handler(RequestValidationError, _handle_validation_error)
    app.add_exception_handler(HTTPException, _handle_http_exception)


async def handle_epochd_error(request: Request, error: Exception) -> Response:
    """The response for an EpochdError, which is logged if the server is the cause."""
    assert isinstance(error, EpochdError)
    if error.status >= 500:
        trace = None if isinstance(error, OutOfSpace | Busy) else error  # no bug: the traceback would not help
        log.error("%s %s failed: %s", request.method, request.url.path, error, exc_info=trace)
    return answer(error, path=request.url.path)


async def _handle_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = []
    for entry in error.errors()[:MAX_PROBLEMS]:
        place, *rest = map(str, entry["loc"])
        reason = entry["msg"]
        if entry["type"] != "missing":
            reason = f"{reason}, but {shown(entry.get('input'), 80)} was given"
        problems.append(Problem(".".join(rest) or place, reason, f"a parameter of the request's {place}"))
    message = "; ".join(f"{problem.field}: {problem.message}" for problem in problems)
    return answer(InvalidRequest(message, problems), path=request.url.path)


async def _handle_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path
    shown: Exception = error
    match error.status_code:
        case status if status < 400:
            return Response(status_code=status, headers=error.headers)
        case 404:
            shown = NotFound(f"no route at {cut(path)}; /docs lists all routes")
        case 405:
            allowed = (error.headers or {}).get("Allow", "another method")
            shown = MethodNotAllowed(f"{cut(path)} does not support {request.method}; use {allowed}")
        case status if status < 500:
            shown = BadRequest(str(error.detail))
    return answer(shown, error.headers, path=path)
