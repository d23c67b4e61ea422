"""One stream for several tasks, so that a browser needs one connection however many pages it shows.

Each task is followed from a number of its own. What is no event, such as the place within an epoch, is sent at most
once a second and never again: the next such message replaces it.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from fastapi.responses import StreamingResponse

from epochd.api import event_bus
from epochd.api.deps import ServiceDep
from epochd.api.event_bus import EventLine, Feed
from epochd.api.responses import PING, PING_SECONDS, SHUTDOWN, event_stream, event_stream_response
from epochd.api.service import Service
from epochd.api.tasks.queries import standings_of
from epochd.api.tasks.responses import TaskLine
from epochd.api.tasks.routing import training_router
from epochd.api.tasks.stream import pace
from epochd.core.errors import InvalidRequest, Problem
from epochd.core.jobs import TASK_ID, is_prediction
from epochd.core.language import current
from epochd.dispatch.queue import NOT_WAITING, Standing
from epochd.store import jobs

router = training_router()

SUMMARY_SECONDS = 1.0
"""The shortest time between two summaries of what is no event."""
MAX_FOLLOWED = 100
FOLLOWED = re.compile(r"([^:]+):(\d{1,15})")


@dataclass
class OpenFeed:
    """An open stream. ``seen`` is the last event of each task that its client has received."""

    service: Service
    feed: Feed
    seen: dict[str, int]
    missing: set[str] = field(default_factory=set)
    """The followed tasks that do not exist."""


async def open_feed(
    service: ServiceDep,
    follow: Annotated[
        list[str] | None,
        Query(
            max_length=MAX_FOLLOWED,
            description="`TASK_ID:N`, several times: send the events of this task after number N (0: all of them).",
        ),
    ] = None,
    tasks: Annotated[bool, Query(description="Send each training of the list that changes.")] = False,
) -> AsyncIterator[OpenFeed]:
    """Find the tasks and subscribe to them until the response has ended."""
    seen = dict(_followed(follow or []))
    with service.event_bus.open_feed(seen, lists_tasks=tasks) as feed:
        last = await jobs.last_seqs(service.db, list(seen))
        for task_id, seq in last.items():
            service.follow(task_id, seq)
        seen = {task_id: min(seq, last[task_id]) for task_id, seq in seen.items() if task_id in last}
        yield OpenFeed(service, feed, seen, feed.subscribers.keys() - seen.keys())


def _followed(given: list[str]) -> Iterator[tuple[str, int]]:
    """Task and number of each value. Raises InvalidRequest."""
    for value in given:
        found = FOLLOWED.fullmatch(value)
        if found is None or not TASK_ID.fullmatch(found[1]) or is_prediction(found[1]):
            message = f"{value[:100]!r} is not the id of a training, a colon and the number of an event"
            raise InvalidRequest(message, [Problem("follow", message, "for example follow=TASK_ID:0")])
        yield found[1], int(found[2])


@router.get(
    "/stream",
    operation_id="stream_trainings",
    summary="Stream the events of several trainings",
    response_class=StreamingResponse,
    responses={200: event_stream("LiveEvent")},
)
async def stream(request: Request, opened: Annotated[OpenFeed, Depends(open_feed)]) -> StreamingResponse:
    """The events of `stream-progress` of each task, with the ids `TASK_ID:N`. Without ids, at most once a second:
    `activity` (the place within the epoch, memory, processors), `tasks` (trainings that have changed, as in the list)
    and `removed`. The stream has no end; after a lost connection follow each task from its last number.
    """
    return event_stream_response(request, sent(opened))


async def sent(opened: OpenFeed) -> AsyncIterator[bytes]:
    service, feed = opened.service, opened.feed
    if opened.missing:
        yield _message({"type": "removed", "task_ids": sorted(opened.missing)})
    for task_id in opened.seen:
        feed.activities |= {task_id: now} if (now := service.event_bus.activities.get(task_id)) else {}
        async for page in _past(opened, task_id):
            yield page
    clock = asyncio.get_running_loop().time
    summary_at = clock()
    while not service.event_bus.closed:
        feed.changed.clear()
        if part := b"".join(_new(opened)):
            yield part
        if feed.has_summary and clock() >= summary_at:
            summary_at = clock() + SUMMARY_SECONDS
            waiting = await standings_of(opened.service, feed.jobs.values())
            yield b"".join(_summary(feed, waiting))
        if part:
            await asyncio.sleep(pace(service))
        wait = summary_at - clock() if feed.has_summary else PING_SECONDS
        try:
            async with asyncio.timeout(max(0.0, wait)):
                await feed.changed.wait()
        except TimeoutError:
            if wait == PING_SECONDS:
                yield PING
    yield SHUTDOWN


async def _past(opened: OpenFeed, task_id: str) -> AsyncIterator[bytes]:
    """The events in the database that the client has not received."""
    language = current.get()
    while page := await opened.service.past_events.after(task_id, opened.seen[task_id]):
        if opened.feed.subscribers[task_id].closed:
            return
        yield b"".join(_identified(line, line.told(language), task_id) for line in page)
        opened.seen[task_id] = page[-1].seq
        if len(page) < event_bus.PAGE_EVENTS:
            return


def _new(opened: OpenFeed) -> Iterator[bytes]:
    """The events that have been published since the last call."""
    language = current.get()
    for task_id, subscriber in opened.feed.subscribers.items():
        for line in subscriber.take_waiting():
            if line.seq > opened.seen.get(task_id, 0):
                opened.seen[task_id] = line.seq
                yield _identified(line, line.told(language), task_id)


def _identified(line: EventLine, data: bytes, task_id: str) -> bytes:
    """An event whose id names its task too."""
    return data.replace(b"\nid: %d\n" % line.seq, b"\nid: %s:%d\n" % (task_id.encode(), line.seq), 1)


def _summary(feed: Feed, waiting: Mapping[str, Standing]) -> Iterator[bytes]:
    """What waits besides events; nothing of it waits afterwards. ``waiting`` is what pending trainings wait for."""
    if feed.jobs:
        listed = [TaskLine.of(job, waiting.get(job.id, NOT_WAITING)) for job in feed.jobs.values()]
        lines = [line.model_dump(mode="json") for line in listed]
        yield _message({"type": "tasks", "tasks": lines})
    for task_id, activity in feed.activities.items():
        yield _message({"type": "activity", "task_id": task_id, "activity": activity.model_dump(mode="json")})
    if feed.removed:
        yield _message({"type": "removed", "task_ids": sorted(feed.removed)})
    for pending in (feed.jobs, feed.activities, feed.removed):
        pending.clear()


def _message(data: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(data, allow_nan=False)}\n\n".encode("ascii")
