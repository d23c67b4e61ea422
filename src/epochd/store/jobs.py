"""Jobs as rows: every question about them, and every move that people ask for.

A move reads the row under a lock, works the change out (``changes``), and commits the row with its events.
What workers and the dispatcher do to a job is in ``attempts``.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, func, select, tuple_
from sqlalchemy.exc import IntegrityError

from epochd.core.errors import EpochdError, IllegalMove
from epochd.core.events import Type
from epochd.core.jobs import Command, Job, State, new_task_id
from epochd.core.specs import TrainingSpec
from epochd.store import rows, tables
from epochd.store.changes import Change
from epochd.store.db import Database
from epochd.store.rows import moment

table = tables.jobs
ID_TRIES = 5


async def submit(
    db: Database,
    spec: TrainingSpec,
    *,
    warnings: Sequence[str] = (),
    summary: dict[str, Any] | None = None,
    parent: Job | None = None,
    provide: Callable[[str], Awaitable[dict[str, Any] | None]] | None = None,
    now: float | None = None,
) -> Job:
    """Put a new job at the end of the queue.

    One with a ``parent`` names it; ``provide`` is given the new id, and brings the checkpoint that the job starts from
    before anybody can see the job.
    """
    now = moment(now)
    for _ in range(ID_TRIES):
        job = Job(
            id=new_task_id(datetime.fromtimestamp(now, UTC)),
            spec=spec,
            state=State.PENDING,
            created_at=now,
            queued_at=now,
            warnings=list(warnings),
            summary=dict(summary or {}),
            parent=parent.id if parent else None,
        )
        if provide is not None:
            job = replace(job, checkpoint=await provide(job.id))
        change = Change(job, now)
        change.tell(Type.STATE, {"state": job.state.value} | ({"parent": parent.id} if parent else {}))
        try:
            async with db.write() as transaction:
                await rows.insert(transaction, change)
            return change.job
        except IntegrityError:  # the id is taken: a thousand starts in one second make that possible
            continue
    raise EpochdError(f"no free task id was found in {ID_TRIES} tries; start the training again")


async def get(db: Database, task_id: str) -> Job:
    """One job. Raises NotFound."""
    return rows.found(await rows.fetched(db, task_id), task_id)


async def find(
    db: Database, *, state: State | None = None, name: str | None = None, limit: int = 50, offset: int = 0
) -> tuple[list[Job], int]:
    """A page of the jobs in this state whose name contains ``name``, newest first; and how many there are."""
    chosen = []
    if state is not None:
        chosen.append(table.c.state == state)
    if name:
        chosen.append(table.c.name.icontains(rows.storable(name), autoescape=True))
    newest = table.c.created_at.desc(), table.c.id.desc()
    page = select(table).where(*chosen).order_by(*newest).limit(limit).offset(offset)
    async with db.read() as connection:
        total = await connection.scalar(select(func.count()).select_from(table).where(*chosen))
        return [rows.job_of(row) for row in await connection.execute(page)], total or 0


async def position(db: Database, task_id: str) -> int | None:
    """A pending job's place in the queue, from 1; None for a job that is not waiting."""
    place = tuple_(table.c.queued_at, table.c.id)
    async with db.read() as connection:
        mine = select(table.c.queued_at, table.c.id).where(table.c.id == task_id, table.c.state == State.PENDING)
        row = (await connection.execute(mine)).first()
        if row is None:
            return None
        ahead = select(func.count()).where(table.c.state == State.PENDING, place <= tuple_(row.queued_at, row.id))
        return await connection.scalar(ahead)


async def ids(db: Database) -> set[str]:
    """The ids of all jobs."""
    async with db.read() as connection:
        return set(await connection.scalars(select(table.c.id)))


async def running(db: Database) -> list[Job]:
    """All running jobs, the longest queued first."""
    async with db.read() as connection:
        query = select(table).where(table.c.state == State.RUNNING).order_by(table.c.queued_at, table.c.id)
        return [rows.job_of(row) for row in await connection.execute(query)]


async def held(db: Database, code: str) -> list[Job]:
    """Jobs that their worker had to leave for this reason, the longest queued first."""
    async with db.read() as connection:
        query = select(table).where(table.c.state == State.PAUSED).order_by(table.c.queued_at, table.c.id)
        jobs = [rows.job_of(row) for row in await connection.execute(query)]
    return [job for job in jobs if job.error is not None and job.error.get("code") == code]


async def readmit(db: Database, task_id: str, code: str, message: str, *, now: float | None = None) -> bool:
    """Put a job that is held for this reason back in its old place in the queue, and say why in its log.

    False if it is not held any more.
    """
    async with rows.changing(db, task_id, moment(now)) as change:
        job = change.job
        if job.state is not State.PAUSED or job.error is None or job.error.get("code") != code:
            return False
        change.set(error=None)
        change.tell(Type.LOG, {"level": "info", "message": message})
        change.move(State.PENDING, reason=message)
    return True


async def counts(db: Database) -> dict[State, int]:
    """How many jobs are in each state."""
    async with db.read() as connection:
        found = await connection.execute(select(table.c.state, func.count()).group_by(table.c.state))
        return dict.fromkeys(State, 0) | {state: count for state, count in found}


async def pause(db: Database, task_id: str, *, now: float | None = None) -> Job:
    """Ask for a pause: at once for a job that waits, by its worker for one that runs. Raises IllegalMove."""
    async with rows.changing(db, task_id, moment(now)) as change:
        match change.job.state, change.job.command:
            case State.PAUSED, _:
                change.set(error=None)  # a held job no longer goes on by itself
            case State.RUNNING, Command.CANCEL:
                raise IllegalMove(f"task {task_id} is being stopped and cannot be paused")
            case State.RUNNING, _:
                change.set(command=Command.PAUSE)
            case _:
                change.move(State.PAUSED)
    return change.job


async def resume(db: Database, task_id: str, changes: dict[str, Any] | None = None, *, now: float | None = None) -> Job:
    """Put a paused job at the end of the queue, with changes to its config if there are any (``core.revisions``).

    Raises IllegalMove for a job that is not paused, InvalidSpec for changes that cannot be made.
    """
    async with rows.changing(db, task_id, moment(now)) as change:
        match change.job.state, change.job.command:
            case State.PAUSED, _:
                change.set(queued_at=change.now, error=None)
                change.move(State.PENDING, **change.revise(changes or {}))
            case State.RUNNING, Command.PAUSE:
                raise IllegalMove(f"task {task_id} is still pausing: wait until it is paused, then resume it")
            case State.RUNNING, Command.CANCEL:
                raise IllegalMove(f"task {task_id} is being stopped and cannot be resumed")
            case state, _:
                raise IllegalMove(f"task {task_id} is {state}: only a paused task can be resumed")
    return change.job


async def stop(db: Database, task_id: str, *, now: float | None = None) -> Job:
    """Cancel: at once for a job that waits or is paused, by its worker for one that runs. Raises IllegalMove."""
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
    """Raise IllegalMove unless a job has ended."""
    if not job.state.is_final:
        raise IllegalMove(f"task {job.id} is {job.state}: only a finished task can be removed; stop it first")


async def remove(db: Database, task_id: str) -> Job:
    """Forget a finished job and its log; what it was. Jobs that go on from it keep its name. Raises IllegalMove."""
    async with db.write() as transaction:
        job = rows.found(await rows.locked(transaction, task_id), task_id)
        check_removable(job)
        await transaction.connection.execute(delete(table).where(table.c.id == task_id))  # its events go with it
    return job
