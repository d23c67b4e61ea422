"""Pause, resume and stop: an order is written down at once, and answered once the worker has obeyed it.

The wait hangs on the live feed, so that an answer comes with the worker's last report and not with the
next turn of some polling loop.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from epochd.api.deps import Opened, Speaking, json_object
from epochd.api.errors import InvalidRequest
from epochd.api.feed import KEPT_TYPES
from epochd.api.messages import Text
from epochd.api.responses import Controlled, ErrorShape, Resumed
from epochd.api.service import Service
from epochd.core.errors import DataChanged, Problem
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
RESUME_BODY: dict[str, Any] = {
    "requestBody": {
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {"allow_changed_data": {"type": "boolean", "default": False}},
                    "additionalProperties": False,
                }
            }
        }
    }
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


@router.post("/resume/{task_id}", summary="Resume a paused training", responses=RESPONSES, openapi_extra=RESUME_BODY)
async def resume(task_id: str, request: Request, service: Opened, speaker: Speaking) -> Resumed:
    """Put a paused training back into the queue; it goes on exactly where it left off.

    Refused if the dataset has changed since, unless the body, or the config, has ``allow_changed_data``.
    """
    allow = _allows_changed_data(await json_object(request) if await request.body() else {})
    if not allow:
        await check_data(service, await jobs.get(service.db, task_id))
    job = await jobs.resume(service.db, task_id, {"allow_changed_data": True} if allow else {})
    return Resumed(
        task_id=job.id,
        state=job.state,
        message=speaker.say(Text.RESUMED),
        queue_position=await jobs.position(service.db, job.id),
        receipt=receipt(job),
    )


def _allows_changed_data(values: dict[str, Any]) -> bool:
    """The one option of a resume. Raises InvalidRequest for any other, and for what is not true or false."""
    wrong = [name for name, value in values.items() if name != "allow_changed_data" or not isinstance(value, bool)]
    if wrong:
        message = f"{wrong[0]} = {values[wrong[0]]!r:.80} is no option of resume"
        raise InvalidRequest(message, [Problem(wrong[0], message, "the only one is allow_changed_data: true or false")])
    return bool(values.get("allow_changed_data", False))


async def check_data(service: Service, job: Job) -> None:
    """Raise DataChanged if a paused job's dataset is not the one of its checkpoint, DataError if it is gone."""
    kept = (job.checkpoint or {}).get("restores", {}).get("data_fingerprint")
    if job.state is not State.PAUSED or job.spec.allow_changed_data or kept is None:
        return
    source = (await service.catalog()).open(job.spec.dataset)
    if await asyncio.to_thread(source.fingerprint) != kept:
        raise DataChanged(
            f"the dataset {source.name!r} has changed since task {job.id} was paused: the training would go on with "
            'other data. Bring the old content back, or resume with {"allow_changed_data": true}'
        )


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


def receipt(job: Job) -> dict[str, Any]:
    """What the next attempt brings back from the checkpoint, in the words of the worker that wrote it."""
    if job.checkpoint is None:
        return {"from": "beginning"}
    return {"from": "checkpoint", "epoch": job.checkpoint.get("epoch"), **job.checkpoint.get("restores", {})}
