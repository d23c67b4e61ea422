"""Read tasks: the progress and history of one, the list of all."""

import time
from collections.abc import AsyncIterator, Iterable
from typing import Annotated, Any

from fastapi import Query
from fastapi.responses import StreamingResponse

from epochd.api.deps import ServiceDep, TranslatorDep
from epochd.api.responses import ErrorShape
from epochd.api.service import Service
from epochd.api.tasks.responses import HistoryOf, Progress, ProgressOf, TaskDetail, TaskLine, Tasks
from epochd.api.tasks.routing import training_router
from epochd.api.tasks.shapes import Timings
from epochd.core.job_values import JobError
from epochd.core.jobs import Job, State
from epochd.core.names import COMPOSED
from epochd.dispatch.queue import NOT_WAITING, Standing
from epochd.store import events, jobs

router = training_router()

UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"model": ErrorShape, "description": "No such task"}}


@router.get(
    "/progress/{task_id}", operation_id="get_progress", summary="Get the progress of a training", responses=UNKNOWN
)
async def progress(task_id: str, service: ServiceDep, translator: TranslatorDep) -> ProgressOf:
    job = await jobs.get(service.db, task_id)
    standing = await service.dispatcher.queue.standing(job)
    return ProgressOf(
        task_id=job.id,
        progress=Progress(
            current_epoch=job.current_epoch,
            total_epochs=job.training.epochs,
            training_state=job.state,
            latest_metrics=job.latest_metrics or {},
            best_metrics=job.best_metrics or {},
        ),
        message=translator.state(job.state),
        error=task_error(service, job),
        **standing._asdict(),
    )


@router.get(
    "/history/{task_id}",
    operation_id="get_history",
    summary="Get the metrics of all epochs",
    response_model=HistoryOf,
    responses=UNKNOWN,
)
async def history(task_id: str, service: ServiceDep) -> StreamingResponse:
    job = await jobs.get(service.db, task_id)
    return StreamingResponse(_history(service, job), media_type="application/json")


@router.get(
    "/tasks",
    operation_id="list_trainings",
    summary="List trainings",
)
async def listing(
    service: ServiceDep,
    state: Annotated[State | None, Query(description="Only tasks in this state.")] = None,
    name: Annotated[str | None, Query(max_length=200, description="Only names that contain this."), COMPOSED] = None,
    dataset: Annotated[
        str | None, Query(max_length=1_000, description="Only tasks that are trained on this dataset."), COMPOSED
    ] = None,
    owner: Annotated[str | None, Query(max_length=120, description="Only tasks of this user."), COMPOSED] = None,
    sort: Annotated[jobs.Sort, Query(description="What they are ordered by; with `-` descending.")] = "-created",
    config: Annotated[bool, Query(description="Whether each task has its config.")] = False,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
) -> Tasks:
    found, total = await jobs.find(
        service.db, state=state, name=name, dataset=dataset, owner=owner, sort=sort, limit=limit, offset=offset
    )
    standings = await standings_of(service, found)
    configs = [{"config": job.spec.model_dump()} if config else {} for job in found]
    lines = [
        TaskLine.of(job, standings.get(job.id, NOT_WAITING), **more) for job, more in zip(found, configs, strict=True)
    ]
    return Tasks(tasks=lines, total=total, limit=limit, offset=offset)


@router.get("/tasks/{task_id}", operation_id="get_training", summary="Get all details of a training", responses=UNKNOWN)
async def detail(task_id: str, service: ServiceDep, translator: TranslatorDep) -> TaskDetail:
    job = await jobs.get(service.db, task_id)
    now = time.time()
    idle = now - job.progress_at if job.state is State.RUNNING and job.progress_at is not None else 0.0
    return TaskDetail.of(
        job,
        await service.dispatcher.queue.standing(job),
        message=translator.state(job.state),
        config=job.spec.model_dump(),
        queued_at=job.queued_at,
        attempt=job.attempt,
        command=job.command,
        checkpoint=job.checkpoint and job.checkpoint.as_json(),
        artifact=job.artifact,
        summary=job.summary,
        timings=Timings(**job.timings(now)),
        warnings=job.warnings,
        error=task_error(service, job),
        parent=job.parent,
        children=await jobs.children(service.db, job.id),
        replay_of=job.replay_of,
        crashes=job.crashes,
        strikes=job.strikes,
        preemptions=job.preemptions,
        agent=job.agent,
        revisions=[revision.as_json() for revision in job.revisions],
        last_step_at=job.progress_at,
        activity=service.event_bus.activities.get(job.id) if job.state is State.RUNNING else None,
        stalled_seconds=idle if idle > service.settings.hang_seconds else None,
    )


async def _history(service: Service, job: Job) -> AsyncIterator[str]:
    """The JSON of ``HistoryOf``, in parts."""
    separator = f'{{"success":true,"task_id":"{job.id}","history":['
    async for rows in events.history(service.db, job):
        if rows:
            yield separator + ",".join(rows)
            separator = ","
    yield "]}" if separator == "," else separator + "]}"


async def standings_of(service: Service, listed: Iterable[Job]) -> dict[str, Standing]:
    """What each pending job of a list waits for."""
    pending = [job.id for job in listed if job.state is State.PENDING]
    return await service.dispatcher.queue.standings(pending) if pending else {}


def task_error(service: Service, job: Job) -> dict[str, Any] | None:
    """Why a task failed or is paused; for one that is not finished also why nothing about it can be stored."""
    if job.error is not None:
        return job.error.as_json()
    outage = None if job.state.is_final else service.outage
    return None if outage is None else JobError(outage.code, outage.message).as_json()
