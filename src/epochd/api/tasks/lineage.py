"""Tasks that continue others: retry a failed task, train a completed one for more epochs.

The finished task does not change. The new task has its own id and log, refers to its parent, and starts from a copy of
the parent's newest intact checkpoint on disk; damaged files are never copied.
"""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request

from epochd.api.deps import ServiceDep, TranslatorDep, json_object
from epochd.api.messages import Message
from epochd.api.responses import ErrorShape
from epochd.api.service import Service
from epochd.api.tasks.responses import Descended
from epochd.artifact import checkpoint, files
from epochd.core.errors import CorruptFile, IllegalMove, InvalidRequest, InvalidSpec, Problem
from epochd.core.job_values import Checkpoint
from epochd.core.jobs import Job, State, revise
from epochd.core.specs import TrainingSpec
from epochd.store import jobs

router = APIRouter()

RESPONSES: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorShape, "description": "No such task"},
    409: {"model": ErrorShape, "description": "The task's state does not allow it"},
    422: {"model": ErrorShape, "description": "A field cannot be changed or has an invalid value"},
}


@router.post("/retry/{task_id}", summary="Retry a failed training", responses=RESPONSES)
async def retry(task_id: str, request: Request, service: ServiceDep, translator: TranslatorDep) -> Descended:
    """Start a new task with the config of a failed or cancelled one, from its newest checkpoint.

    With `{"from_beginning": true}` the checkpoint is not used.
    """
    values = await json_object(request) if await request.body() else {}
    from_beginning = _single_flag(values, "from_beginning")
    parent = await jobs.get(service.db, task_id)
    if parent.state not in (State.FAILED, State.CANCELLED):
        raise IllegalMove(f"task {task_id} is {parent.state}: only a failed or cancelled task can be retried")
    kept, warnings = (None, []) if from_beginning else await asyncio.to_thread(_newest, service, parent)
    parent = replace(parent, warnings=[*parent.warnings, *warnings])
    return await _submit_child(service, translator.message(Message.STARTED), parent, parent.spec, kept)


@router.post("/continue/{task_id}", summary="Continue a completed training", responses=RESPONSES)
async def continue_(task_id: str, request: Request, service: ServiceDep, translator: TranslatorDep) -> Descended:
    """Start a new task from the final weights and optimizer state of a completed one.

    The body has the fields of `resume`; `epochs`, the new total, is required.
    """
    values = await json_object(request)
    parent = await jobs.get(service.db, task_id)
    if parent.state is not State.COMPLETED:
        raise IllegalMove(f"task {task_id} is {parent.state}: only a completed task can be continued")
    if parent.checkpoint is None:
        raise IllegalMove(f"task {task_id} has no checkpoint to continue from: start a new training")
    trained = parent.spec.model_copy(update={"epochs": parent.current_epoch})  # fewer than configured if stopped early
    spec = revise(trained, values)
    if spec.epochs <= parent.current_epoch:
        message = f"epochs is {spec.epochs}, but the task has already trained {parent.current_epoch} epochs"
        raise InvalidSpec([Problem("epochs", message, "set epochs to a larger total number of epochs")])
    await asyncio.to_thread(_check_final, service, parent.id, parent.checkpoint)
    return await _submit_child(service, translator.message(Message.STARTED), parent, spec, parent.checkpoint)


def _single_flag(values: dict[str, Any], name: str) -> bool:
    wrong = next((key for key, value in values.items() if key != name or not isinstance(value, bool)), None)
    if wrong is not None:
        message = f"{wrong}={values[wrong]!r:.80} is not a valid option of this request"
        raise InvalidRequest(message, [Problem(wrong, message, f"the only option is {name}: true or false")])
    return bool(values.get(name, False))


async def _submit_child(
    service: Service, message: str, parent: Job, spec: TrainingSpec, kept: Checkpoint | None
) -> Descended:
    """Submit the new task with a copy of the checkpoint in its own folder."""
    summary = {"dataset": parent.summary.get("dataset")}

    async def provide(task_id: str) -> Checkpoint | None:
        return None if kept is None else await asyncio.to_thread(_adopt, service, kept, task_id)

    job = await jobs.submit(
        service.db, spec, warnings=parent.warnings, summary=summary, parent=parent, provide_checkpoint=provide
    )
    return Descended(
        task_id=job.id,
        parent=parent.id,
        message=message,
        config=spec.model_dump(),
        queue_position=await jobs.position(service.db, job.id),
        checkpoint=None if kept is None else {"epoch": kept.epoch, "step": kept.step},
    )


def _newest(service: Service, parent: Job) -> tuple[Checkpoint | None, list[str]]:
    """The pointer to a task's newest intact checkpoint on disk, and warnings about newer ones that are damaged.

    Raise IllegalMove if the task had checkpoints, but none is intact.
    """
    path, faults = checkpoint.newest(service.settings.checkpoints_dir / parent.id, set_aside=False)
    if path is not None:
        return _pointer(service, parent, path), [f"{fault}; {path.name} is used instead" for fault in faults]
    if parent.checkpoint is None and not faults:
        return None, []
    reason = "; ".join(faults) or f"the checkpoint {parent.checkpoint and parent.checkpoint.path} is missing"
    raise IllegalMove(f'{reason}. Retry the task with {{"from_beginning": true}}')


def _pointer(service: Service, parent: Job, path: Path) -> Checkpoint:
    """The database's record of a checkpoint, or the record that the worker's lost report would have made."""
    known, where = parent.checkpoint, str(path.relative_to(service.settings.data_dir))
    if known is not None and known.path == where:
        return known
    epoch, step = checkpoint.position(path)
    position = {"position": {"epochs_done": epoch, "steps_done_in_epoch": step}}
    restores = ((known and known.restores) or {}) | position
    return Checkpoint(where, epoch, step, files.size(path), restores)


def _check_final(service: Service, task_id: str, kept: Checkpoint) -> None:
    """Raise IllegalMove unless a task's final checkpoint exists and is intact: an earlier one cannot replace it."""
    path = service.settings.data_dir / kept.path
    advice = "the task cannot be continued: start a new training with its config and more epochs"
    if not path.is_dir():
        raise IllegalMove(f"the final checkpoint of task {task_id} is missing ({kept.path}); {advice}")
    try:
        files.verify(path)
    except CorruptFile as error:
        raise IllegalMove(f"the final checkpoint of task {task_id} is damaged ({error}); {advice}") from None


def _adopt(service: Service, kept: Checkpoint, task_id: str) -> Checkpoint:
    """Copy a checkpoint to the folder of another task; return the pointer to the copy."""
    data_dir = service.settings.data_dir
    copy = checkpoint.copy(data_dir / kept.path, service.settings.checkpoints_dir / task_id)
    if copy is None:
        raise IllegalMove(f"the checkpoint {kept.path} was deleted while it was copied: repeat the request")
    return replace(kept, path=str(copy.relative_to(data_dir)))
