"""Reads the events of a job. They are written together with the change that they record (``rows.save``)."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from epochd.core.events import Event, Type
from epochd.store import tables
from epochd.store.changes import update_progress
from epochd.store.db import Database

table = tables.events


async def after(db: Database, task_id: str, seq: int, limit: int | None = None) -> list[Event]:
    """A job's events beyond ``seq``, oldest first, ``limit`` of them at most; none for an unknown job."""
    query = select(table).where(table.c.job_id == task_id, table.c.seq > seq).order_by(table.c.seq).limit(limit)
    async with db.read() as connection:
        return [Event(*row) for row in await connection.execute(query)]


async def history(db: Database, task_id: str) -> list[dict[str, Any]]:
    """The metrics of a job: one row per effective epoch, in the order of epochs."""
    async with db.read() as connection:
        return [progress["latest_metrics"] for progress in (await effective_progress(connection, task_id)).values()]


async def effective_progress(connection: AsyncConnection, task_id: str) -> dict[int, dict[str, Any]]:
    """Epoch → progress, in the order of epochs, without what was rolled back (see ``changes.update_progress``)."""
    query = (
        select(table.c.type, table.c.payload)
        .where(table.c.job_id == task_id, table.c.type.in_([Type.PROGRESS, Type.ROLLBACK]))
        .order_by(table.c.seq)
    )
    effective: dict[int, dict[str, Any]] = {}
    for type, payload in await connection.execute(query):
        update_progress(effective, type, payload)
    return effective
