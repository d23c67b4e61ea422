"""The route that workers use: they send reports and receive commands. The token of an attempt is valid only here."""

from typing import Any

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError

from epochd.api.deps import Credentials, JsonObject, ServiceDep
from epochd.core.errors import Unauthorized
from epochd.core.events import Report, ReportKind
from epochd.core.jobs import Command
from epochd.store import attempts

worker_router = APIRouter(prefix="/internal", include_in_schema=False)


class ReportShape(BaseModel):
    number: int = Field(ge=1)
    kind: ReportKind
    payload: dict[str, Any]


class Batch(BaseModel):
    """What a worker sends: its attempt and its reports; without reports it is a heartbeat."""

    attempt: int = Field(ge=1)
    idle: float | None = Field(None, ge=0, description="Seconds since the last finished step.")
    reports: list[ReportShape]


class Answer(BaseModel):
    command: Command


@worker_router.post("/attempts/{task_id}/report")
async def report(task_id: str, values: JsonObject, service: ServiceDep, credentials: Credentials) -> Answer:
    """Append a worker's reports to its task's log, renew its lease, and return a command."""
    if credentials is None:
        raise Unauthorized("reports require the attempt's token: send the header 'Authorization: Bearer <token>'")
    try:
        batch = Batch.model_validate(values)
    except ValidationError as error:
        errors = [{**entry, "loc": ("body", *entry["loc"])} for entry in error.errors(include_url=False)]
        raise RequestValidationError(errors) from None
    command = await attempts.report(
        service.db,
        task_id,
        batch.attempt,
        credentials.credentials,
        [Report(line.number, line.kind, line.payload) for line in batch.reports],
        lease_seconds=service.settings.lease_seconds,
        idle_seconds=batch.idle,
    )
    return Answer(command=command)
