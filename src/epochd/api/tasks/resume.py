"""Resume: a paused training goes on exactly where it left off, or with what its owner wants changed.

What may be changed is how long and how fast it learns (``core.revisions``); the answer shows what comes back from the
checkpoint, and the learning rates to come before and after the change.
"""

import asyncio
from typing import Any

from fastapi import APIRouter, Request

from epochd.api.deps import Opened, Speaking, json_object
from epochd.api.messages import Text
from epochd.api.responses import ErrorShape
from epochd.api.service import Service
from epochd.api.tasks import schedule_preview
from epochd.api.tasks.responses import Resumed
from epochd.core.errors import DataChanged, DataError
from epochd.core.jobs import REVISABLE, Job, State
from epochd.core.specs import TrainingSpec
from epochd.data.checks import report
from epochd.data.tables.catalog import Catalog
from epochd.store import jobs

router = APIRouter()

RESPONSES: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorShape, "description": "No such task"},
    409: {"model": ErrorShape, "description": "The task's state does not allow it, or its dataset has changed"},
    422: {"model": ErrorShape, "description": "Something that cannot be changed, a bad value, or unusable data"},
}


def _body() -> dict[str, Any]:
    """What the OpenAPI page says of the request's body."""
    known = TrainingSpec.model_json_schema()["properties"]
    properties = {name: known[name] for name in REVISABLE}
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {"requestBody": {"content": {"application/json": {"schema": schema}}}}


@router.post("/resume/{task_id}", summary="Resume a paused training", responses=RESPONSES, openapi_extra=_body())
async def resume(task_id: str, request: Request, service: Opened, speaker: Speaking) -> Resumed:
    """Put a paused training back into the queue; it goes on exactly where it left off.

    The body may raise `epochs`, or change the learning rate, its schedule or the patience. Refused if the dataset has
    changed since, unless the body, or the config, has `allow_changed_data`.
    """
    changes = await json_object(request) if await request.body() else {}
    before = await jobs.get(service.db, task_id)
    await check_data(service, before, may_change=changes.get("allow_changed_data") is True)
    job = await jobs.resume(service.db, task_id, changes)
    return Resumed(
        task_id=job.id,
        state=job.state,
        message=speaker.say(Text.RESUMED),
        queue_position=await jobs.position(service.db, job.id),
        receipt=receipt(job) | {"learning_rate": schedule_preview.change(job, before.spec)},
    )


async def check_data(service: Service, job: Job, *, may_change: bool) -> None:
    """Raise DataChanged if a paused job's dataset is not the one of its checkpoint.

    Raise DataError if it is gone, or has changed as it may and cannot be trained on any more.
    """
    if job.state is not State.PAUSED:
        return
    catalog = await service.catalog()
    changed = await asyncio.to_thread(_changed, job, catalog)
    if changed is None:
        return
    if not (may_change or job.spec.allow_changed_data):
        raise DataChanged(
            f"the dataset {changed!r} has changed since task {job.id} was paused: it would go on with other "
            'data. Bring the old content back, or resume with {"allow_changed_data": true}'
        )
    if problems := (await asyncio.to_thread(report.check_dataset, job.spec, catalog)).problems:
        raise DataError(problems)


def _changed(job: Job, catalog: Catalog) -> str | None:
    """The name of a dataset whose content is not what the checkpoint was made with; None if there is none."""
    restores = (job.checkpoint and job.checkpoint.restores) or {}
    kept = {job.spec.dataset: "data_fingerprint", job.spec.validation_dataset: "validation_fingerprint"}
    sources = [(catalog.open(name), restores[kind]) for name, kind in kept.items() if restores.get(kind) is not None]
    return next((source.name for source, known in sources if source.fingerprint() != known), None)


def receipt(job: Job) -> dict[str, Any]:
    """What the next attempt brings back from the checkpoint, in the words of the worker that wrote it."""
    if job.checkpoint is None:
        return {"from": "beginning"}
    return {"from": "checkpoint", "epoch": job.checkpoint.epoch, **(job.checkpoint.restores or {})}
