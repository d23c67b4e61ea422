"""Start, show, control and remove batch predictions, stream their events, and download their files."""

import asyncio
import shutil
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse

from epochd.api.deps import AUTHORISED, JsonObject, ServiceDep, TranslatorDep, UserDep, while_connected
from epochd.api.messages import Message
from epochd.api.predictions.shapes import (
    PredictionControlled,
    PredictionDetail,
    PredictionLine,
    PredictionOutput,
    PredictionRemoved,
    Predictions,
    PredictionStarted,
)
from epochd.api.responses import ErrorShape, event_stream, json_body
from epochd.api.service import Service
from epochd.api.tasks import control, logs, stream
from epochd.api.tasks.control import Wait
from epochd.api.tasks.queries import standings_of, task_error
from epochd.api.tasks.responses import Controlled, LogOf, Prioritised
from epochd.artifact import files
from epochd.core import prediction_specs
from epochd.core.errors import DataChanged, IllegalMove, NotFound
from epochd.core.jobs import Job, JobKind, State, is_prediction
from epochd.core.names import COMPOSED
from epochd.dispatch.queue import NOT_WAITING
from epochd.registry import operations
from epochd.store import jobs

MEDIA_TYPES = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}


async def only_predictions(request: Request) -> None:
    """Raise NotFound for an id that is not that of a batch prediction."""
    task_id = request.path_params.get("task_id")
    if task_id is not None and not is_prediction(task_id):
        raise NotFound(f"there is no prediction {task_id[:100]!r}. GET /api/v1/predictions lists all predictions")


router = APIRouter(
    prefix="/api/v1/predictions", tags=["predictions"], dependencies=[*AUTHORISED, Depends(only_predictions)]
)

UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"model": ErrorShape, "description": "No such prediction"}}
REFUSED: dict[int | str, dict[str, Any]] = {
    **UNKNOWN,
    409: {"model": ErrorShape, "description": "The prediction's state does not allow it"},
}
WAITING: dict[int | str, dict[str, Any]] = {
    **REFUSED,
    202: {"model": Controlled, "description": "The command is stored; the worker has not carried it out yet"},
}
FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file of predictions",
        "content": {kind.partition(";")[0]: {"schema": {"type": "string"}} for kind in MEDIA_TYPES.values()},
    },
}


@router.post(
    "",
    operation_id="start_prediction",
    summary="Predict a dataset",
    responses={404: {"model": ErrorShape, "description": "No such model"}},
    openapi_extra=json_body("PredictionConfig"),
)
async def start(
    values: JsonObject, request: Request, service: ServiceDep, user: UserDep, translator: TranslatorDep
) -> PredictionStarted:
    """Check that the model exists and that the dataset has its columns, then queue the prediction."""
    service.check_storage()
    asked = await asyncio.to_thread(prediction_specs.parse, values)
    folder = (await service.models.find(asked.model, asked.version)).folder
    catalog = await service.catalog(asked.dataset)
    dataset = (await asyncio.to_thread(catalog.open, asked.dataset)).name
    spec = asked.model_copy(update={"version": folder.name, "dataset": dataset})
    check = service.checks.call(operations.check_prediction, spec, folder, catalog)
    columns = await while_connected(request, check)
    summary = {"model": {"folder": str(folder.relative_to(service.settings.data_dir)), "task_id": folder.name}}
    job = await jobs.submit(service.db, spec, summary=summary, owner=user)
    return PredictionStarted(
        task_id=job.id,
        message=translator.message(Message.PREDICTION_STARTED),
        config=spec.model_dump(),
        columns=columns,
        queue_position=await jobs.position(service.db, job.id),
    )


@router.get("", operation_id="list_predictions", summary="List batch predictions, newest first")
async def listing(
    service: ServiceDep,
    state: Annotated[State | None, Query(description="Only predictions in this state.")] = None,
    name: Annotated[str | None, Query(max_length=200, description="Only names that contain this."), COMPOSED] = None,
    owner: Annotated[str | None, Query(max_length=120, description="Only predictions of this user."), COMPOSED] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
) -> Predictions:
    kind = JobKind.PREDICTION
    found, total = await jobs.find(
        service.db, kind=kind, state=state, name=name, owner=owner, limit=limit, offset=offset
    )
    standings = await standings_of(service, found)
    lines = [PredictionLine.of(job, standings.get(job.id, NOT_WAITING)) for job in found]
    return Predictions(predictions=lines, total=total, limit=limit, offset=offset)


@router.get(
    "/{task_id}", operation_id="get_prediction", summary="Get all details of a batch prediction", responses=UNKNOWN
)
async def detail(task_id: str, service: ServiceDep, translator: TranslatorDep) -> PredictionDetail:
    job = await jobs.get(service.db, task_id)
    output = job.summary.get("output")
    return PredictionDetail.of(
        job,
        await service.dispatcher.queue.standing(job),
        message=translator.state(job.state, job.kind),
        config=job.prediction.model_dump(),
        attempt=job.attempt,
        command=job.command,
        model_folder=job.summary["model"]["folder"],
        output=None if output is None or job.artifact is None else PredictionOutput(path=job.artifact, **output),
        problems=job.summary.get("problems", []),
        error=task_error(service, job),
        crashes=job.crashes,
    )


@router.post("/{task_id}/pause", operation_id="pause_prediction", summary="Pause a batch prediction", responses=WAITING)
async def pause(
    task_id: str, service: ServiceDep, translator: TranslatorDep, response: Response, wait: Wait = None
) -> Controlled:
    """Complete the current part, end the worker's process and free its slot for the next task."""
    job = await control.command_and_wait(service, task_id, jobs.pause, wait)
    return control.answer(job, Message.PREDICTION_PAUSING, translator, response)


@router.post("/{task_id}/stop", operation_id="stop_prediction", summary="Cancel a batch prediction", responses=WAITING)
async def stop(
    task_id: str, service: ServiceDep, translator: TranslatorDep, response: Response, wait: Wait = None
) -> Controlled:
    """Cancel a prediction; what it has computed so far is deleted."""
    job = await control.command_and_wait(service, task_id, jobs.stop, wait)
    if job.state is State.CANCELLED:
        await asyncio.to_thread(shutil.rmtree, service.settings.checkpoints_dir / job.id, ignore_errors=True)
        await service.storage.remove([f"checkpoints/{job.id}"])
    return control.answer(job, Message.PREDICTION_STOPPING, translator, response)


@router.post(
    "/{task_id}/resume", operation_id="resume_prediction", summary="Resume a batch prediction", responses=REFUSED
)
async def resume(task_id: str, service: ServiceDep, translator: TranslatorDep) -> PredictionControlled:
    """Queue a paused prediction again; it continues after its last complete part. Rejected if the dataset has changed
    since the pause, or if the model was removed."""
    await _check_resumable(service, await jobs.get(service.db, task_id))
    job = await jobs.resume(service.db, task_id)
    return PredictionControlled(
        task_id=job.id,
        state=job.state,
        message=translator.message(Message.PREDICTION_RESUMED),
        queue_position=await jobs.position(service.db, job.id),
    )


@router.post(
    "/{task_id}/priority",
    operation_id="prioritise_prediction",
    summary="Change the priority of a waiting batch prediction",
    responses=REFUSED,
    openapi_extra=json_body("PriorityBody"),
)
async def prioritise(task_id: str, values: JsonObject, service: ServiceDep, translator: TranslatorDep) -> Prioritised:
    """Change the place in the queue of a pending or paused prediction."""
    return await control.prioritised(service, task_id, values, translator)


@router.delete(
    "/{task_id}", operation_id="remove_prediction", summary="Remove a finished batch prediction", responses=REFUSED
)
async def remove(task_id: str, service: ServiceDep, translator: TranslatorDep) -> PredictionRemoved:
    """Delete a completed, failed or cancelled prediction: its row, events, logs and file. The model is kept."""
    job = await control.remove_task(service, task_id)
    return PredictionRemoved(task_id=job.id, message=translator.message(Message.PREDICTION_REMOVED))


@router.get(
    "/{task_id}/output",
    operation_id="download_prediction",
    summary="Download the file of predictions",
    response_class=FileResponse,
    responses={**REFUSED, **FILE},
)
async def output(task_id: str, service: ServiceDep) -> FileResponse:
    """The file as a stream; a part of it with `Range`."""
    job = await jobs.get(service.db, task_id)
    if job.state is not State.COMPLETED or job.artifact is None:
        raise IllegalMove(f"task {task_id} is {job.state}: only a completed prediction has a file")
    path = service.settings.data_dir / job.artifact
    await service.storage.folder(path.parent)
    if not path.is_file():
        raise NotFound(f"the file of prediction {task_id} was deleted on the server: predict again")
    kind = job.prediction.output_format
    private = {"Cache-Control": "private, no-cache"}  # a shared cache may keep what a cookie opens, but for this
    return FileResponse(path, media_type=MEDIA_TYPES[kind], filename=f"{job.id}.{kind}", headers=private)


@router.get(
    "/{task_id}/stream",
    operation_id="stream_prediction",
    summary="Stream the events of a batch prediction",
    response_class=StreamingResponse,
    responses={**stream.RESPONSES, 200: event_stream("PredictionEvent")},
)
async def events(
    request: Request, opened: Annotated[stream.OpenStream, Depends(stream.open_stream)]
) -> StreamingResponse:
    """Events with the types `state`, `progress` and `log`, then exactly one of `complete`, `failed` or `cancelled`.
    With `Last-Event-ID` the stream continues after that event; without it all are sent."""
    return await stream.stream(request, opened)


router.add_api_route(
    "/{task_id}/logs",
    logs.logs,
    operation_id="get_prediction_logs",
    summary="Get the log of a batch prediction",
    response_model=LogOf,
    responses=logs.RESPONSES,
)


async def _check_resumable(service: Service, job: Job) -> None:
    """Raise DataChanged if the dataset of a paused prediction is not that of its parts, DataError if it cannot be read,
    IllegalMove if the model is gone."""
    if job.state is not State.PAUSED:
        return
    spec = job.prediction
    folder = Path(service.settings.data_dir, job.summary["model"]["folder"])
    await service.storage.folder(folder)
    if not (folder / files.MANIFEST).is_file():
        raise IllegalMove(f"the model of task {job.id} was removed: stop the task, and predict with another model")
    known = ((job.checkpoint and job.checkpoint.restores) or {}).get("data_fingerprint")
    if known is None:
        return
    catalog = await service.catalog(spec.dataset)
    if await service.checks.call(operations.prediction_changed, spec, folder, catalog, known):
        raise DataChanged(
            f"the dataset {spec.dataset!r} has changed since task {job.id} was paused, so the file would be of two "
            "datasets. Restore the old content, or start a new prediction"
        )
