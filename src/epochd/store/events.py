"""Reading the log of what happened to a job. It is written only together with the change it tells of."""

from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from epochd.core.events import Event, Type
from epochd.store import tables
from epochd.store.db import Database

table = tables.events


async def after(db: Database, task_id: str, seq: int, limit: int | None = None) -> list[Event]:
    """A job's events beyond ``seq``, oldest first, ``limit`` of them at most; none for an unknown job."""
    query = select(table).where(table.c.job_id == task_id, table.c.seq > seq).order_by(table.c.seq).limit(limit)
    async with db.read() as connection:
        return [_event_of(row) for row in await connection.execute(query)]


async def history(db: Database, task_id: str) -> list[dict[str, Any]]:
    """A job's metrics, one row per epoch, in the order of epochs.

    An epoch that was run again and came out otherwise takes back the epochs after it, and so does a rollback.
    """
    async with db.read() as connection:
        return list((await told(connection, task_id)).values())


async def told(connection: AsyncConnection, task_id: str) -> dict[int, dict[str, Any]]:
    """The history rows that stand, by epoch, in the order of epochs."""
    query = (
        select(table.c.type, table.c.payload)
        .where(table.c.job_id == task_id, table.c.type.in_([Type.PROGRESS, Type.ROLLBACK]))
        .order_by(table.c.seq)
    )
    standing: dict[int, dict[str, Any]] = {}
    for type, payload in await connection.execute(query):
        row = None if type is Type.ROLLBACK else payload["progress"]["latest_metrics"]
        taken_back = payload["epoch"] + 1 if row is None else row["epoch"]
        while standing and next(reversed(standing)) >= taken_back:
            standing.popitem()
        if row is not None:
            standing[row["epoch"]] = row
    return standing


def _event_of(row: Row[Any]) -> Event:
    return Event(task_id=row.job_id, seq=row.seq, attempt=row.attempt, type=row.type, payload=row.payload, at=row.at)
