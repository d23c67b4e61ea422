"""Reads the events of a job. They are written together with the change that they record (``rows.save``)."""

import math
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from sqlalchemy import Select, Text, case, cast, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from epochd.core.events import Event, Type
from epochd.core.jobs import Job
from epochd.store import rows, tables
from epochd.store.db import Database

table = tables.events
PAGE_EVENTS = 1_000
"""How many events are read at a time, so that a long history holds up no other request."""

METRICS = "progress", "latest_metrics"
LIMIT = case(
    (table.c.type == Type.ROLLBACK, table.c.payload["epoch"].as_integer() + 1),
    else_=table.c.payload[(*METRICS, "epoch")].as_integer(),
)
"""The epoch from which on an event replaces all earlier progress."""


async def after(db: Database, task_id: str, seq: int, limit: int | None = None) -> list[Event]:
    """A job's events beyond ``seq``, oldest first, ``limit`` of them at most; none for an unknown job."""
    query = select(table).where(table.c.job_id == task_id, table.c.seq > seq).order_by(table.c.seq).limit(limit)
    async with db.read() as connection:
        return [Event(*row) for row in await connection.execute(query)]


async def news(db: Database, task_id: str, seq: int, limit: int = PAGE_EVENTS) -> list[Event]:
    """The events of a job beyond ``seq`` as listeners receive them, with the ``job`` as it is now; none if there are no
    newer ones, or no such job."""
    newer = table.c.job_id == task_id, table.c.seq > seq
    async with db.read() as connection:
        found = (await connection.execute(select(table).where(*newer).order_by(table.c.seq).limit(limit))).all()
        row = (await connection.execute(select(tables.jobs).where(tables.jobs.c.id == task_id))).first()
    job = None if row is None else rows.job_of(row)
    return [replace(Event(*values), job=job) for values in found]


async def history(db: Database, job: Job) -> AsyncIterator[list[str]]:
    """The metrics of a job up to its ``last_seq``, in pages: one JSON object per effective epoch, in the order of
    epochs. The database extracts them, because decoding a long history would take seconds."""
    effective = await _effective_seqs(db, job)
    metrics = cast(table.c.payload[METRICS], Text)
    query = select(table.c.seq, metrics).where(table.c.type == Type.PROGRESS).order_by(table.c.seq)
    last = 0
    while last < job.last_seq:
        among = table.c.job_id == job.id, table.c.seq > last, table.c.seq <= job.last_seq
        async with db.read() as connection:
            page = (await connection.execute(query.where(*among).limit(PAGE_EVENTS))).all()
        last = page[-1].seq if len(page) == PAGE_EVENTS else job.last_seq
        yield [text for seq, text in page if effective is None or seq in effective]


async def without_progress(db: Database, job: Job) -> list[tuple[Event, int]]:
    """The events of a job up to its ``last_seq`` but progress and checkpoints, oldest first, each with the number of
    epochs that were complete then."""
    earlier = table.alias()
    epoch = (
        select(earlier.c.payload[(*METRICS, "epoch")].as_integer())
        .where(earlier.c.job_id == table.c.job_id, earlier.c.seq < table.c.seq, earlier.c.type == Type.PROGRESS)
        .order_by(earlier.c.seq.desc())
        .limit(1)
        .scalar_subquery()
    )
    chosen = (
        table.c.job_id == job.id,
        table.c.seq <= job.last_seq,
        table.c.type.not_in([Type.PROGRESS, Type.CHECKPOINT]),
    )
    query = select(table, epoch).where(*chosen).order_by(table.c.seq)
    async with db.read() as connection:
        return [(Event(*row), epoch or 0) for *row, epoch in await connection.execute(query)]


async def _effective_seqs(db: Database, job: Job) -> set[int] | None:
    """The numbers of the events with effective progress; None if these are all, as without repeated epochs."""
    counted = select(table.c.type, func.count()).where(table.c.job_id == job.id, table.c.seq <= job.last_seq)
    async with db.read() as connection:
        counts = {type: count for type, count in await connection.execute(counted.group_by(table.c.type))}
    if counts.get(Type.PROGRESS, 0) == job.current_epoch and Type.ROLLBACK not in counts:
        return None
    found: set[int] = set()
    before, limit = job.last_seq + 1, math.inf
    while limit > 1:
        query = _newest_first(job.id, before).with_only_columns(table.c.seq, table.c.type, LIMIT)
        async with db.read() as connection:
            page = (await connection.execute(query)).all()
        for before, type, epoch in page:
            if type is Type.PROGRESS and epoch < limit:
                found.add(before)
            limit = min(limit, epoch)
        if len(page) < PAGE_EVENTS:
            break
    return found


async def effective_progress(connection: AsyncConnection, task_id: str, first: int) -> dict[int, dict[str, Any]]:
    """Epoch → progress from the epoch ``first`` on, in the order of epochs, without what was rolled back (see
    ``changes.update_progress``). Only the newest events are read, back to that epoch."""
    found: dict[int, dict[str, Any]] = {}
    before, limit = 2**31 - 1, math.inf
    while limit > first:
        query = _newest_first(task_id, before).with_only_columns(table.c.seq, LIMIT, table.c.payload)
        page = (await connection.execute(query)).all()
        before = page[-1].seq if page else 0
        for _, epoch, payload in page:
            if first <= epoch < limit and "progress" in payload:
                found[epoch] = payload["progress"]
            limit = min(limit, epoch)
        if len(page) < PAGE_EVENTS:
            break
    return dict(reversed(found.items()))


def _newest_first(task_id: str, before: int) -> Select[Any]:
    """A page of the events that change the effective progress, from the newest one before this number on."""
    mine = table.c.job_id == task_id, table.c.seq < before, table.c.type.in_([Type.PROGRESS, Type.ROLLBACK])
    return select(table).where(*mine).order_by(table.c.seq.desc()).limit(PAGE_EVENTS)
