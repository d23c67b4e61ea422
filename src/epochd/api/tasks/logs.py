"""The output of a task's workers: one log per attempt, as lines or as a live stream.

A path consists of a task id and an attempt number that exist in the database; no part of it is taken from the request.
The id of a line in a stream is its attempt and the offset of its end in the file.
"""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import Header, Query, Request
from fastapi.responses import StreamingResponse

from epochd.api.deps import ServiceDep
from epochd.api.leader import at_leader
from epochd.api.responses import PING, PING_SECONDS, SHUTDOWN, ErrorShape, event_stream, event_stream_response
from epochd.api.service import Service
from epochd.api.tasks.responses import LogOf
from epochd.api.tasks.routing import training_router
from epochd.core.errors import Busy, NotFound
from epochd.core.jobs import Job, State
from epochd.store import jobs

router = training_router()

POLL_SECONDS = 0.25
"""Time between two reads of a log file."""
LATE_SECONDS = 3.0
"""How long another server may take to store the log of an attempt that has ended at its machine."""
CHUNK_BYTES = 64 * 1024
READ_BYTES = 16 * CHUNK_BYTES

RESPONSES: dict[int | str, dict[str, Any]] = {
    200: event_stream("LogStreamEvent") | {"description": "The lines, or with `follow` a stream of them"},
    404: {"model": ErrorShape, "description": "No such task or attempt"},
}

Attempt = Annotated[int | None, Query(ge=1, description="The attempt. Default: the newest attempt that has a log.")]
LogLine = tuple[int, str]
"""The offset of a line's end, in bytes, and its text."""


@router.get(
    "/logs/{task_id}",
    operation_id="get_logs",
    summary="Get the log of a training",
    response_model=LogOf,
    responses=RESPONSES,
)
async def logs(
    request: Request,
    task_id: str,
    service: ServiceDep,
    attempt: Attempt = None,
    tail: Annotated[int, Query(ge=0, le=10_000, description="The number of last lines.")] = 200,
    follow: Annotated[bool, Query(description="Stream these lines and all new lines as SSE.")] = False,
    last_event_id: Annotated[str | None, Header(pattern=r"^\d{1,9}:\d{1,15}$")] = None,
) -> LogOf | StreamingResponse:
    """The last lines of an attempt's log, and the attempts that have one.

    With ``follow`` the answer is a stream of lines (`{"attempt", "line"}`) of this attempt and later ones, until the
    task has ended. `Last-Event-ID` continues after a line.
    """
    job = await jobs.get(service.db, task_id)
    offset = None
    if follow and last_event_id is not None:
        attempt, offset = map(int, last_event_id.split(":"))
    known = await _fetched(request, service, job, follow=follow)
    is_lost = offset is not None and (attempt or 0) <= job.attempt  # with the server that had it
    if attempt is not None and attempt not in known and not is_lost:
        listed = ", ".join(map(str, known)) or "none"
        raise NotFound(f"attempt {attempt} of task {job.id} has no log; attempts with a log: {listed}")
    chosen = attempt or (known[-1] if known else None)
    path = path_of(service, job.id, chosen or 1)
    if follow:
        start = await asyncio.to_thread(offset_of_last, path, tail) if offset is None else offset
        return event_stream_response(request, _followed(service, job.id, chosen or 1, start))
    lines = await asyncio.to_thread(last_lines, path, tail) if chosen else []
    return LogOf(task_id=job.id, attempts=known, attempt=chosen, lines=lines)


async def _fetched(request: Request, service: Service, job: Job, *, follow: bool) -> list[int]:
    """The attempts that have a log, after those of attempts that have ended elsewhere were fetched from the object
    store. The server that leads may have the log of the newest one, or will have it, and answers then. Raises Busy if
    none leads and that log is to be followed."""
    known = attempts_of(service, job)
    if not service.storage.is_on or (len(known) == job.attempt and service.membership is None):
        return known
    await service.storage.logs(job)
    known = attempts_of(service, job)
    is_written = not job.state.is_final if follow else job.state is State.RUNNING
    if job.attempt not in known or is_written:
        try:
            await at_leader(request, service)
        except Busy:
            if follow:
                raise
    return known


def attempts_of(service: Service, job: Job) -> list[int]:
    """The attempts that have a log, oldest first."""
    return [number for number in range(1, job.attempt + 1) if path_of(service, job.id, number).is_file()]


def path_of(service: Service, task_id: str, attempt: int) -> Path:
    return service.settings.logs_dir / task_id / f"{attempt}.log"


def last_lines(path: Path, count: int) -> list[str]:
    """The last ``count`` lines of a file."""
    start = offset_of_last(path, count)
    with path.open("rb") as file:
        file.seek(start)
        return [text for _, text in _lines(file.read(), 0)]


def offset_of_last(path: Path, count: int) -> int:
    """The offset in bytes of the last ``count`` lines of a file, read backwards; 0 if there is no file yet."""
    if not path.is_file():
        return 0
    data = b""
    with path.open("rb") as file:
        size = offset = file.seek(0, os.SEEK_END)
        while offset > 0 and data.count(b"\n") <= count:
            step = min(CHUNK_BYTES, offset)
            offset = file.seek(offset - step)
            data = file.read(step) + data
    return size - sum(map(len, data.splitlines(keepends=True)[-count:])) if count else size


async def _followed(service: Service, task_id: str, attempt: int, offset: int) -> AsyncIterator[bytes]:
    """New lines of an attempt and later ones as SSE, until the task ends, the server stops, or another one leads."""
    pinged_at, is_leader, over_at = time.monotonic(), service.is_leader, None
    late_seconds = LATE_SECONDS if service.storage.is_on and service.membership is not None else 0.0
    with service.event_bus.subscribe(task_id) as subscriber:
        while not subscriber.closed and service.is_leader == is_leader:
            try:
                job = await jobs.get(service.db, task_id)
            except NotFound:  # the task was removed
                return
            path, is_over = path_of(service, task_id, attempt), job.state.is_final or job.attempt > attempt
            over_at = over_at or (time.monotonic() if is_over else None)
            is_settled = over_at is not None and time.monotonic() - over_at >= late_seconds
            lines = await asyncio.to_thread(new_lines, path, offset, at_end=is_settled)
            for offset, text in lines:
                yield f"id: {attempt}:{offset}\ndata: {json.dumps({'attempt': attempt, 'line': text})}\n\n".encode()
            if time.monotonic() - pinged_at > PING_SECONDS:
                pinged_at = time.monotonic()
                yield PING
            if is_over and not is_settled:
                await service.storage.logs(job)
            elif not lines:
                if later := [number for number in attempts_of(service, job) if number > attempt]:
                    # an attempt that was revoked before it started has no log
                    attempt, offset, over_at = later[0], 0, None
                elif job.state.is_final:
                    return
            await asyncio.sleep(POLL_SECONDS)
        yield SHUTDOWN


def new_lines(path: Path, offset: int, *, at_end: bool) -> list[LogLine]:
    """Complete lines after the offset ``offset``; ``at_end`` also an incomplete last line.

    A log that has been shortened is read from its start, and a very long line is returned in parts.
    """
    if not path.is_file():
        return []
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.seek(offset if offset <= size else 0)
        data = file.read(READ_BYTES)
    complete = data.rfind(b"\n") + 1
    if at_end or (not complete and len(data) == READ_BYTES):
        complete = len(data)
    return _lines(data[:complete], start)


def _lines(data: bytes, offset: int) -> list[LogLine]:
    lines = []
    for line in data.splitlines(keepends=True):
        offset += len(line)
        lines.append((offset, line.decode(errors="replace").rstrip("\r\n")))
    return lines
