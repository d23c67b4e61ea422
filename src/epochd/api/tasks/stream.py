"""A task's events as Server-Sent Events: first what has happened, then what happens.

The SSE id is the event's ``seq``. A follower subscribes to the live feed before it reads the log, and skips
what the log already gave it, so that between the two nothing is lost and nothing comes twice. Everything
that can be refused is refused in the dependency: an exception inside the generator would come too late,
after the 200.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, HTTPException, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent

from epochd.api.deps import Opened
from epochd.api.feed import Line, Subscriber, line_of
from epochd.api.responses import ErrorShape
from epochd.store import events, jobs
from epochd.store.db import Database

router = APIRouter()

REPLAY_LINES = 500
"""How many events of the log are read at a time."""

RESPONSES: dict[int | str, dict[str, Any]] = {
    204: {"description": "The last event has been seen already; do not reconnect"},
    404: {"model": ErrorShape, "description": "No such task"},
}


@dataclass(frozen=True, slots=True)
class Following:
    """One open stream: the task, the last event its client has seen, and its place in the live feed."""

    db: Database
    task_id: str
    seen: int
    subscriber: Subscriber


async def following(
    task_id: str,
    service: Opened,
    last_event_id: Annotated[int | None, Header(ge=0, le=2**53)] = None,
    from_query: Annotated[int | None, Query(alias="last_event_id", ge=0, le=2**53)] = None,
) -> AsyncIterator[Following]:
    """Look the task up and subscribe to it until the response has ended, however it ends."""
    asked = last_event_id if last_event_id is not None else from_query or 0
    with service.feed.subscribe(task_id) as subscriber:  # first, so that a removal after the look-up ends it
        job = await jobs.get(service.db, task_id)
        seen = min(asked, job.last_seq)
        if job.state.is_final and seen >= job.last_seq:
            raise HTTPException(204)
        yield Following(service.db, task_id, seen, subscriber)


@router.get(
    "/stream-progress/{task_id}",
    summary="Follow a training live",
    response_class=EventSourceResponse,
    responses=RESPONSES,
)
async def stream(follower: Annotated[Following, Depends(following)]) -> AsyncIterator[ServerSentEvent]:
    """Events with the types `state`, `progress`, `checkpoint` and `log`, then exactly one of `complete`,
    `failed` or `cancelled`. Send `Last-Event-ID` to go on after an event; without it all are replayed."""
    async for line in lines(follower):
        yield ServerSentEvent(id=str(line.seq), raw_data=line.text)
        if line.is_final:
            return
    yield ServerSentEvent(raw_data='{"type": "server_shutdown"}')


async def lines(follower: Following) -> AsyncIterator[Line]:
    """All lines after the one that was seen: those in the log, then live ones until the feed closes."""
    seen = follower.seen
    while page := await events.after(follower.db, follower.task_id, seen, limit=REPLAY_LINES):
        for event in page:
            if follower.subscriber.closed:
                return
            yield line_of(event)
        seen = page[-1].seq
        if len(page) < REPLAY_LINES:
            break
    while (line := await follower.subscriber.next()) is not None:
        if line.seq > seen:
            seen = line.seq
            yield line
