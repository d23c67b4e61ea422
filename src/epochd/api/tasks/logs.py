"""What the workers of a task have printed: one log for each attempt, as lines or live.

The files are written by the workers themselves. A path is made of a task's id and a number, both of which the
server knows; nothing of a request becomes part of it. The id of a line in a stream is its attempt and the place
behind it in that attempt's file, so that a reader who comes back goes on there.
"""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse

from epochd.api.deps import Opened
from epochd.api.feed import Subscriber
from epochd.api.responses import ErrorShape
from epochd.api.service import Service
from epochd.api.tasks.responses import LogOf
from epochd.core.errors import NotFound
from epochd.core.jobs import Job
from epochd.store import jobs

router = APIRouter()

POLL_SECONDS = 0.25
"""A file cannot tell that it has grown."""
PING_SECONDS = 15.0
"""So often a stream shows that it is alive."""
MAX_TAIL = 10_000
CHUNK_BYTES = 64 * 1024
READ_BYTES = 16 * CHUNK_BYTES

UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"model": ErrorShape, "description": "No such task or attempt"}}

Attempt = Annotated[int | None, Query(ge=1, description="Which attempt; absent: the newest that has a log.")]
Tail = Annotated[int, Query(ge=0, le=MAX_TAIL, description="How many of the last lines.")]
Follow = Annotated[bool, Query(description="Stream the lines, and what is written from now on, as SSE.")]
LastId = Annotated[str | None, Header(pattern=r"^\d{1,9}:\d{1,15}$")]

Line = tuple[int, str]
"""The place behind a line, in bytes, and its text."""


@router.get("/logs/{task_id}", summary="What a training has printed", response_model=LogOf, responses=UNKNOWN)
async def logs(
    task_id: str,
    service: Opened,
    attempt: Attempt = None,
    tail: Tail = 200,
    follow: Follow = False,
    last_event_id: LastId = None,
) -> LogOf | StreamingResponse:
    """The last lines of an attempt's log, and which attempts have one.

    With ``follow`` the answer is a stream of lines (`{"attempt", "line"}`) of this attempt and those after it, until
    the task has ended. `Last-Event-ID` goes on behind a line.
    """
    job = await jobs.get(service.db, task_id)
    place = None
    if follow and last_event_id is not None:
        attempt, place = map(int, last_event_id.split(":"))
    known = attempts_of(service, job)
    if attempt is not None and attempt not in known:
        listed = ", ".join(map(str, known)) or "none"
        raise NotFound(f"attempt {attempt} of task {job.id} has no log; those that have one: {listed}")
    chosen = attempt or (known[-1] if known else None)
    path = path_of(service, job.id, chosen or 1)
    if follow:
        start = await asyncio.to_thread(place_of_last, path, tail) if place is None else place
        return StreamingResponse(_sse(service, job.id, chosen or 1, start), media_type="text/event-stream")
    lines = await asyncio.to_thread(last_lines, path, tail) if chosen else []
    return LogOf(task_id=job.id, attempts=known, attempt=chosen, lines=lines)


def attempts_of(service: Service, job: Job) -> list[int]:
    """The attempts that have a log, oldest first."""
    return [number for number in range(1, job.attempt + 1) if path_of(service, job.id, number).is_file()]


def path_of(service: Service, task_id: str, attempt: int) -> Path:
    return service.settings.logs_dir / task_id / f"{attempt}.log"


def last_lines(path: Path, count: int) -> list[str]:
    """The last lines of a file."""
    with path.open("rb") as file:
        file.seek(_place_of_last(file, count))
        return [text for _, text in _lines(file.read(), 0)]


def place_of_last(path: Path, count: int) -> int:
    """Where the last lines of a file begin, in bytes; 0 if there is no file yet."""
    if not path.is_file():
        return 0
    with path.open("rb") as file:
        return _place_of_last(file, count)


def _place_of_last(file: BinaryIO, count: int) -> int:
    """The file is read from its end."""
    found = b""
    size = place = file.seek(0, os.SEEK_END)
    while place > 0 and found.count(b"\n") <= count:
        step = min(CHUNK_BYTES, place)
        place = file.seek(place - step)
        found = file.read(step) + found
    return size - sum(map(len, found.splitlines(keepends=True)[-count:])) if count else size


async def _sse(service: Service, task_id: str, attempt: int, place: int) -> AsyncIterator[str]:
    pinged_at = time.monotonic()
    with service.feed.subscribe(task_id) as subscriber:
        async for number, lines in _followed(service, task_id, attempt, place, subscriber):
            for behind, text in lines:
                yield f"id: {number}:{behind}\ndata: {json.dumps({'attempt': number, 'line': text})}\n\n"
            if time.monotonic() - pinged_at > PING_SECONDS:
                pinged_at = time.monotonic()
                yield ": ping\n\n"
        if subscriber.closed:
            yield 'data: {"type": "server_shutdown"}\n\n'


async def _followed(
    service: Service, task_id: str, attempt: int, place: int, subscriber: Subscriber
) -> AsyncIterator[tuple[int, list[Line]]]:
    """New lines now and then, maybe none, of an attempt and of those after it, until the task or the server ends."""
    while not subscriber.closed:
        try:
            job = await jobs.get(service.db, task_id)
        except NotFound:  # it was removed
            return
        path = path_of(service, task_id, attempt)
        lines = await asyncio.to_thread(new_lines, path, place, at_end=job.state.is_final or job.attempt > attempt)
        yield attempt, lines
        if lines:
            place = lines[-1][0]
        elif later := [number for number in attempts_of(service, job) if number > attempt]:
            attempt, place = later[0], 0  # one between them that was taken back before it began has no log
        elif job.state.is_final:
            return
        await asyncio.sleep(POLL_SECONDS)


def new_lines(path: Path, place: int, *, at_end: bool) -> list[Line]:
    """Whole lines from ``place`` on, ``at_end`` also one that is not whole.

    A log that was shortened is read from its start, and a line that is very long comes in pieces.
    """
    if not path.is_file():
        return []
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.seek(place if place <= size else 0)
        found = file.read(READ_BYTES)
    whole = found.rfind(b"\n") + 1
    if at_end or (not whole and len(found) == READ_BYTES):
        whole = len(found)
    return _lines(found[:whole], start)


def _lines(found: bytes, place: int) -> list[Line]:
    lines = []
    for line in found.splitlines(keepends=True):
        place += len(line)
        lines.append((place, line.decode(errors="replace").rstrip("\r\n")))
    return lines
