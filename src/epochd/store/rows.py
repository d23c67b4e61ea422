"""A job's row: how it is read, locked and written."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import fields
from typing import Any

import sqlalchemy
from sqlalchemy import Row, select, update

from epochd.core.errors import NotFound
from epochd.core.jobs import TASK_ID, Job
from epochd.core.specs import TrainingSpec
from epochd.store import tables
from epochd.store.changes import Change
from epochd.store.db import Database, Transaction

table = tables.jobs
FIELDS = [field.name for field in fields(Job) if field.name != "spec"]


def moment(now: float | None) -> float:
    """A given time, or the present one: seconds since the Unix epoch."""
    return time.time() if now is None else now


async def fetched(db: Database, task_id: str) -> Row[Any] | None:
    """The row as it is now; None if there is no such job."""
    if not TASK_ID.fullmatch(task_id):
        return None
    async with db.read() as connection:
        return (await connection.execute(select(table).where(table.c.id == task_id))).first()


async def locked(transaction: Transaction, task_id: str) -> Row[Any] | None:
    """The job's row, held until the transaction ends."""
    if not TASK_ID.fullmatch(task_id):
        return None
    query = select(table).where(table.c.id == task_id).with_for_update()
    return (await transaction.connection.execute(query)).first()


def job_of(row: Row[Any]) -> Job:
    """The row as a value."""
    values = row._mapping
    # Not validated again: it was when it came in, and rules that have changed since must not make a job unreadable.
    spec = TrainingSpec.model_construct(**values["spec"])
    return Job(spec=spec, **{name: values[name] for name in FIELDS})


def found(row: Row[Any] | None, task_id: str) -> Job:
    """The job of a row that has to be there. Raises NotFound."""
    if row is None:
        raise NotFound(f"there is no task {task_id[:100]!r}. GET /api/v1/epoch-training/tasks lists all tasks")
    return job_of(row)


def storable(text: str) -> str:
    """Without NUL, which PostgreSQL cannot keep in text."""
    return text.replace("\0", "")


async def insert(transaction: Transaction, change: Change) -> None:
    """Write a new job. Raises sqlalchemy.exc.IntegrityError if its id is taken."""
    job = change.job
    values: dict[str, Any] = {name: getattr(job, name) for name in FIELDS}
    values |= {"spec": job.spec.model_dump(mode="json"), "name": storable(job.spec.name)}
    await transaction.connection.execute(sqlalchemy.insert(table).values(values))
    await transaction.append(change.events)


async def save(transaction: Transaction, change: Change) -> None:
    """Write a change of a job whose row this transaction has locked."""
    if change.columns:
        await transaction.connection.execute(update(table).where(table.c.id == change.job.id).values(change.columns))
    await transaction.append(change.events)


@asynccontextmanager
async def changing(db: Database, task_id: str, now: float) -> AsyncIterator[Change]:
    """A change of one job, saved at the end of the block. Raises NotFound."""
    async with db.write() as transaction:
        change = Change(found(await locked(transaction, task_id), task_id), now)
        yield change
        await save(transaction, change)
