"""Jobs as rows: every question about them and every move they make.

A move reads the row under a lock, works the change out (``changes``, ``reports``), and commits the row with
its events. Workers are fenced: a report must carry the number and the token of the attempt that runs now.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, func, select, tuple_, update
from sqlalchemy.exc import IntegrityError

from epochd.core.errors import EpochdError, IllegalMove, StaleAttempt
from epochd.core.events import Report, Type
from epochd.core.jobs import Command, Job, State, new_task_id
from epochd.core.specs import TrainingSpec
from epochd.store import reports as reporting
from epochd.store import rows, tables
from epochd.store.changes import Change
from epochd.store.db import Database

table = tables.jobs
ID_TRIES = 5


async def submit(
    db: Database,
    spec: TrainingSpec,
    *,
    warnings: Sequence[str] = (),
    summary: dict[str, Any] | None = None,
    now: float | None = None,
) -> Job:
    """Put a new job at the end of the queue."""
    now = _time(now)
    for _ in range(ID_TRIES):
        job = Job(
            id=new_task_id(datetime.fromtimestamp(now, UTC)),
            spec=spec,
            state=State.PENDING,
            created_at=now,
            queued_at=now,
            warnings=list(warnings),
            summary=dict(summary or {}),
        )
        change = Change(job, now)
        change.tell(Type.STATE, {"state": job.state.value})
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


async def running(db: Database) -> list[Job]:
    """All running jobs, the longest queued first."""
    async with db.read() as connection:
        query = select(table).where(table.c.state == State.RUNNING).order_by(table.c.queued_at, table.c.id)
        return [rows.job_of(row) for row in await connection.execute(query)]


async def expired(db: Database, now: float | None = None) -> list[Job]:
    """Running jobs whose worker has been silent for longer than its lease."""
    now = _time(now)
    return [job for job in await running(db) if job.lease_until is not None and job.lease_until < now]


async def counts(db: Database) -> dict[State, int]:
    """How many jobs are in each state."""
    async with db.read() as connection:
        found = await connection.execute(select(table.c.state, func.count()).group_by(table.c.state))
        return dict.fromkeys(State, 0) | {state: count for state, count in found}


async def claim(
    db: Database, *, lease_seconds: float, fits: Callable[[Job], bool] = lambda job: True, now: float | None = None
) -> tuple[Job, str] | None:
    """Start the next attempt of the job that has waited longest; None if none waits, or if it does not fit.

    Nothing overtakes a job that does not fit: a large one would wait for ever behind small ones. Returns the
    job and the attempt's token, of which only the SHA-256 is kept.
    """
    now = _time(now)
    oldest = (
        select(table)
        .where(table.c.state == State.PENDING)
        .order_by(table.c.queued_at, table.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    async with db.write() as transaction:
        row = (await transaction.connection.execute(oldest)).first()
        if row is None or not fits(job := rows.job_of(row)):
            return None
        change, token = Change(job, now), secrets.token_urlsafe(32)
        _begin_attempt(change, token, now + lease_seconds)
        await rows.save(transaction, change)
    return change.job, token


async def report(
    db: Database,
    task_id: str,
    attempt: int,
    token: str,
    reports: Sequence[Report],
    *,
    lease_seconds: float,
    now: float | None = None,
) -> Command:
    """Take in a worker's reports, in one transaction, and answer what it shall do. None at all is a heartbeat.

    Reports that are known already are skipped, so a worker repeats what was not answered; such a repeat is
    answered even after the job's end. Raises StaleAttempt if the attempt does not run now, IllegalMove if the
    reports are out of order; nothing is stored then.
    """
    now = _time(now)
    if not reports and (command := await _renewed_already(db, task_id, attempt, token, now, lease_seconds)):
        return command
    async with db.write() as transaction:
        row = await rows.locked(transaction, task_id)
        job = _owned(row, task_id, attempt, token)
        fresh = [report for report in reports if report.number > job.reported]
        if job.state is not State.RUNNING:
            if reports and not fresh:
                return Command.CONTINUE
            raise _stale(task_id, attempt)
        change = Change(job, now)
        change.set(lease_until=now + lease_seconds)
        reporting.apply(change, fresh)
        await rows.save(transaction, change)
    return change.job.command


async def pause(db: Database, task_id: str, *, now: float | None = None) -> Job:
    """Ask for a pause: at once for a job that waits, by its worker for one that runs. Raises IllegalMove."""
    async with rows.changing(db, task_id, _time(now)) as change:
        match change.job.state, change.job.command:
            case State.PAUSED, _:
                pass
            case State.RUNNING, Command.CANCEL:
                raise IllegalMove(f"task {task_id} is being stopped and cannot be paused")
            case State.RUNNING, _:
                change.set(command=Command.PAUSE)
            case _:
                change.move(State.PAUSED)
    return change.job


async def resume(db: Database, task_id: str, *, allow_changed_data: bool = False, now: float | None = None) -> Job:
    """Put a paused job at the end of the queue. Raises IllegalMove for a job that is not paused.

    ``allow_changed_data`` becomes an option of the job; it is never taken back.
    """
    async with rows.changing(db, task_id, _time(now)) as change:
        match change.job.state, change.job.command:
            case State.PAUSED, _:
                change.set(queued_at=change.now)
                if allow_changed_data:
                    change.set_option(allow_changed_data=True)
                change.move(State.PENDING)
            case State.RUNNING, Command.PAUSE:
                raise IllegalMove(f"task {task_id} is still pausing: wait until it is paused, then resume it")
            case State.RUNNING, Command.CANCEL:
                raise IllegalMove(f"task {task_id} is being stopped and cannot be resumed")
            case state, _:
                raise IllegalMove(f"task {task_id} is {state}: only a paused task can be resumed")
    return change.job


async def stop(db: Database, task_id: str, *, now: float | None = None) -> Job:
    """Cancel: at once for a job that waits or is paused, by its worker for one that runs. Raises IllegalMove."""
    async with rows.changing(db, task_id, _time(now)) as change:
        match change.job.state:
            case State.CANCELLED:
                pass
            case State.RUNNING:
                change.set(command=Command.CANCEL)
            case _:
                change.move(State.CANCELLED)
    return change.job


async def fail_attempt(
    db: Database,
    task_id: str,
    attempt: int,
    *,
    code: str,
    message: str,
    log_tail: Sequence[str] = (),
    now: float | None = None,
) -> bool:
    """The attempt's worker died: the job has failed, or is cancelled if that was asked. False if it runs no more."""

    def fail(change: Change) -> None:
        if change.job.command is Command.CANCEL:
            return change.move(State.CANCELLED)
        change.set(error={"code": code, "message": message, "problems": [], "log_tail": list(log_tail)})
        change.move(State.FAILED)

    return await _end_attempt(db, task_id, attempt, fail, now)


async def release_attempt(db: Database, task_id: str, attempt: int, *, reason: str, now: float | None = None) -> bool:
    """Take the job from an attempt through no fault of its own; False if it runs no more.

    It waits again in its old place, unless a pause or a stop was asked: then it is paused or cancelled.
    """
    return await _end_attempt(db, task_id, attempt, lambda change: change.give_way(reason=reason), now)


async def ask_release(db: Database) -> list[str]:
    """Ask every running worker to checkpoint and give its job back; the ids of those that were asked."""
    ask = (
        update(table)
        .where(table.c.state == State.RUNNING, table.c.command == Command.CONTINUE)
        .values(command=Command.RELEASE)
        .returning(table.c.id)
    )
    async with db.write() as transaction:
        return list(await transaction.connection.scalars(ask))


def _time(now: float | None) -> float:
    return time.time() if now is None else now


def _owned(row: Row[Any] | None, task_id: str, attempt: int, token: str) -> Job:
    """The job, if this is the newest attempt at it. Raises StaleAttempt."""
    kept = "" if row is None else row.token_hash or ""
    if not hmac.compare_digest(_hash(token), kept) or row is None or row.attempt != attempt:
        raise _stale(task_id, attempt)
    return rows.job_of(row)


def _stale(task_id: str, attempt: int) -> StaleAttempt:
    return StaleAttempt(f"attempt {attempt} does not run task {task_id[:100]!r} now; end without writing anything")


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


async def _end_attempt(
    db: Database, task_id: str, attempt: int, end: Callable[[Change], None], now: float | None
) -> bool:
    async with db.write() as transaction:
        row = await rows.locked(transaction, task_id)
        if row is None or row.state is not State.RUNNING or row.attempt != attempt:
            return False
        change = Change(rows.job_of(row), _time(now))
        end(change)
        await rows.save(transaction, change)
        return True


def _begin_attempt(change: Change, token: str, lease_until: float) -> None:
    job = change.job
    change.set(attempt=job.attempt + 1, reported=0, error=None, command=Command.CONTINUE, lease_until=lease_until)
    if job.started_at is None:
        change.set(started_at=change.now)
    change.columns["token_hash"] = _hash(token)
    change.move(State.RUNNING, attempt=change.job.attempt)


async def _renewed_already(
    db: Database, task_id: str, attempt: int, token: str, now: float, lease_seconds: float
) -> Command | None:
    """The answer to a heartbeat that need not be written, because most of the lease is left."""
    job = _owned(await rows.fetched(db, task_id), task_id, attempt, token)
    if job.state is State.RUNNING and (job.lease_until or 0.0) - now >= lease_seconds * 2 / 3:
        return job.command
    return None
