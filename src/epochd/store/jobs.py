"""Queries about jobs, and the operations that users request: submit, pause, resume, stop, remove.

An operation locks the row, computes the change (``changes``), and commits the row with its events.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, and_, delete, func, select, tuple_
from sqlalchemy.exc import IntegrityError

from epochd.core.datasets import CheckedDataset
from epochd.core.errors import EpochdError, IllegalMove
from epochd.core.events import Type
from epochd.core.job_values import Checkpoint
from epochd.core.jobs import Command, Job, JobKind, State, kind_of, new_task_id
from epochd.core.prediction_specs import PredictionSpec
from epochd.core.specs import TrainingSpec
from epochd.store import models, notices, rows, tables
from epochd.store.changes import Change
from epochd.store.db import Database
from epochd.store.rows import moment

table = tables.jobs
ID_TRIES = 5
DECODED_AT_ONCE = 25
"""How many rows of a long page are decoded before others have their turn in the event loop: some milliseconds."""

Sort = Literal["created", "-created", "name", "-name", "state", "-state", "epoch", "-epoch", "finished", "-finished"]
"""What a list is ordered by; with ``-`` in descending order."""
SORTED = {
    "created": table.c.created_at,
    "name": table.c.name,
    "state": table.c.state,
    "epoch": table.c.current_epoch,
    "finished": table.c.finished_at,
}


async def submit(
    db: Database,
    spec: TrainingSpec | PredictionSpec,
    *,
    warnings: Sequence[str] = (),
    summary: dict[str, Any] | None = None,
    parent: Job | None = None,
    owner: str | None = None,
    provide_checkpoint: Callable[[str], Awaitable[Checkpoint | None]] | None = None,
    now: float | None = None,
) -> Job:
    """Append a new job of the user ``owner`` to the queue. ``provide_checkpoint`` receives the new id and returns the
    checkpoint to start from, before the job is stored. Raises EpochdError if no free id is found."""
    now = moment(now)
    for _ in range(ID_TRIES):
        job = Job(
            id=new_task_id(datetime.fromtimestamp(now, UTC), kind_of(spec)),
            spec=spec,
            state=State.PENDING,
            created_at=now,
            queued_at=now,
            warnings=list(warnings),
            summary=dict(summary or {}),
            parent=parent.id if parent else None,
            priority=spec.priority,
            owner=owner,
        )
        if provide_checkpoint is not None:
            job = replace(job, checkpoint=await provide_checkpoint(job.id))
        change = Change(job, now)
        change.add_event(Type.STATE, {"state": job.state.value} | ({"parent": parent.id} if parent else {}))
        try:
            async with db.write() as transaction:
                await rows.insert(transaction, change)
            return change.job
        except IntegrityError:  # the id is taken, which is possible with a thousand starts in one second
            continue
    raise EpochdError(f"no free task id was found in {ID_TRIES} tries; send the request again")


async def get(db: Database, task_id: str) -> Job:
    """One job. Raises NotFound."""
    return rows.existing(await rows.fetched(db, task_id), task_id)


async def find(
    db: Database,
    *,
    kind: JobKind = JobKind.TRAINING,
    state: State | None = None,
    name: str | None = None,
    dataset: str | None = None,
    owner: str | None = None,
    sort: Sort = "-created",
    limit: int = 50,
    offset: int = 0,
) -> tuple[list[Job], int]:
    """A page of the jobs of a kind, in ``state``, whose name contains ``name``, on this ``dataset``, of this ``owner``,
    in this order; and their total number."""
    chosen = [table.c.kind == kind] + ([] if state is None else [table.c.state == state])
    if dataset is not None:
        chosen.append(table.c.dataset == rows.storable(dataset))
    if owner is not None:
        chosen.append(table.c.owner == rows.storable(owner))
    if name:
        chosen.append(table.c.name.icontains(rows.storable(name), autoescape=True))
    page = select(table).where(*chosen).order_by(*_order(sort)).limit(limit).offset(offset)
    async with db.read() as connection:
        total = await connection.scalar(select(func.count()).select_from(table).where(*chosen))
        found = (await connection.execute(page)).all()
    listed: list[Job] = []
    for start in range(0, len(found), DECODED_AT_ONCE):
        listed += map(rows.job_of, found[start : start + DECODED_AT_ONCE])
        await asyncio.sleep(0)
    return listed, total or 0


def _order(sort: Sort) -> list[ColumnElement[Any]]:
    """What jobs are ordered by. Those without a value are last in both directions; of equal ones the newest is first,
    unless the oldest jobs are wanted first."""
    column = SORTED[sort.removeprefix("-")]
    wanted = column.desc() if sort.startswith("-") else column.asc()
    if sort == "created":
        return [wanted, table.c.id.asc()]
    return [wanted.nulls_last() if column.nullable else wanted, table.c.id.desc()]


async def last_seqs(db: Database, task_ids: Sequence[str]) -> dict[str, int]:
    """The number of the last event of each of these tasks that exists."""
    query = select(table.c.id, table.c.last_seq).where(table.c.id.in_(task_ids))
    async with db.read() as connection:
        return {task_id: seq for task_id, seq in await connection.execute(query)}


async def changed_since(db: Database, moment: float) -> dict[str, int]:
    """The number of the last event of each job that is not finished, or has finished after this moment."""
    is_recent = table.c.finished_at.is_(None) | (table.c.finished_at > moment)
    async with db.read() as connection:
        return {
            task_id: seq
            for task_id, seq in await connection.execute(select(table.c.id, table.c.last_seq).where(is_recent))
        }


async def position(db: Database, task_id: str) -> int | None:
    """The position of a pending job in the queue, from 1; None for any other job."""
    place = table.c.queued_at, table.c.id
    async with db.read() as connection:
        mine = select(table.c.priority, *place).where(table.c.id == task_id, table.c.state == State.PENDING)
        row = (await connection.execute(mine)).first()
        if row is None:
            return None
        priority, *queued = row
        before = and_(table.c.priority == priority, tuple_(*place) <= tuple_(*queued))
        ahead = select(func.count()).where(table.c.state == State.PENDING, (table.c.priority > priority) | before)
        return await connection.scalar(ahead)


async def positions(db: Database, task_ids: Collection[str]) -> dict[str, int]:
    """The positions in the queue of those of these jobs that are pending: one pass over an index for all of them."""
    if not task_ids:
        return {}
    numbered = select(table.c.id, func.row_number().over(order_by=rows.QUEUE_ORDER).label("position"))
    ranked = numbered.where(table.c.state == State.PENDING).subquery()
    async with db.read() as connection:
        found = await connection.execute(select(ranked).where(ranked.c.id.in_(task_ids)))
        return {task_id: position for task_id, position in found}


async def waiting(db: Database, *, limit: int, offset: int = 0) -> tuple[list[Job], int]:
    """A page of the queue, trainings and predictions, in the order of their positions; and its length."""
    chosen = rows.queued(State.PENDING)
    async with db.read() as connection:
        total = await connection.scalar(select(func.count()).where(table.c.state == State.PENDING))
        found = (await connection.execute(chosen.limit(limit).offset(offset))).all()
    return [rows.job_of(row) for row in found], total or 0


async def ids(db: Database) -> set[str]:
    """The ids of all jobs."""
    async with db.read() as connection:
        return set(await connection.scalars(select(table.c.id)))


async def unfinished(db: Database) -> tuple[set[str], set[str]]:
    """The ids of all jobs that have not ended, and the datasets that they name."""
    validation = table.c.spec["validation_dataset"].as_string()
    states = [state for state in State if not state.is_final]
    query = select(table.c.id, table.c.dataset, validation).where(table.c.state.in_(states))
    async with db.read() as connection:
        found = (await connection.execute(query)).all()
    return {row[0] for row in found}, {name for row in found for name in row[1:] if name is not None}


async def children(db: Database, task_id: str) -> list[str]:
    """The ids of the tasks that continue or retry a task, oldest first."""
    query = select(table.c.id).where(table.c.parent == task_id).order_by(table.c.created_at, table.c.id)
    async with db.read() as connection:
        return list(await connection.scalars(query))


async def running(db: Database) -> list[Job]:
    """All running jobs, in the order in which they were queued."""
    async with db.read() as connection:
        return [rows.job_of(row) for row in await connection.execute(rows.queued(State.RUNNING))]


async def blocked(db: Database, code: str) -> list[Job]:
    """Paused jobs that cannot continue because of this error, in the order in which they were queued."""
    async with db.read() as connection:
        jobs = [rows.job_of(row) for row in await connection.execute(rows.queued(State.PAUSED))]
    return [job for job in jobs if job.error_code == code]


async def unblock(db: Database, task_id: str, code: str, message: str, *, now: float | None = None) -> bool:
    """Return a job that this error blocks to its place in the queue, with a message in its log; False if it does not
    block the job any more."""
    async with rows.changing(db, task_id, moment(now)) as change:
        if change.job.state is not State.PAUSED or change.job.error_code != code:
            return False
        change.set(error=None)
        change.add_event(Type.LOG, {"level": "info", "message": message})
        change.move(State.PENDING, reason=message)
    return True


async def counts(db: Database) -> dict[State, int]:
    """The number of jobs in each state."""
    async with db.read() as connection:
        found = await connection.execute(select(table.c.state, func.count()).group_by(table.c.state))
        return dict.fromkeys(State, 0) | {state: count for state, count in found}


async def pause(db: Database, task_id: str, *, now: float | None = None) -> Job:
    """Pause a pending job, or request a pause from the worker of a running one. Raises IllegalMove."""
    async with rows.changing(db, task_id, moment(now)) as change:
        match change.job.state, change.job.command:
            case State.PAUSED, _:
                change.set(error=None)  # a blocked job then waits for a resume by its user
            case State.RUNNING, Command.CANCEL:
                raise IllegalMove(f"task {task_id} is being stopped and cannot be paused")
            case State.RUNNING, _:
                change.set(command=Command.PAUSE)
            case _:
                change.move(State.PAUSED)
    return change.job


async def resume(
    db: Database,
    task_id: str,
    changes: dict[str, Any] | None = None,
    *,
    dataset: CheckedDataset | None = None,
    now: float | None = None,
) -> Job:
    """Append a paused job to the queue, with optional changes to its config, and to what is known of its ``dataset``.
    Raises IllegalMove for a job that is not paused, InvalidSpec for changes that are not allowed
    (``core.jobs.revise``)."""
    async with rows.changing(db, task_id, moment(now)) as change:
        match change.job.state, change.job.command:
            case State.PAUSED, _:
                change.set(queued_at=change.now, error=None)
                if dataset is not None:
                    change.set(summary={**change.job.summary, "dataset": dataset.as_json()})
                change.move(State.PENDING, **change.revise(changes or {}))
            case State.RUNNING, Command.PAUSE:
                raise IllegalMove(f"task {task_id} is still pausing: wait until it is paused, then resume it")
            case State.RUNNING, Command.CANCEL:
                raise IllegalMove(f"task {task_id} is being stopped and cannot be resumed")
            case state, _:
                raise IllegalMove(f"task {task_id} is {state}: only a paused task can be resumed")
    return change.job


async def prioritise(db: Database, task_id: str, priority: int, *, now: float | None = None) -> Job:
    """Change the priority of a pending or paused job. Raises IllegalMove for any other one."""
    async with rows.changing(db, task_id, moment(now)) as change:
        if change.job.state not in (State.PENDING, State.PAUSED):
            raise IllegalMove(
                f"task {task_id} is {change.job.state}: only the priority of a pending or paused task can be changed"
            )
        change.prioritise(priority)
    return change.job


async def stop(db: Database, task_id: str, *, now: float | None = None) -> Job:
    """Cancel a pending or paused job, or request that from the worker of a running one. Raises IllegalMove."""
    async with rows.changing(db, task_id, moment(now)) as change:
        match change.job.state:
            case State.CANCELLED:
                pass
            case State.RUNNING:
                change.set(command=Command.CANCEL)
            case _:
                change.move(State.CANCELLED)
    return change.job


def check_removable(job: Job) -> None:
    """Raise IllegalMove unless the job has finished."""
    if not job.state.is_final:
        raise IllegalMove(f"task {job.id} is {job.state}: only a finished task can be removed; stop it first")


async def remove(db: Database, task_id: str, *, keep_model: bool = False) -> Job:
    """Delete a finished job with its events, and return it. Its children keep its id. Raises IllegalMove, NotFound, and
    ModelInUse if an alias leads to its model, unless that is kept."""
    async with db.write() as transaction:
        job = rows.existing(await rows.locked(transaction, task_id), task_id)
        check_removable(job)
        if not keep_model:
            await models.check_unused(transaction.connection, task_id)
        await transaction.connection.execute(delete(table).where(table.c.id == task_id))  # cascades to its events
        transaction.tell(notices.REMOVED, task_id)
    return job
