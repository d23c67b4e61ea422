"""Pause, stop, prioritise and remove a task.

A removal is noted on disk first, then the row is deleted, then the files (``artifact.removal``), so that every task in
the list is complete. Its open streams end; a client that reconnects gets 404.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Query, Response
from pydantic import ValidationError

from epochd.api.deps import JsonObject, ServiceDep, TranslatorDep
from epochd.api.event_bus import KEPT_TYPES
from epochd.api.messages import Message, Translator
from epochd.api.responses import ErrorShape, json_body
from epochd.api.service import Service
from epochd.api.tasks.responses import Controlled, Prioritised, Removed
from epochd.api.tasks.routing import training_router
from epochd.api.tasks.shapes import PriorityBody
from epochd.artifact import removal
from epochd.core.errors import IllegalMove, InvalidSpec, ModelInUse, OutOfSpace
from epochd.core.jobs import Job, JobKind, State
from epochd.core.specs import problems_of
from epochd.store import jobs
from epochd.store.db import Database

router = training_router()

Wait = Annotated[
    float | None,
    Query(ge=0, le=60, description="Seconds to wait for the worker. Default: EPOCHD_PAUSE_WAIT_SECONDS."),
]
StoreCommand = Callable[[Database, str], Awaitable[Job]]
KeepModel = Annotated[bool, Query(description="Keep the model's folder, and `latest` if it points there.")]

RESPONSES: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorShape, "description": "No such task"},
    409: {"model": ErrorShape, "description": "The task's state does not allow it"},
}
WAITING: dict[int | str, dict[str, Any]] = {
    **RESPONSES,
    202: {"model": Controlled, "description": "The command is stored; the worker has not carried it out yet"},
}


@router.post("/pause/{task_id}", operation_id="pause_training", summary="Pause a training", responses=WAITING)
async def pause(
    task_id: str, service: ServiceDep, translator: TranslatorDep, response: Response, wait: Wait = None
) -> Controlled:
    """Save a checkpoint, end the worker's process and free its slot for the next task."""
    job = await command_and_wait(service, task_id, jobs.pause, wait)
    return answer(job, Message.PAUSING, translator, response)


@router.post("/stop/{task_id}", operation_id="stop_training", summary="Cancel a training", responses=WAITING)
async def stop(
    task_id: str, service: ServiceDep, translator: TranslatorDep, response: Response, wait: Wait = None
) -> Controlled:
    """Cancel a training; it cannot be resumed."""
    job = await command_and_wait(service, task_id, jobs.stop, wait)
    return answer(job, Message.STOPPING, translator, response)


@router.post(
    "/priority/{task_id}",
    operation_id="prioritise_training",
    summary="Change the priority of a waiting training",
    responses=RESPONSES,
    openapi_extra=json_body("PriorityBody"),
)
async def prioritise(task_id: str, values: JsonObject, service: ServiceDep, translator: TranslatorDep) -> Prioritised:
    """Change the place in the queue of a pending or paused training. `resume` can change the priority too."""
    return await prioritised(service, task_id, values, translator)


async def prioritised(service: Service, task_id: str, values: dict[str, Any], translator: Translator) -> Prioritised:
    """Change the priority of a waiting task. Raises IllegalMove, InvalidSpec and NotFound."""
    try:
        body = PriorityBody.model_validate(values)
    except ValidationError as error:
        fields, schema = PriorityBody.model_fields, "POST /api/v1/epoch-training/priority/{task_id} in /docs"
        raise InvalidSpec(problems_of(error.errors(include_url=False), fields, schema)) from None
    job = await jobs.prioritise(service.db, task_id, body.priority)
    return Prioritised(
        task_id=job.id,
        state=job.state,
        message=translator.message(Message.PRIORITISED),
        priority=job.priority,
        queue_position=await jobs.position(service.db, job.id),
    )


@router.delete(
    "/tasks/{task_id}", operation_id="remove_training", summary="Remove a finished training", responses=RESPONSES
)
async def remove(
    task_id: str, service: ServiceDep, translator: TranslatorDep, keep_model: KeepModel = False
) -> Removed:
    """Delete a completed, failed or cancelled task: its row, events, checkpoints, logs and model. Refused while an
    alias leads to the model, unless that is kept."""
    job = await remove_task(service, task_id, keep_model=keep_model)
    kept = job.artifact if keep_model else None
    return Removed(task_id=job.id, message=translator.message(Message.REMOVED), artifact=kept)


async def remove_task(service: Service, task_id: str, *, keep_model: bool = False) -> Job:
    """Delete a finished task and its files; the task as it was. Raises IllegalMove, ModelInUse and NotFound."""
    async with service.removing():
        job = await jobs.get(service.db, task_id)
        jobs.check_removable(job)
        note = await asyncio.to_thread(removal.write_note, service.settings, job, keep_model=keep_model)
        try:
            await jobs.remove(service.db, task_id, keep_model=keep_model)
        except (IllegalMove, ModelInUse, OutOfSpace):  # the row still exists
            note.unlink()
            raise
        service.event_bus.close_task(job.id)
        if not keep_model and job.kind is JobKind.TRAINING:
            service.models.cache.evict(service.settings.artifacts_dir / job.training.artifact_folder / job.id)
        await asyncio.to_thread(removal.complete, service.settings, note, service.storage)
    return job


async def command_and_wait(service: Service, task_id: str, store: StoreCommand, wait: float | None) -> Job:
    """Store a command and wait until the task is no longer running, or for the timeout; its job then."""
    seconds = service.settings.pause_wait_seconds if wait is None else wait
    deadline = asyncio.get_running_loop().time() + seconds
    with service.event_bus.subscribe(task_id) as subscriber:
        job = await store(service.db, task_id)
        while job.state is State.RUNNING:
            try:
                async with asyncio.timeout_at(deadline):
                    lines = await subscriber.take()
            except TimeoutError:
                break
            if not lines:
                break
            if any(line.type in KEPT_TYPES for line in lines):
                job = await jobs.get(service.db, task_id)
    return job


def answer(job: Job, waiting: Message, translator: Translator, response: Response) -> Controlled:
    """The answer to a command; 202 with the message ``waiting`` while the worker has not carried it out."""
    if is_waiting := job.state is State.RUNNING:
        response.status_code = 202
    message = translator.message(waiting) if is_waiting else translator.state(job.state, job.kind)
    return Controlled(task_id=job.id, state=job.state, message=message)
