"""What the workers of a task have printed: one log for each attempt, as lines or live.

The files are written by the workers themselves. A path is made of a task's id and a number, both of which the
server knows; nothing of a request becomes part of it.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from epochd.api.deps import Opened
from epochd.api.responses import ErrorShape, LogOf
from epochd.api.service import Service
from epochd.core.errors import NotFound
from epochd.core.jobs import Job
from epochd.store import jobs

router = APIRouter()

POLL_SECONDS = 0.25
"""A file cannot tell that it has grown."""
MAX_TAIL = 10_000
CHUNK_BYTES = 64 * 1024

UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"model": ErrorShape, "description": "No such task or attempt"}}

Attempt = Annotated[int | None, Query(ge=1, description="Which attempt; absent: the newest that has a log.")]
Tail = Annotated[int, Query(ge=0, le=MAX_TAIL, description="How many of the last lines.")]
Follow = Annotated[bool, Query(description="Stream the lines, and what is written from now on, as SSE.")]


@router.get("/logs/{task_id}", summary="What a training has printed", response_model=LogOf, responses=UNKNOWN)
async def logs(
    task_id: str, service: Opened, attempt: Attempt = None, tail: Tail = 200, follow: Follow = False
) -> LogOf | StreamingResponse:
    """The last lines of an attempt's log, and which attempts have one.

    With ``follow`` the answer is a stream of lines (`{"attempt", "line"}`) of this attempt and those after it, until
    the task has ended.
    """
    job = await jobs.get(service.db, task_id)
    known = attempts_of(service, job)
    if attempt is not None and attempt not in known:
        listed = ", ".join(map(str, known)) or "none"
        raise NotFound(f"attempt {attempt} of task {job.id} has no log; those that have one: {listed}")
    if follow:
        first = attempt or (known[-1] if known else 1)
        return StreamingResponse(_sse(service, job.id, first, tail), media_type="text/event-stream")
    chosen = attempt or (known[-1] if known else None)
    lines = await asyncio.to_thread(last_lines, path_of(service, job.id, chosen), tail) if chosen else []
    return LogOf(task_id=job.id, attempts=known, attempt=chosen, lines=lines)


def attempts_of(service: Service, job: Job) -> list[int]:
    """The attempts that have a log, oldest first."""
    return [number for number in range(1, job.attempt + 1) if path_of(service, job.id, number).is_file()]


def path_of(service: Service, task_id: str, attempt: int) -> Path:
    return service.settings.logs_dir / task_id / f"{attempt}.log"


def last_lines(path: Path, count: int) -> list[str]:
    """The last lines of a file; it is read from its end."""
    found = b""
    with path.open("rb") as file:
        place = file.seek(0, os.SEEK_END)
        while place > 0 and found.count(b"\n") <= count:
            size = min(CHUNK_BYTES, place)
            place = file.seek(place - size)
            found = file.read(size) + found
    return found.decode(errors="replace").splitlines()[-count:] if count else []


async def _sse(service: Service, task_id: str, attempt: int, tail: int) -> AsyncIterator[str]:
    async for number, line in _followed(service, task_id, attempt, tail):
        yield f"data: {json.dumps({'attempt': number, 'line': line})}\n\n"


async def _followed(service: Service, task_id: str, attempt: int, tail: int) -> AsyncIterator[tuple[int, str]]:
    """Lines of an attempt and of those after it, until the task has ended or the server ends."""
    with service.feed.subscribe(task_id) as subscriber:
        path, place = path_of(service, task_id, attempt), 0
        if path.is_file():
            for line in await asyncio.to_thread(last_lines, path, tail):
                yield attempt, line
            place = path.stat().st_size
        while not subscriber.closed:
            job = await jobs.get(service.db, task_id)
            lines, place = await asyncio.to_thread(_new_lines, path, place, at_end=job.state.is_final)
            for line in lines:
                yield attempt, line
            if not lines and job.attempt > attempt and path_of(service, task_id, attempt + 1).is_file():
                attempt, place = attempt + 1, 0
                path = path_of(service, task_id, attempt)
            elif not lines and job.state.is_final:
                return
            await asyncio.sleep(POLL_SECONDS)


def _new_lines(path: Path, place: int, *, at_end: bool) -> tuple[list[str], int]:
    """Whole lines from ``place`` on, and the place behind them. A log that was shortened is read from its start."""
    if not path.is_file():
        return [], 0
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(place if place <= size else 0)
        start = file.tell()
        found = file.read(CHUNK_BYTES * 16)
    whole = len(found) if at_end else found.rfind(b"\n") + 1
    return found[:whole].decode(errors="replace").splitlines(), start + whole
