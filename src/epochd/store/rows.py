"""Rows of the jobs table: reading, locking and writing them, and the conversion to and from ``Job``."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import fields
from typing import Any

import sqlalchemy
from sqlalchemy import Row, Select, select, update

from epochd.core import prediction_specs
from epochd.core.errors import NotFound
from epochd.core.job_values import Checkpoint, JobError, JsonValue, Revision, WorkerIdentity
from epochd.core.jobs import TASK_ID, Job, JobKind, State, gpu_request, is_prediction
from epochd.core.specs import TrainingSpec
from epochd.store import tables
from epochd.store.changes import Change
from epochd.store.db import Database, Transaction

table = tables.jobs
FIELDS = [field.name for field in fields(Job) if field.name != "spec"]
JSON_VALUES: dict[str, type[JsonValue]] = {"checkpoint": Checkpoint, "error": JobError, "worker": WorkerIdentity}
"""Columns with a JSON object that is a value of its own in ``Job``."""


def moment(now: float | None) -> float:
    """The given time, by default the present one, in seconds since the Unix epoch."""
    return time.time() if now is None else now


QUEUE_ORDER = table.c.priority.desc(), table.c.queued_at.asc(), table.c.id.asc()
"""The order of the queue: by priority, then by the time at which a job was queued."""


def queued(state: State) -> Select[Any]:
    """A query for the jobs in a state, in the order in which they were queued; of pending ones in that of the queue."""
    order = QUEUE_ORDER if state is State.PENDING else QUEUE_ORDER[1:]
    return select(table).where(table.c.state == state).order_by(*order)


async def fetched(db: Database, task_id: str) -> Row[Any] | None:
    """The row of a job; None if there is no such job."""
    if not TASK_ID.fullmatch(task_id):
        return None
    async with db.read() as connection:
        return (await connection.execute(select(table).where(table.c.id == task_id))).first()


async def locked(transaction: Transaction, task_id: str) -> Row[Any] | None:
    """The row of a job, locked until the transaction ends; None if there is no such job."""
    if not TASK_ID.fullmatch(task_id):
        return None
    query = select(table).where(table.c.id == task_id).with_for_update()
    return (await transaction.connection.execute(query)).first()


def job_of(row: Row[Any]) -> Job:
    """The row as a value."""
    columns = row._mapping
    values = {name: columns[name] for name in FIELDS}
    for name, kind in JSON_VALUES.items():
        values[name] = None if values[name] is None else kind.from_json(values[name])
    values["revisions"] = [Revision.from_json(revision) for revision in values["revisions"]]
    # Not validated again: rules that have changed since it was stored must not make a job unreadable.
    if columns["kind"] is JobKind.PREDICTION:
        return Job(spec=prediction_specs.stored(columns["spec"]), **values)
    return Job(spec=TrainingSpec.model_construct(**columns["spec"]), **values)


def _stored(value: Any) -> Any:
    """A field of a job as the table stores it."""
    if isinstance(value, JsonValue):
        return value.as_json()
    return [_stored(entry) for entry in value] if isinstance(value, list) else value


def existing(row: Row[Any] | None, task_id: str) -> Job:
    """The job of a row. Raises NotFound if there is none."""
    if row is None:
        place = "predictions" if is_prediction(task_id) else "epoch-training/tasks"
        raise NotFound(f"there is no task {task_id[:100]!r}. GET /api/v1/{place} lists all tasks")
    return job_of(row)


def storable(text: str) -> str:
    """The text without NUL characters, which PostgreSQL does not store."""
    return text.replace("\0", "")


async def insert(transaction: Transaction, change: Change) -> None:
    """Write a new job. Raises sqlalchemy.exc.IntegrityError if its id is taken."""
    job = change.job
    values = {name: _stored(getattr(job, name)) for name in FIELDS}
    values |= {"kind": job.kind, "spec": job.spec.model_dump(mode="json"), "name": storable(job.spec.name)}
    values["dataset"] = job.spec.dataset and storable(job.spec.dataset)
    values["gpu_request"] = gpu_request(job.spec)
    await transaction.connection.execute(sqlalchemy.insert(table).values(values))
    await transaction.append(change.events)


async def save(transaction: Transaction, change: Change) -> None:
    """Write the change of a job whose row this transaction has locked."""
    if change.columns:
        values = {name: _stored(value) for name, value in change.columns.items()}
        await transaction.connection.execute(update(table).where(table.c.id == change.job.id).values(values))
    await transaction.append(change.events)


@asynccontextmanager
async def changing(db: Database, task_id: str, now: float) -> AsyncIterator[Change]:
    """A change of one job, written at the end of the block. Raises NotFound."""
    async with db.write() as transaction:
        change = Change(existing(await locked(transaction, task_id), task_id), now)
        yield change
        await save(transaction, change)
