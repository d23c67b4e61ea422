"""The operations of workers and of the dispatcher on one attempt at a job: start it, report on it, end it.

Workers are fenced: a report must contain the number and the token of the present attempt.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Row, or_, select, update

from epochd.core.errors import StaleAttempt
from epochd.core.events import Report, Type
from epochd.core.job_values import JobError, WorkerIdentity
from epochd.core.jobs import TASK_ID, Command, Job, State
from epochd.store import events, jobs, reports, rows, tables
from epochd.store.changes import Change
from epochd.store.db import Database
from epochd.store.rows import moment

table = tables.jobs


async def claim(
    db: Database,
    *,
    lease_seconds: float,
    task_id: str | None = None,
    agent_for: Callable[[Job], str | None] = lambda job: None,
    now: float | None = None,
) -> tuple[Job, str] | None:
    """Start the next attempt of a pending job, by default of the first one in the queue; the job and the token, of
    which only the SHA-256 is stored. ``agent_for`` is the name of the agent that gets it, None for the machine of the
    server.

    None if there is none, or if it is not pending any more. On PostgreSQL a row that another server has locked, which
    starts or changes it at this moment, is not waited for.
    """
    now = moment(now)
    chosen = rows.queued(State.PENDING).limit(1).with_for_update(skip_locked=True)
    if task_id is not None:
        chosen = chosen.where(table.c.id == task_id)
    async with db.write() as transaction:
        row = (await transaction.connection.execute(chosen)).first()
        if row is None:
            return None
        job = rows.job_of(row)
        change, token = Change(job, now), secrets.token_urlsafe(32)
        change.set(attempt=job.attempt + 1, reported=0, progress_at=None, error=None)
        change.set(command=Command.CONTINUE, lease_until=now + lease_seconds, agent=agent_for(job))
        if job.started_at is None:
            change.set(started_at=now)
        change.columns["token_hash"] = _hash(token)
        change.move(State.RUNNING, attempt=change.job.attempt)
        await rows.save(transaction, change)
    return change.job, token


async def report(
    db: Database,
    task_id: str,
    attempt: int,
    token: str,
    received: Sequence[Report],
    *,
    lease_seconds: float,
    idle_seconds: float | None = None,
    now: float | None = None,
) -> Command:
    """Store the reports of a worker, in one transaction, and return its command. Without reports it is a heartbeat.
    ``idle_seconds`` is the time since the worker completed a step; None before the first.

    Reports that are stored already are skipped, so that a worker can repeat those without an answer. Raises
    StaleAttempt if the attempt is not running, IllegalMove for reports out of order; nothing is stored then.
    """
    now = moment(now)
    if not received:  # a heartbeat need not be written while most of the lease is left
        job = _owned(await rows.fetched(db, task_id), task_id, attempt, token)
        if job.state is State.RUNNING and (job.lease_until or 0.0) - now >= lease_seconds * 2 / 3:
            return job.command
    async with db.write() as transaction:
        job = _owned(await rows.locked(transaction, task_id), task_id, attempt, token)
        fresh = [report for report in received if report.number > job.reported]
        if job.state is not State.RUNNING:
            if received and not fresh:
                return Command.CONTINUE
            raise _stale(task_id, attempt)
        change = Change(job, now)
        if (first := reports.first_repeated(job, fresh)) is not None:
            change.reported = await events.effective_progress(transaction.connection, task_id, first)
        change.set(lease_until=now + lease_seconds)
        if idle_seconds is not None:
            change.set(progress_at=now - idle_seconds)
        reports.apply(change, fresh)
        await rows.save(transaction, change)
    return change.job.command


async def is_token(db: Database, task_id: str, token: str) -> bool:
    """Whether this is the token of the newest attempt at a task, which may have ended: one look-up by primary key."""
    if not TASK_ID.fullmatch(task_id):
        return False
    async with db.read() as connection:
        stored = await connection.scalar(select(table.c.token_hash).where(table.c.id == task_id))
    return hmac.compare_digest(_hash(token), stored or "")


async def expired(db: Database, now: float | None = None) -> list[Job]:
    """Running jobs whose lease has expired."""
    now = moment(now)
    return [job for job in await jobs.running(db) if job.lease_until is not None and job.lease_until < now]


async def shorten_leases(db: Database, lease_seconds: float, now: float | None = None) -> None:
    """Shorten leases that end later than a full lease from now, because the clock was set back."""
    latest = moment(now) + lease_seconds
    query = update(table).where(table.c.state == State.RUNNING, table.c.lease_until > latest).values(lease_until=latest)
    async with db.write() as transaction:
        await transaction.connection.execute(query)


async def fail_attempt(
    db: Database, task_id: str, attempt: int, error: JobError, *, is_blocked: bool = False, now: float | None = None
) -> bool:
    """End an attempt whose worker died: the job fails, or is cancelled if that was requested. With ``is_blocked`` it is
    paused at its last checkpoint. False if the attempt is not running any more."""
    end = partial(Change.block if is_blocked else Change.fail, error=error)
    return await _change_attempt(db, task_id, attempt, end, now)


async def crash_attempt(
    db: Database, task_id: str, attempt: int, error: JobError, *, only_expired: bool = False, now: float | None = None
) -> bool:
    """End an attempt whose worker crashed: the job is requeued, or fails after too many crashes. False if the attempt
    is not running any more, or, with ``only_expired``, if its lease is valid."""
    crash = partial(Change.crash, error=error)
    return await _change_attempt(db, task_id, attempt, crash, now, only_expired=only_expired)


async def release_attempt(
    db: Database, task_id: str, attempt: int, *, reason: str, only_expired: bool = False, now: float | None = None
) -> bool:
    """End an attempt for the server's own reasons (see ``Change.release``); False as in ``crash_attempt``."""
    release = partial(Change.release, reason=reason)
    return await _change_attempt(db, task_id, attempt, release, now, only_expired=only_expired)


async def set_worker(db: Database, task_id: str, attempt: int, worker: WorkerIdentity) -> None:
    """Record the process of a running attempt; does nothing if the attempt is not running any more."""
    mine = (table.c.id == task_id, table.c.attempt == attempt, table.c.state == State.RUNNING)
    async with db.write() as transaction:
        await transaction.connection.execute(update(table).where(*mine).values(worker=worker.as_json()))


async def warn(db: Database, task_id: str, attempt: int, message: str) -> None:
    """Append a warning of the server to the log of a running job."""
    add = partial(Change.add_event, type=Type.LOG, payload={"level": "warning", "message": message})
    await _change_attempt(db, task_id, attempt, add)


async def request_release(db: Database, *, agent: str | None = None, also: Collection[str] = ()) -> list[str]:
    """Request a checkpoint and the release of its job from every running worker of an agent, or of the server's machine
    (None), and from those of ``also`` these tasks; the ids of the tasks."""
    here = table.c.agent == agent if not also else or_(table.c.agent == agent, table.c.id.in_(also))
    chosen = table.c.state == State.RUNNING, table.c.command == Command.CONTINUE, here
    query = update(table).where(*chosen).values(command=Command.RELEASE).returning(table.c.id)
    async with db.write() as transaction:
        return list(await transaction.connection.scalars(query))


async def request_room(db: Database, task_id: str, attempt: int, claimant: str) -> bool:
    """Request a checkpoint and the release of its job from one running worker, so that the task ``claimant`` of higher
    priority can start, and tell that in its log. False if the attempt does not run any more, or ends anyway."""
    async with db.write() as transaction:
        row = await rows.locked(transaction, task_id)
        is_running = row is not None and row.state is State.RUNNING and row.attempt == attempt
        if row is None or not is_running or row.command is not Command.CONTINUE:
            return False
        change = Change(rows.job_of(row), moment(None))
        change.set(command=Command.RELEASE)
        message = f"made room for task {claimant} of higher priority: it continues from its checkpoint"
        change.add_event(Type.LOG, {"level": "info", "message": message})
        await rows.save(transaction, change)
    return True


def _owned(row: Row[Any] | None, task_id: str, attempt: int, token: str) -> Job:
    """The job, if this is its newest attempt. Raises StaleAttempt."""
    expected = "" if row is None else row.token_hash or ""
    if not hmac.compare_digest(_hash(token), expected) or row is None or row.attempt != attempt:
        raise _stale(task_id, attempt)
    return rows.job_of(row)


def _stale(task_id: str, attempt: int) -> StaleAttempt:
    ended = f"attempt {attempt} of task {task_id[:100]!r} is not running any more"
    return StaleAttempt(f"{ended}: exit without writing anything")


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


async def _change_attempt(
    db: Database,
    task_id: str,
    attempt: int,
    apply: Callable[[Change], None],
    now: float | None = None,
    *,
    only_expired: bool = False,
) -> bool:
    async with db.write() as transaction:
        row = await rows.locked(transaction, task_id)
        if row is None or row.state is not State.RUNNING or row.attempt != attempt:
            return False
        change = Change(rows.job_of(row), moment(now))
        if only_expired and (change.job.lease_until or 0.0) >= change.now:
            return False
        apply(change)
        await rows.save(transaction, change)
        return True
