"""Repeat a training: the same config on the same data, as a new task, and the differences of its model."""

import asyncio
from typing import Any

from epochd.api.deps import ServiceDep, TranslatorDep, UserDep
from epochd.api.messages import Message
from epochd.api.responses import ErrorShape
from epochd.api.service import Service
from epochd.api.tasks.lineage import check_final, copied_checkpoint, inherited_warnings
from epochd.api.tasks.responses import Replayed, ReplayResult
from epochd.api.tasks.routing import training_router
from epochd.artifact import comparison, pack
from epochd.core.errors import DataChanged, IllegalMove, NotFound
from epochd.core.job_values import Checkpoint
from epochd.core.jobs import Job, State
from epochd.registry import operations
from epochd.store import jobs

router = training_router()

FOLDER = "replays"
"""Where the models of repeated trainings are saved, so that ``latest`` of the output path does not change."""

RESPONSES: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorShape, "description": "No such task"},
    409: {"model": ErrorShape, "description": "The task cannot be repeated or compared, or its dataset has changed"},
    422: {"model": ErrorShape, "description": "The dataset cannot be read any more"},
}


@router.post("/replay/{task_id}", operation_id="replay_training", summary="Repeat a training", responses=RESPONSES)
async def replay(task_id: str, service: ServiceDep, user: UserDep, translator: TranslatorDep) -> Replayed:
    """Start a new task with the config of a completed one, on the same data, to reproduce its model.

    A continued training starts from the final checkpoint of its parent again. The model is saved under `replays/`, so
    that `latest` does not change. The request is refused if the data have changed since, or if the config or the data
    were changed on a resume.
    """
    service.check_storage()
    job = await jobs.get(service.db, task_id)
    if job.state is not State.COMPLETED:
        raise IllegalMove(f"task {task_id} is {job.state}: only a completed task can be repeated")
    _check_unchanged_config(job)
    await _check_data(service, job)
    start = await _starting_point(service, job)
    folder = job.training.artifact_folder.removeprefix(f"{FOLDER}/")
    spec = job.training.model_copy(update={"output_path": f"/{FOLDER}/{folder}"})
    await asyncio.to_thread(pack.reserve_place, service.settings.artifacts_dir, spec.artifact_folder)
    repeated = await jobs.submit(
        service.db,
        spec,
        warnings=inherited_warnings(job),
        summary={"dataset": job.summary.get("dataset"), "replay_of": job.id},
        owner=user,
        provide_checkpoint=copied_checkpoint(service, start, same_training=False),
    )
    return Replayed(
        task_id=repeated.id,
        replay_of=job.id,
        message=translator.message(Message.REPLAYED),
        config=spec.model_dump(),
        queue_position=await jobs.position(service.db, repeated.id),
    )


@router.get(
    "/replay/{task_id}",
    operation_id="compare_replay",
    summary="Compare a repeated training with the first one",
    responses=RESPONSES,
)
async def compare(task_id: str, service: ServiceDep) -> ReplayResult:
    """The differences between the models of a completed replay and of the task that it repeats."""
    job = await jobs.get(service.db, task_id)
    if job.replay_of is None:
        raise IllegalMove(f"task {task_id} is no replay: start one with POST /replay/{{task_id}}")
    if job.state is not State.COMPLETED:
        raise IllegalMove(f"task {task_id} is {job.state}: its model can be compared when it is completed")
    first = await jobs.get(service.db, job.replay_of)
    folders = [service.settings.data_dir / found.artifact for found in (first, job) if found.artifact is not None]
    for folder in folders:
        await service.storage.folder(folder)
    missing = [folder.name for folder in folders if not folder.is_dir()]
    if missing or len(folders) < 2:
        gone = missing[0] if missing else first.id
        raise NotFound(f"the model of task {gone} was removed: there is nothing to compare")
    found = await asyncio.to_thread(comparison.compare, *folders)
    return ReplayResult(task_id=job.id, replay_of=first.id, comparison=found)


def _check_unchanged_config(job: Job) -> None:
    """Raise IllegalMove if the training did not have one config and one dataset from its first to its last step."""
    changes = {name for revision in job.revisions for name in revision.changes} - {"allow_changed_data", "priority"}
    if changes:
        reason = f"its config was changed on a resume ({', '.join(sorted(changes))})"
    elif (job.summary.get("resumed") or {}).get("data_changed"):
        reason = "its data changed while it was paused"
    else:
        return
    raise IllegalMove(f"task {job.id} cannot be repeated: {reason}. Start a new training with its config instead")


async def _check_data(service: Service, job: Job) -> None:
    """Raise DataChanged if a dataset has another content than in the training, DataError if it cannot be read."""
    spec = job.training
    names = {spec.dataset: "fingerprint", spec.validation_dataset: "validation_fingerprint"}
    known = {name: job.summary[kind] for name, kind in names.items() if name and job.summary.get(kind)}
    catalog = await service.catalog(spec.dataset, spec.validation_dataset)
    changed = await service.checks.call(operations.changed, catalog, spec, known)
    if changed is not None:
        raise DataChanged(
            f"the dataset {changed!r} is not the one that task {job.id} was trained on. Restore its content to repeat "
            "the training, or start a new training with the config of the task"
        )


async def _starting_point(service: Service, job: Job) -> Checkpoint | None:
    """The final checkpoint of the completed task that this one, or the first one that it retried, has continued; None
    for a training from the beginning. Raises IllegalMove if it is unknown or damaged."""
    current = job
    while current.parent is not None:
        try:
            parent = await jobs.get(service.db, current.parent)
        except NotFound:
            reason = f"the task {current.parent}, which it continues, was removed"
            raise IllegalMove(f"task {job.id} cannot be repeated: {reason}") from None
        if parent.state is State.COMPLETED and parent.checkpoint is not None:
            await check_final(service, parent.id, parent.checkpoint)
            return parent.checkpoint
        current = parent
    return None
