"""Pause and stop: an order is written down at once, and answered once the worker has obeyed it.

The wait hangs on the live feed, so that an answer comes with the worker's last report and not with the
next turn of some polling loop.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from epochd.api.deps import Opened, Speaking
from epochd.api.feed import KEPT_TYPES
from epochd.api.messages import Text
from epochd.api.responses import ErrorShape
from epochd.api.service import Service
from epochd.api.tasks.responses import Controlled
from epochd.core.jobs import Job, State
from epochd.store import jobs
from epochd.store.db import Database

router = APIRouter()

Wait = Annotated[
    float | None,
    Query(ge=0, le=60, description="Seconds to wait for the worker; by default EPOCHD_PAUSE_WAIT_SECONDS."),
]
Order = Callable[[Database, str], Awaitable[Job]]

RESPONSES: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorShape, "description": "No such task"},
    409: {"model": ErrorShape, "description": "The task's state does not allow it"},
}
WAITING: dict[int | str, dict[str, Any]] = {
    **RESPONSES,
    202: {"model": Controlled, "description": "The order stands; the worker has not obeyed it yet"},
}


@router.post("/pause/{task_id}", summary="Pause a training", responses=WAITING)
async def pause(task_id: str, service: Opened, speaker: Speaking, response: Response, wait: Wait = None) -> Controlled:
    """Save a checkpoint, end the worker's process and give its slot to the next task."""
    job = await obeyed(service, task_id, jobs.pause, wait)
    return _controlled(job, speaker.say(Text.PAUSING), speaker.state(job.state), response)


@router.post("/stop/{task_id}", summary="Stop a training for good", responses=WAITING)
async def stop(task_id: str, service: Opened, speaker: Speaking, response: Response, wait: Wait = None) -> Controlled:
    """Cancel a training; it cannot be resumed."""
    job = await obeyed(service, task_id, jobs.stop, wait)
    return _controlled(job, speaker.say(Text.STOPPING), speaker.state(job.state), response)


async def obeyed(service: Service, task_id: str, order: Order, wait: float | None) -> Job:
    """Give an order and wait until the task no longer runs; the job as it is then, or after ``wait`` seconds."""
    seconds = service.settings.pause_wait_seconds if wait is None else wait
    deadline = asyncio.get_running_loop().time() + seconds
    with service.feed.subscribe(task_id) as subscriber:
        job = await order(service.db, task_id)
        while job.state is State.RUNNING:
            try:
                async with asyncio.timeout_at(deadline):
                    line = await subscriber.next()
            except TimeoutError:
                return job
            if line is None:
                return job
            if line.type in KEPT_TYPES:
                job = await jobs.get(service.db, task_id)
    return job


def _controlled(job: Job, so_far: str, done: str, response: Response) -> Controlled:
    if job.state is State.RUNNING:
        response.status_code = 202
    message = so_far if job.state is State.RUNNING else done
    return Controlled(task_id=job.id, state=job.state, message=message)
