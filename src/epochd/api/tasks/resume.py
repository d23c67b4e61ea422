"""Resume: a paused training continues exactly where it stopped, or with changes to its config.

The answer shows what the checkpoint restores, and the future learning rates before and after the change.
"""

from dataclasses import replace
from typing import Any

from fastapi import Request

from epochd.api.deps import ServiceDep, TranslatorDep, optional_json_object
from epochd.api.messages import Message
from epochd.api.responses import ErrorShape, json_body
from epochd.api.service import Service
from epochd.api.tasks.responses import Resumed
from epochd.api.tasks.routing import training_router
from epochd.core.datasets import CheckedDataset
from epochd.core.errors import DataChanged, DataError
from epochd.core.jobs import Job, State
from epochd.core.specs import TrainingSpec
from epochd.data.schema import missing_columns
from epochd.loop import schedules
from epochd.registry import operations
from epochd.store import jobs

router = training_router()

RESPONSES: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorShape, "description": "No such task"},
    409: {"model": ErrorShape, "description": "The task's state does not allow it, or its dataset has changed"},
    422: {"model": ErrorShape, "description": "A field that cannot be changed, an invalid value, or unusable data"},
}


@router.post(
    "/resume/{task_id}",
    operation_id="resume_training",
    summary="Resume a paused training",
    responses=RESPONSES,
    openapi_extra=json_body("ResumeOptions", required=False),
)
async def resume(task_id: str, request: Request, service: ServiceDep, translator: TranslatorDep) -> Resumed:
    """Queue a paused training again; it continues exactly where it stopped.

    The body may increase `epochs`, or change the learning rate, its schedule or the patience. If the dataset has
    changed since the pause, the request is rejected unless the body or the config sets `allow_changed_data`.
    """
    changes = await optional_json_object(request)
    before = await jobs.get(service.db, task_id)
    accepted = await _check_data(service, before, may_change=changes.get("allow_changed_data") is True)
    job = await jobs.resume(service.db, task_id, changes, dataset=accepted)
    return Resumed(
        task_id=job.id,
        state=job.state,
        message=translator.message(Message.RESUMED),
        queue_position=await jobs.position(service.db, job.id),
        receipt=receipt_of(job, before.training),
    )


def receipt_of(job: Job, before: TrainingSpec, *, is_continued: bool = False) -> dict[str, Any]:
    """What the checkpoint of a queued job restores, and its learning rates with its config ``before`` and after a
    change; of a task that continues a completed one, those before are the rates that the completed one has used."""
    receipt: dict[str, Any] = {"from": "beginning"}
    if job.checkpoint is not None:
        receipt = {"from": "checkpoint", "epoch": job.checkpoint.epoch, **(job.checkpoint.restores or {})}
    return receipt | {"learning_rate": schedule_change(job, before, is_continued=is_continued)}


async def _check_data(service: Service, job: Job, *, may_change: bool) -> CheckedDataset | None:
    """Raise DataChanged if the datasets of a paused job differ from those of its checkpoint or, before the first one,
    from those that were checked when it was submitted. What is found in changed data; None if they are the same.

    Raise DataError if one is missing, or if a permitted change has made it unusable for the training.
    """
    if job.state is not State.PAUSED:
        return None
    catalog = await service.catalog(job.training.dataset, job.training.validation_dataset)
    changed = await service.checks.call(operations.changed, catalog, job.training, known_fingerprints(job))
    if changed is None:
        return None
    if not (may_change or job.training.allow_changed_data):
        raise DataChanged(
            f"the dataset {changed!r} has changed since task {job.id} was paused, so the training would continue with "
            'different data. Restore the old content, or resume with {"allow_changed_data": true}'
            if job.checkpoint is not None
            else f"the dataset {changed!r} has changed since task {job.id} was submitted. Restore the old content, or "
            'resume with {"allow_changed_data": true}'
        )
    found, checked = await service.checks.call(operations.check, job.training, catalog)
    problems, before = found.problems, job.checked_dataset
    if job.checkpoint is not None and before is not None:  # the encoder of the checkpoint reads these columns
        present = [column.name for column in found.columns]
        gone = [name for name in before.features if name not in present] if present else []
        problems = problems or missing_columns(gone, "feature_columns", present, "the changed dataset")
        checked = replace(checked, features=before.features, task=before.task, classes=before.classes)
    if problems:
        raise DataError(problems)
    return checked


def known_fingerprints(job: Job) -> dict[str, str]:
    """Dataset → fingerprint of the datasets of a training, as its checkpoint or the check of its config knows them."""
    spec, restores = job.training, (job.checkpoint and job.checkpoint.restores) or {}
    checked = job.checked_dataset
    known = {
        spec.dataset: restores.get("data_fingerprint") or (checked and checked.fingerprint),
        spec.validation_dataset: restores.get("validation_fingerprint") or (checked and checked.validation_fingerprint),
    }
    return {name: fingerprint for name, fingerprint in known.items() if name and fingerprint}


def schedule_change(job: Job, before: TrainingSpec, *, is_continued: bool) -> dict[str, Any]:
    """The learning rates of ``receipt_of``."""
    restores = (job.checkpoint and job.checkpoint.restores) or {}
    done = restores.get("position", {}).get("epochs_done", 0)
    schedule = restores.get("schedule", {})
    rate = schedule.get("learning_rate")
    # Resumes since the checkpoint may have changed the schedule.
    at_checkpoint = before.model_copy(update=schedule.get("settings", {}))
    scheduled = schedules.rate(at_checkpoint, done)
    is_scaled = rate is not None and scheduled > 0 and at_checkpoint.learning_rate_scheduler != "plateau"
    factor = rate / scheduled if is_scaled else 1.0
    first, last = range(1, done + 1), range(done + 1, before.epochs + 1)
    curves: dict[str, Any] = {
        "before": _curve(at_checkpoint, first, factor) if is_continued else _curve(before, last, factor),
        "after": _curve(job.training, range(done + 1, job.training.epochs + 1), factor),
    }
    if "plateau" in (before.learning_rate_scheduler, job.training.learning_rate_scheduler):
        curves["note"] = "a plateau schedule is shown without its decays, which depend on future metrics"
    return curves


def _curve(spec: TrainingSpec, epochs: range, factor: float) -> list[list[float]]:
    """``[epoch, learning rate]`` of these epochs; more than 200 are thinned evenly between the ends."""
    points = [[epoch, schedules.rate(spec, epoch - 1) * factor] for epoch in epochs]
    step = max(1, -(-len(points) // 200))
    return points if step == 1 else [*points[:-1:step], points[-1]]
