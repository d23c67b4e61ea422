"""Reading the log of what happened to a job. It is written only together with the change it tells of."""

from typing import Any

from sqlalchemy import Row, select

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

    An epoch that was run again after a crash shows what the newest attempt measured.
    """
    query = (
        select(table.c.payload).where(table.c.job_id == task_id, table.c.type == Type.PROGRESS).order_by(table.c.seq)
    )
    async with db.read() as connection:
        rows = [payload["progress"]["latest_metrics"] for payload in await connection.scalars(query)]
    newest = {row["epoch"]: row for row in rows}
    return [newest[epoch] for epoch in sorted(newest)]


def _event_of(row: Row[Any]) -> Event:
    return Event(task_id=row.job_id, seq=row.seq, attempt=row.attempt, type=row.type, payload=row.payload, at=row.at)
