"""Reading the log of what happened to a job. It is written only together with the change it tells of."""

from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from epochd.core.events import Event, Type
from epochd.store import tables
from epochd.store.changes import let_stand
from epochd.store.db import Database

table = tables.events


async def after(db: Database, task_id: str, seq: int, limit: int | None = None) -> list[Event]:
    """A job's events beyond ``seq``, oldest first, ``limit`` of them at most; none for an unknown job."""
    query = select(table).where(table.c.job_id == task_id, table.c.seq > seq).order_by(table.c.seq).limit(limit)
    async with db.read() as connection:
        return [_event_of(row) for row in await connection.execute(query)]


async def history(db: Database, task_id: str) -> list[dict[str, Any]]:
    """A job's metrics, one row per epoch that stands, in the order of epochs."""
    async with db.read() as connection:
        return [progress["latest_metrics"] for progress in (await told(connection, task_id)).values()]


async def told(connection: AsyncConnection, task_id: str) -> dict[int, dict[str, Any]]:
    """The progress that stands (see ``changes.let_stand``), by epoch, in the order of epochs."""
    query = (
        select(table.c.type, table.c.payload)
        .where(table.c.job_id == task_id, table.c.type.in_([Type.PROGRESS, Type.ROLLBACK]))
        .order_by(table.c.seq)
    )
    standing: dict[int, dict[str, Any]] = {}
    for type, payload in await connection.execute(query):
        let_stand(standing, type, payload)
    return standing


def _event_of(row: Row[Any]) -> Event:
    return Event(task_id=row.job_id, seq=row.seq, attempt=row.attempt, type=row.type, payload=row.payload, at=row.at)
