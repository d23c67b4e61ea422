"""Tasks that continue others: retry a failed task, train a completed one for more epochs.

The finished task does not change. The new one starts from a copy of its newest intact checkpoint on disk.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from fastapi import Request

from epochd.api.deps import ServiceDep, TranslatorDep, UserDep, json_object, optional_json_object
from epochd.api.messages import Message
from epochd.api.responses import ErrorShape, json_body
from epochd.api.service import Service
from epochd.api.tasks.responses import Descended
from epochd.api.tasks.resume import known_fingerprints, receipt_of
from epochd.api.tasks.routing import training_router
from epochd.artifact import checkpoint, files, pack
from epochd.core import specs
from epochd.core.errors import CorruptFile, DataError, IllegalMove, InvalidRequest, InvalidSpec, Problem
from epochd.core.job_values import Checkpoint
from epochd.core.jobs import Job, State, revise
from epochd.core.specs import TrainingSpec
from epochd.core.text import cut, shown
from epochd.registry import operations
from epochd.store import jobs

router = training_router()

RESPONSES: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorShape, "description": "No such task"},
    409: {"model": ErrorShape, "description": "The task's state does not allow it"},
    422: {"model": ErrorShape, "description": "A field cannot be changed or has an invalid value"},
}

RETRY_OPTIONS: dict[str, tuple[type, ...]] = {"from_beginning": (bool,), "output_path": (str, type(None))}


@router.post(
    "/retry/{task_id}",
    operation_id="retry_training",
    summary="Retry a failed training",
    responses=RESPONSES,
    openapi_extra=json_body("RetryOptions", required=False),
)
async def retry(
    task_id: str, request: Request, service: ServiceDep, user: UserDep, translator: TranslatorDep
) -> Descended:
    """Start a new task with the config of a failed or cancelled one, from its newest checkpoint.

    If only the model could not be saved, it is saved now, without training again. With `{"from_beginning": true}` the
    checkpoint is not used; `output_path` saves the model in another folder.
    """
    service.check_storage()
    values = await optional_json_object(request)
    for key, value in values.items():
        if not isinstance(value, RETRY_OPTIONS.get(key, ())):
            message = f"{cut(key)}={shown(value, 80)} is not a valid option of this request"
            hint = "the options are from_beginning, true or false, and output_path, a string"
            raise InvalidRequest(message, [Problem(key, message, hint)])
    parent = await jobs.get(service.db, task_id)
    if parent.state not in (State.FAILED, State.CANCELLED):
        raise IllegalMove(f"task {task_id} is {parent.state}: only a failed or cancelled task can be retried")
    kept, warnings = (None, []) if values.get("from_beginning") else await _newest(service, parent)
    spec = await _with_output_path(service, parent.training, values.get("output_path"))
    parent = replace(parent, warnings=[*parent.warnings, *warnings])
    if kept is None:
        parent = await _with_present_data(service, parent)
    return await _submit_child(service, translator.message(Message.STARTED), parent, spec, kept, user)


async def _with_present_data(service: Service, parent: Job) -> Job:
    """The task with what a check finds in its data if these have changed: a training from the beginning accepts them.
    Raises DataError with every problem."""
    catalog = await service.catalog(parent.training.dataset, parent.training.validation_dataset)
    if await service.checks.call(operations.changed, catalog, parent.training, known_fingerprints(parent)) is None:
        return parent
    found, checked = await service.checks.call(operations.check, parent.training, catalog)
    if found.problems:
        raise DataError(found.problems)
    return replace(parent, summary={**parent.summary, "dataset": checked.as_json()})


async def _with_output_path(service: Service, spec: TrainingSpec, output_path: str | None) -> TrainingSpec:
    """The spec with this output path if one is given. Raises InvalidSpec if no model can be saved there."""
    if output_path is not None:
        checked = specs.parse({"target_column": spec.target_column, "output_path": output_path})
        spec = spec.model_copy(update={"output_path": checked.output_path})
    try:
        await asyncio.to_thread(pack.reserve_place, service.settings.artifacts_dir, spec.artifact_folder)
    except InvalidSpec as error:
        [problem] = error.problems
        hint = f'{problem.hint}; retry with {{"output_path": "..."}} to save the model in another folder'
        raise InvalidSpec([replace(problem, hint=hint)]) from None
    return spec


@router.post(
    "/continue/{task_id}",
    operation_id="continue_training",
    summary="Continue a completed training",
    responses=RESPONSES,
    openapi_extra=json_body("ContinueOptions"),
)
async def continue_(
    task_id: str, request: Request, service: ServiceDep, user: UserDep, translator: TranslatorDep
) -> Descended:
    """Start a new task from the final weights and optimizer state of a completed one.

    The body has the fields of `resume`; `epochs`, the new total, is required.
    """
    service.check_storage()
    values = await json_object(request)
    parent = await jobs.get(service.db, task_id)
    if parent.state is not State.COMPLETED:
        raise IllegalMove(f"task {task_id} is {parent.state}: only a completed task can be continued")
    if parent.checkpoint is None:
        raise IllegalMove(f"task {task_id} has no checkpoint to continue from: start a new training")
    trained = parent.training.model_copy(
        update={"epochs": parent.current_epoch}
    )  # fewer than configured if stopped early
    spec = revise(trained, values)
    if spec.epochs <= parent.current_epoch:
        message = f"epochs is {spec.epochs}, but the task has already trained {parent.current_epoch} epochs"
        raise InvalidSpec([Problem("epochs", message, "set epochs to a larger total number of epochs")])
    await check_final(service, parent.id, parent.checkpoint)
    return await _submit_child(service, translator.message(Message.STARTED), parent, spec, parent.checkpoint, user)


async def _submit_child(
    service: Service, message: str, parent: Job, spec: TrainingSpec, kept: Checkpoint | None, user: str | None
) -> Descended:
    """Submit the new task with a copy of the checkpoint in its own folder."""
    provide = copied_checkpoint(service, kept, same_training=parent.state is not State.COMPLETED)
    summary = {"dataset": parent.summary.get("dataset")}
    job = await jobs.submit(
        service.db,
        spec,
        warnings=inherited_warnings(parent),
        summary=summary,
        parent=parent,
        owner=user,
        provide_checkpoint=provide,
    )
    return Descended(
        task_id=job.id,
        parent=parent.id,
        message=message,
        config=spec.model_dump(),
        queue_position=await jobs.position(service.db, job.id),
        checkpoint=None if kept is None else {"epoch": kept.epoch, "step": kept.step},
        receipt=receipt_of(job, parent.training, is_continued=parent.state is State.COMPLETED),
    )


def inherited_warnings(parent: Job) -> list[str]:
    """The warnings about a task's config and data, without those about its result."""
    of_result = parent.summary.get("metrics", {}).get("warnings", ())
    return [warning for warning in parent.warnings if warning not in of_result]


def copied_checkpoint(
    service: Service, kept: Checkpoint | None, *, same_training: bool
) -> Callable[[str], Awaitable[Checkpoint | None]]:
    """For ``jobs.submit``: copies the checkpoint of a task, if there is one, into the folder of the new task."""
    settings = service.settings

    async def provide(task_id: str) -> Checkpoint | None:
        if kept is None:
            return None
        source, folder = settings.data_dir / kept.path, settings.checkpoints_dir / task_id
        await service.storage.folder(source)
        copy = await asyncio.to_thread(checkpoint.copy, source, folder, same_training=same_training)
        if copy is None:
            raise IllegalMove(f"the checkpoint {kept.path} was deleted while it was copied: repeat the request")
        await service.storage.put_folder(copy)
        return replace(kept, path=str(copy.relative_to(settings.data_dir)))

    return provide


async def _newest(service: Service, parent: Job) -> tuple[Checkpoint | None, list[str]]:
    """The pointer to a task's newest intact checkpoint on disk, and warnings about newer ones that are damaged.

    Raise IllegalMove if the task had checkpoints, but none is intact.
    """
    known = parent.checkpoint
    damaged = await service.storage.checkpoints(parent)
    folder = service.settings.checkpoints_dir / parent.id
    path, found = await asyncio.to_thread(checkpoint.newest, folder, set_aside=False)
    faults = [*damaged, *found]
    if path is None and known is None and not faults:
        return None, []
    if path is None:
        reason = "; ".join(faults) or f"the checkpoint {known and known.path} is missing"
        raise IllegalMove(f'{reason}. Retry the task with {{"from_beginning": true}}')
    warnings = [f"{fault}; {path.name} is used instead" for fault in faults]
    where = str(path.relative_to(service.settings.data_dir))
    if known is not None and known.path == where:
        return known, warnings
    epoch, step = await asyncio.to_thread(
        checkpoint.position, path
    )  # as the worker's lost report would have recorded it
    position = {"position": {"epochs_done": epoch, "steps_done_in_epoch": step}}
    return Checkpoint(where, epoch, step, files.size(path), ((known and known.restores) or {}) | position), warnings


async def check_final(service: Service, task_id: str, kept: Checkpoint) -> None:
    """Raise IllegalMove unless a task's final checkpoint exists and is intact: an earlier one cannot replace it."""
    path = service.settings.data_dir / kept.path
    advice = "the task cannot be continued: start a new training with its config and more epochs"
    try:
        await service.storage.folder(path)
        if not path.is_dir():
            raise IllegalMove(f"the final checkpoint of task {task_id} is missing ({kept.path}); {advice}")
        await asyncio.to_thread(files.verify, path)
    except CorruptFile as error:
        raise IllegalMove(f"the final checkpoint of task {task_id} is damaged ({error}); {advice}") from None
