"""What the dispatcher reads of the queue: a few columns of pending and running jobs, and how long earlier ones took.

A page of pending jobs is read in the order of an index that has all columns which jobs are passed over by, so that a
long queue is not read for one decision.
"""

from collections.abc import Collection
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, func, or_, select

from epochd.core.job_values import Phase
from epochd.core.jobs import ALL_GPUS, ONE_IF_ANY, Command, JobKind, State
from epochd.store import rows, tables
from epochd.store.db import Database

table = tables.jobs


class QueuedJob(NamedTuple):
    """A pending or running job, as the queue needs it; ``framework`` and ``epochs`` are None for a prediction,
    ``nodes`` for a job on one machine."""

    id: str
    kind: JobKind
    priority: int
    owner: str | None
    gpu_request: int
    dataset: str | None
    framework: str | None
    epochs: int | None
    attempt: int
    command: Command
    current_epoch: int
    latest_metrics: dict[str, Any] | None
    started_at: float | None
    nodes: int | None = None


class Completed(NamedTuple):
    """How long a completed job took: ``seconds`` of work, without the time in the queue, for ``epochs`` epochs."""

    kind: JobKind
    framework: str | None
    dataset: str | None
    epochs: int
    seconds: float


COLUMNS: tuple[ColumnElement[Any], ...] = (
    table.c.id,
    table.c.kind,
    table.c.priority,
    table.c.owner,
    table.c.gpu_request,
    table.c.dataset,
    table.c.spec["framework"].as_string().label("framework"),
    table.c.spec["epochs"].as_integer().label("epochs"),
    table.c.attempt,
    table.c.command,
    table.c.current_epoch,
    table.c.latest_metrics,
    table.c.started_at,
    table.c.spec["num_nodes"].as_integer().label("nodes"),
)


async def pending(
    db: Database, *, limit: int, without: Collection[str] = (), gpus: int | None = None, owned: int = 0
) -> list[QueuedJob]:
    """The first pending jobs in the order of the queue; not those of the users ``without``, nor those that need
    ``gpus`` GPUs or more, where the largest place has ``owned``. What no place has is not waited for."""
    chosen: list[ColumnElement[bool]] = [table.c.state == State.PENDING]
    if without:
        chosen.append(or_(table.c.owner.is_(None), table.c.owner.not_in(without)))
    if gpus is not None:
        request = table.c.gpu_request
        small = [request.between(0, gpus - 1), request > owned]
        small += [request == ONE_IF_ANY] if gpus > min(1, owned) else []
        small += [request == ALL_GPUS] if gpus > owned else []
        chosen.append(or_(*small))
    query = select(*COLUMNS).where(*chosen).order_by(*rows.QUEUE_ORDER).limit(limit)
    async with db.read() as connection:
        return [QueuedJob(*row) for row in await connection.execute(query)]


async def running(db: Database) -> list[QueuedJob]:
    """The running jobs."""
    query = select(*COLUMNS).where(table.c.state == State.RUNNING).order_by(*rows.QUEUE_ORDER)
    async with db.read() as connection:
        return [QueuedJob(*row) for row in await connection.execute(query)]


async def used(db: Database) -> dict[str, int]:
    """The number of running jobs of each named user."""
    mine = table.c.state == State.RUNNING, table.c.owner.is_not(None)
    query = select(table.c.owner, func.count()).where(*mine).group_by(table.c.owner)
    async with db.read() as connection:
        return {owner: count for owner, count in await connection.execute(query)}


async def completed(db: Database, *, kind: JobKind, limit: int) -> list[Completed]:
    """How long the jobs of a kind took that have completed, the last ones first. Those of other versions, which have
    not counted their seconds, are left out."""
    columns = (
        table.c.spec["framework"].as_string(),
        table.c.dataset,
        table.c.current_epoch,
        table.c.summary["timings"],
        table.c.started_at,
        table.c.finished_at,
    )
    query = select(*columns).where(table.c.kind == kind, table.c.state == State.COMPLETED)
    async with db.read() as connection:
        found = await connection.execute(query.order_by(table.c.created_at.desc()).limit(limit))
        return [
            Completed(kind, framework, dataset, epochs, seconds)
            for framework, dataset, epochs, timings, started, finished in found
            if (seconds := worked(kind, timings, started, finished)) is not None
        ]


def worked(
    kind: JobKind, timings: dict[str, float] | None, started: float | None, finished: float | None
) -> float | None:
    """The seconds that a completed job took without the time in the queue: what its attempts have counted; of a
    prediction the time from its first start. None if that is not known."""
    if kind is JobKind.TRAINING:
        seconds = sum(value for phase, value in (timings or {}).items() if phase != Phase.QUEUE)
        return seconds or None
    return None if started is None or finished is None else max(0.0, finished - started)
