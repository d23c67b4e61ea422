"""A task's events as Server-Sent Events: first the past ones from the database, then the live ones.

A stream subscribes to the event bus before it reads the database, and skips live events that the database has already
returned, so that no event is lost or sent twice.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Header, HTTPException, Query, Request
from fastapi.responses import StreamingResponse

from epochd.api import event_bus
from epochd.api.deps import ServiceDep
from epochd.api.event_bus import Subscriber
from epochd.api.responses import PING, PING_SECONDS, SHUTDOWN, ErrorShape, event_stream, event_stream_response
from epochd.api.service import Service
from epochd.api.tasks.routing import training_router
from epochd.core.language import current
from epochd.store import jobs

router = training_router()

PACE_SECONDS, MAX_PACE_SECONDS = 0.0004, 1.0
"""How long a stream waits for further events after it has sent some, for each open stream: sending takes about a
quarter of that time, however fast a training is and however many read it."""

RESPONSES: dict[int | str, dict[str, Any]] = {
    200: event_stream("TrainingEvent"),
    204: {"description": "The client has already received the last event; do not reconnect"},
    404: {"model": ErrorShape, "description": "No such task"},
}


@dataclass(frozen=True, slots=True)
class OpenStream:
    """One open stream: the task, the last event that its client has received, and its subscription."""

    service: Service
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
        service.follow(task_id, job.last_seq)
        seen = min(requested, job.last_seq)
        if job.state.is_final and seen >= job.last_seq:
            raise HTTPException(204)
        yield OpenStream(service, task_id, seen, subscriber)


@router.get(
    "/stream-progress/{task_id}",
    operation_id="stream_progress",
    summary="Stream the events of a training",
    response_class=StreamingResponse,
    responses=RESPONSES,
)
async def stream(request: Request, opened: Annotated[OpenStream, Depends(open_stream)]) -> StreamingResponse:
    """Events with the types `state`, `progress`, `checkpoint` and `log`, then exactly one of `complete`,
    `failed` or `cancelled`. With `Last-Event-ID` the stream continues after that event; without it all are sent."""
    return event_stream_response(request, sent(opened))


async def sent(opened: OpenStream) -> AsyncIterator[bytes]:
    """All events after the last one received: those in the database, then live ones until the subscription ends."""
    past, language = opened.service.past_events, current.get()
    seen, is_final = opened.seen, False
    while page := await past.after(opened.task_id, seen):
        if opened.subscriber.closed:  # what its buffer still has may come after events that were not sent yet
            yield SHUTDOWN
            return
        yield b"".join(line.told(language) for line in page)
        seen, is_final = page[-1].seq, page[-1].is_final
        if len(page) < event_bus.PAGE_EVENTS:
            break
    while not is_final:
        try:
            async with asyncio.timeout(PING_SECONDS):
                lines = await opened.subscriber.take()
        except TimeoutError:
            yield PING
            continue
        if not lines:
            yield SHUTDOWN
            return
        if new := [line for line in lines if line.seq > seen]:
            yield b"".join(line.told(language) for line in new)
            seen, is_final = new[-1].seq, new[-1].is_final
        if not is_final:
            await asyncio.sleep(pace(opened.service))


def pace(service: Service) -> float:
    """How many seconds a stream waits after it has sent some events: by chance, so that not all send at once."""
    return min(len(service.event_bus) * PACE_SECONDS, MAX_PACE_SECONDS) * random.uniform(0.5, 1.5)
