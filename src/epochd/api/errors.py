"""The one error shape of the API: ``{"success": false, "code", "message", "problems"}``.

Errors of epochd, of FastAPI's validation and of the router, and unexpected exceptions all have this shape and the
matching status code. A client never sees a traceback.
"""

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from epochd.core.errors import (
    BadRequest,
    EpochdError,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    OutOfSpace,
    Problem,
    Unauthorized,
)

log = logging.getLogger(__name__)


def internal_error() -> InternalError:
    return InternalError("internal server error: see the server's log for details")


def answer(error: EpochdError, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The response for an error."""
    extra = dict(headers or {})
    if isinstance(error, Unauthorized):
        extra["WWW-Authenticate"] = "Bearer"
    return JSONResponse(error.as_json(), error.status, extra)


def install(app: FastAPI) -> None:
    """Register the handlers that give every error of the app the one shape."""
    app.add_exception_handler(EpochdError, _handle_epochd_error)
    app.add_exception_handler(RequestValidationError, _handle_validation_error)
    app.add_exception_handler(HTTPException, _handle_http_exception)


async def _handle_epochd_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, EpochdError)
    if error.status >= 500:
        trace = None if isinstance(error, OutOfSpace) else error  # a full disk is no bug: the traceback would not help
        log.error("%s %s failed: %s", request.method, request.url.path, error, exc_info=trace)
    return answer(error)


async def _handle_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = [_problem(entry) for entry in error.errors()]
    summary = "; ".join(f"{problem.field}: {problem.message}" for problem in problems)
    return answer(InvalidRequest(summary, problems))


def _problem(entry: Mapping[str, Any]) -> Problem:
    place, *rest = map(str, entry["loc"])
    given = repr(entry.get("input"))
    message = entry["msg"] if entry["type"] == "missing" else f"{entry['msg']}, but {given[:80]} was given"
    return Problem(".".join(rest) or place, message, f"a parameter of the request's {place}")


async def _handle_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code < 400:
        return Response(status_code=error.status_code, headers=error.headers)
    return answer(_translated(request, error), error.headers)


def _translated(request: Request, error: HTTPException) -> EpochdError:
    path = request.url.path
    match error.status_code:
        case 404:
            return NotFound(f"no route at {path}; /docs lists all routes")
        case 405:
            allowed = (error.headers or {}).get("Allow", "another method")
            return MethodNotAllowed(f"{path} does not support {request.method}; use {allowed}")
        case status if status >= 500:
            return internal_error()
        case _:
            return BadRequest(str(error.detail))
