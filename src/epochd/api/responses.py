"""Base classes of all responses, the error shape, streams, timestamps, and values that OpenAPI describes by a name."""

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from fastapi import Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, RootModel, WithJsonSchema

from epochd.api.language import Told
from epochd.core.errors import error_codes

T = TypeVar("T")

PING_SECONDS, PING = 15.0, b": ping\n\n"
"""How long a stream may be without an event before this comment is sent, which keeps proxies from closing it."""
SHUTDOWN = b'data: {"type": "server_shutdown"}\n\n'
"""The last event of a stream that the server's end interrupts."""
MARK = "x-epochd-schema"
"""Stands for ``$ref`` until ``openapi`` has put all named schemas into the description."""


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Moment = Annotated[
    float, PlainSerializer(_iso, return_type=str), WithJsonSchema({"type": "string", "format": "date-time"})
]
"""Seconds since the Unix epoch in Python, ISO 8601 in UTC in JSON."""


def described_as(*names: str) -> WithJsonSchema:
    """Describe a value that is sent as it is by one of the named schemas of ``openapi.COMPONENTS``."""
    found = [{MARK: name} for name in names]
    return WithJsonSchema(found[0] if len(found) == 1 else {"anyOf": found})


def json_body(name: str, *, required: bool = True) -> dict[str, Any]:
    """The OpenAPI description of a request body with this schema, which the route reads as raw JSON."""
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": {MARK: name}}}}}


def event_stream(name: str) -> dict[str, Any]:
    """The OpenAPI description of a stream of Server-Sent Events whose data have this schema."""
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": {MARK: name}}
    properties = {"data": data, "id": {"type": "string"}}
    item = {"type": "object", "properties": properties, "required": ["data"]}
    return {"content": {"text/event-stream": {"itemSchema": item}}}


def event_stream_response(request: Request, content: AsyncIterator[bytes]) -> StreamingResponse:
    """A stream of Server-Sent Events that proxies neither store nor hold back. It ends with the session of its client,
    at the latest when the next comment is due."""
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    until = _until(content, request.state.access_ends_at)
    return StreamingResponse(until, media_type="text/event-stream", headers=headers)


async def _until(content: AsyncIterator[bytes], ends_at: float) -> AsyncIterator[bytes]:
    async for part in content:
        if time.time() >= ends_at:
            return
        yield part


Config = Annotated[dict[str, Any], described_as("TrainingConfig")]


class Shape(BaseModel):
    """Base class of all responses: every field is present. Descriptions are not read from docstrings, and the classes
    are built when they are first used: each would delay the server's start by a tenth of a second."""

    model_config = ConfigDict(
        protected_namespaces=(), json_schema_serialization_defaults_required=True, defer_build=True
    )


class RootShape(RootModel[T], Generic[T]):
    """Base class of what is no object with fields of its own, such as one of several shapes."""

    model_config = ConfigDict(defer_build=True)


class Success(Shape):
    success: Literal[True] = True


class ProblemShape(Shape):
    field: str
    message: Told
    hint: Told = ""


class GpuUsage(Shape):
    """What the driver does not report is null."""

    id: int
    utilization: float | None = Field(ge=0, le=1, description="From 0 to 1.")
    memory: int | None = Field(ge=0, description="Bytes in use.")
    memory_total: int | None = Field(ge=0)


class Activity(Shape):
    """What a running training did at its last heartbeat, and what it used of its machine."""

    epoch: int = Field(ge=1, description="The epoch that is being trained, from 1.")
    step: int = Field(ge=0, description="The number of its steps that are complete.")
    steps: int = Field(ge=1, description="The number of steps of each epoch.")
    memory: int | None = Field(None, ge=0, description="Private memory of all its processes, in bytes.")
    cpu: float | None = Field(None, ge=0, description="The mean number of busy cores in the last second.")
    gpus: list[GpuUsage] = []


class ErrorShape(Shape):
    """The body of every response with status 400 or higher."""

    success: Literal[False] = False
    code: Annotated[str, WithJsonSchema({MARK: "ErrorCode"})] = Field(examples=["invalid_spec"])
    message: Told
    problems: list[ProblemShape]


def error_code_schema() -> dict[str, Any]:
    """All codes of errors that the API sends."""
    return {"type": "string", "enum": error_codes(), "title": "ErrorCode"}
