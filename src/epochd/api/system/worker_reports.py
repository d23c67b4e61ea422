"""The route of workers, who send reports and receive commands. The token of an attempt is valid only below /internal/.

``WorkerDoor`` checks this token, or that of an agent, before any byte of a request is read.
"""

import re
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, FailFast, Field, ValidationError
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from epochd.api.deps import JsonObject, ServiceDep, bearer_token, check_token
from epochd.api.errors import handle_epochd_error
from epochd.api.leader import AT_LEADER
from epochd.api.responses import Activity
from epochd.api.security import WORKERS_PATH, route_path
from epochd.api.service import Service
from epochd.core.errors import EpochdError, Unauthorized
from epochd.core.events import FINAL_REPORTS, Report, ReportKind
from epochd.core.jobs import Command
from epochd.core.tickets import Claim
from epochd.store import attempts

worker_router = APIRouter(prefix=WORKERS_PATH.rstrip("/"), include_in_schema=False)
ATTEMPT_PATH = re.compile(rf"{WORKERS_PATH}attempts/([^/]*)/(?:report|log|meeting|files(?:/.*)?)", re.DOTALL)
CLAIM_PATH = f"{WORKERS_PATH}claims"
AGENT_PATH = f"{WORKERS_PATH}agents/"


class WorkerDoor:
    """Answers 401 to what is sent below ``/internal/`` without the token of the newest attempt of its task, or of an
    agent.

    The body of such a request is not read. Which task or attempt exists is not revealed.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and route_path(scope).startswith(WORKERS_PATH):
            request = Request(scope)
            try:
                await _check_token(request)
            except EpochdError as error:
                await (await handle_epochd_error(request, error))(scope, receive, send)
                return
        await self.app(scope, receive, send)


async def _check_token(request: Request) -> None:
    """Raise Unauthorized unless the request has the token of an agent, or of the newest attempt of the task in its
    path."""
    service: Service = request.app.state.service
    token = bearer_token(request.headers)
    if route_path(request.scope) == CLAIM_PATH:
        ray = service.dispatcher.ray
        if service.is_leader and (ray is None or not ray.knows(token or "")):
            raise Unauthorized("the ticket was given to another worker, or its attempt has ended")
        return
    if route_path(request.scope).startswith(AGENT_PATH):
        check_token(service.settings, token, also=service.settings.agent_tokens)
        return
    path = ATTEMPT_PATH.fullmatch(route_path(request.scope))
    if path is None or not token or not await attempts.is_token(service.db, path[1], token):
        raise Unauthorized("reports require the token of the running attempt")


Model = TypeVar("Model", bound=BaseModel)


class ReportShape(BaseModel):
    number: int = Field(ge=1)
    kind: ReportKind
    payload: dict[str, Any]


class Batch(BaseModel):
    """What a worker sends: its attempt and its reports; without reports it is a heartbeat."""

    attempt: int = Field(ge=1)
    idle: float | None = Field(None, ge=0, description="Seconds since the last finished step.")
    activity: Activity | None = None
    reports: Annotated[list[ReportShape], FailFast()]


class Answer(BaseModel):
    command: Command


@worker_router.post("/claims", dependencies=[AT_LEADER])
async def claim(values: JsonObject, service: ServiceDep, request: Request) -> Response:
    """Give a worker of a Ray job its ticket, once, as ``core.tickets.Claimed``."""
    answer = service.dispatcher.claim(bearer_token(request.headers), _parsed(Claim, values))
    return Response(answer.model_dump_json(), media_type="application/json")


@worker_router.post("/attempts/{task_id}/report")
async def report(task_id: str, values: JsonObject, service: ServiceDep, request: Request) -> Answer:
    """Append a worker's reports to its task's log, renew its lease, and return a command."""
    batch = _parsed(Batch, values)
    command = await attempts.report(
        service.db,
        task_id,
        batch.attempt,
        bearer_token(request.headers),
        [Report(line.number, line.kind, line.payload) for line in batch.reports],
        lease_seconds=service.settings.lease_seconds,
        idle_seconds=batch.idle,
    )
    if batch.activity is not None and not any(line.kind in FINAL_REPORTS for line in batch.reports):
        service.note(task_id, batch.activity)
    return Answer(command=command)


def _parsed(kind: type[Model], values: dict[str, Any]) -> Model:
    """The body of a request. Raises RequestValidationError."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        errors = [{**entry, "loc": ("body", *entry["loc"])} for entry in error.errors(include_url=False)]
        raise RequestValidationError(errors) from None
