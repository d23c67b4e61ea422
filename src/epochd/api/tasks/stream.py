"""A task's events as Server-Sent Events: first the past ones from the database, then the live ones.

A stream subscribes to the event bus before it reads the database, and skips live events that the database has already
returned, so that no event is lost or sent twice.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, HTTPException, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent

from epochd.api.deps import ServiceDep
from epochd.api.event_bus import EventLine, Subscriber, line_of
from epochd.api.responses import ErrorShape, event_stream
from epochd.store import events, jobs
from epochd.store.db import Database

router = APIRouter()

REPLAY_EVENTS = 500
"""How many past events are read at a time."""

RESPONSES: dict[int | str, dict[str, Any]] = {
    200: event_stream("TrainingEvent"),
    204: {"description": "The client has already received the last event; do not reconnect"},
    404: {"model": ErrorShape, "description": "No such task"},
}


@dataclass(frozen=True, slots=True)
class OpenStream:
    """One open stream: the task, the last event that its client has received, and its subscription."""

    db: Database
    task_id: str
    seen: int
    subscriber: Subscriber


async def open_stream(
    task_id: str,
    service: ServiceDep,
    last_event_id: Annotated[int | None, Header(ge=0, le=2**53)] = None,
    from_query: Annotated[int | None, Query(alias="last_event_id", ge=0, le=2**53)] = None,
) -> AsyncIterator[OpenStream]:
    """Find the task and subscribe to it until the response has ended. All errors are raised here, before the status."""
    requested = last_event_id if last_event_id is not None else from_query or 0
    with service.event_bus.subscribe(task_id) as subscriber:  # first, so that a later removal ends the stream
        job = await jobs.get(service.db, task_id)
        seen = min(requested, job.last_seq)
        if job.state.is_final and seen >= job.last_seq:
            raise HTTPException(204)
        yield OpenStream(service.db, task_id, seen, subscriber)


@router.get(
    "/stream-progress/{task_id}",
    operation_id="stream_progress",
    summary="Stream the events of a training",
    response_class=EventSourceResponse,
    responses=RESPONSES,
)
async def stream(opened: Annotated[OpenStream, Depends(open_stream)]) -> AsyncIterator[ServerSentEvent]:
    """Events with the types `state`, `progress`, `checkpoint` and `log`, then exactly one of `complete`,
    `failed` or `cancelled`. With `Last-Event-ID` the stream continues after that event; without it all are sent."""
    async for line in lines(opened):
        yield ServerSentEvent(id=str(line.seq), raw_data=line.text)
        if line.is_final:
            return
    yield ServerSentEvent(raw_data='{"type": "server_shutdown"}')


async def lines(opened: OpenStream) -> AsyncIterator[EventLine]:
    """All events after the last one received: those in the database, then live ones until the subscription ends."""
    seen = opened.seen
    while page := await events.after(opened.db, opened.task_id, seen, limit=REPLAY_EVENTS):
        for event in page:
            if opened.subscriber.closed:
                return
            yield line_of(event)
        seen = page[-1].seq
        if len(page) < REPLAY_EVENTS:
            break
    while (line := await opened.subscriber.next()) is not None:
        if line.seq > seen:
            seen = line.seq
            yield line
