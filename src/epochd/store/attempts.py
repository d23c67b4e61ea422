"""What workers and the dispatcher do to a job: start it, report on it, end it, each for one attempt.

Workers are fenced: a report must carry the number and the token of the attempt that runs now.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Row, select, update

from epochd.core.errors import StaleAttempt
from epochd.core.events import Report, Type
from epochd.core.jobs import Command, Job, State
from epochd.store import events, jobs, rows, tables
from epochd.store import reports as reporting
from epochd.store.changes import Change
from epochd.store.db import Database
from epochd.store.rows import moment

table = tables.jobs


async def claim(
    db: Database, *, lease_seconds: float, fits: Callable[[Job], bool] = lambda job: True, now: float | None = None
) -> tuple[Job, str] | None:
    """Start the next attempt of the job that has waited longest; None if none waits, or if it does not fit.

    Nothing overtakes a job that does not fit: a large one would wait for ever behind small ones. Returns the
    job and the attempt's token, of which only the SHA-256 is kept.
    """
    now = moment(now)
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
    idle_seconds: float | None = None,
    now: float | None = None,
) -> Command:
    """Take in a worker's reports, in one transaction, and answer what it shall do. None at all is a heartbeat.

    ``idle_seconds`` is how long ago the worker finished a step; None while it has not begun.

    Reports that are known already are skipped, so a worker repeats what was not answered; such a repeat is
    answered even after the job's end. Raises StaleAttempt if the attempt does not run now, IllegalMove if the
    reports are out of order; nothing is stored then.
    """
    now = moment(now)
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
        told = await events.told(transaction.connection, task_id) if reporting.look_back(job, fresh) else None
        change = Change(job, now, told)
        change.set(lease_until=now + lease_seconds)
        if idle_seconds is not None:
            change.set(progress_at=now - idle_seconds)
        reporting.apply(change, fresh)
        await rows.save(transaction, change)
    return change.job.command


async def expired(db: Database, now: float | None = None) -> list[Job]:
    """Running jobs whose worker has been silent for longer than its lease."""
    now = moment(now)
    return [job for job in await jobs.running(db) if job.lease_until is not None and job.lease_until < now]


async def shorten_leases(db: Database, lease_seconds: float, now: float | None = None) -> None:
    """Let no lease end later than a whole one from now: the clock was set back since, and it would hold for ever."""
    latest = moment(now) + lease_seconds
    mine = (table.c.state == State.RUNNING, table.c.lease_until > latest)
    async with db.write() as transaction:
        await transaction.connection.execute(update(table).where(*mine).values(lease_until=latest))


async def fail_attempt(
    db: Database,
    task_id: str,
    attempt: int,
    *,
    code: str,
    message: str,
    log_tail: Sequence[str] = (),
    waits: bool = False,
    now: float | None = None,
) -> bool:
    """The attempt's worker died: the job has failed, or is cancelled if that was asked; if it ``waits``, it is held
    where it has got to. False if it runs no more."""
    error = {"code": code, "message": message, "problems": [], "log_tail": list(log_tail)}

    def fail(change: Change) -> None:
        if waits:
            return change.hold(error)
        if change.job.command is Command.CANCEL:
            return change.move(State.CANCELLED)
        change.set(error=error)
        change.move(State.FAILED)

    return await _end_attempt(db, task_id, attempt, fail, now)


async def crash_attempt(
    db: Database,
    task_id: str,
    attempt: int,
    *,
    code: str,
    message: str,
    log_tail: Sequence[str] = (),
    only_expired: bool = False,
    now: float | None = None,
) -> bool:
    """The attempt's worker was lost to an accident: the job goes on from its checkpoint, or has failed as poison.

    False if the attempt runs no more, or, with ``only_expired``, if its lease holds after all.
    """

    def crash(change: Change) -> None:
        change.crash(code=code, message=message, log_tail=list(log_tail))

    return await _end_attempt(db, task_id, attempt, crash, now, only_expired=only_expired)


async def release_attempt(
    db: Database, task_id: str, attempt: int, *, reason: str, only_expired: bool = False, now: float | None = None
) -> bool:
    """Take the job from an attempt through no fault of its own; False if it runs no more (or as in ``crash_attempt``).

    It waits again in its old place, unless a pause or a stop was asked: then it is paused or cancelled, and that is
    no preemption.
    """

    def release(change: Change) -> None:
        change.release(reason=reason)

    return await _end_attempt(db, task_id, attempt, release, now, only_expired=only_expired)


async def set_worker(db: Database, task_id: str, attempt: int, worker: dict[str, Any]) -> None:
    """Note which process runs the attempt (``pid``, ``created``); nothing if it runs no more."""
    mine = (table.c.id == task_id, table.c.attempt == attempt, table.c.state == State.RUNNING)
    async with db.write() as transaction:
        await transaction.connection.execute(update(table).where(*mine).values(worker=worker))


async def tell(db: Database, task_id: str, attempt: int, level: str, message: str, *, now: float | None = None) -> None:
    """Add a line of the server's own to a running job's log."""
    await _end_attempt(
        db, task_id, attempt, lambda change: change.tell(Type.LOG, {"level": level, "message": message}), now
    )


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
    db: Database,
    task_id: str,
    attempt: int,
    end: Callable[[Change], None],
    now: float | None,
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
        end(change)
        await rows.save(transaction, change)
        return True


def _begin_attempt(change: Change, token: str, lease_until: float) -> None:
    job = change.job
    change.set(attempt=job.attempt + 1, reported=0, progress_at=None)
    change.set(error=None, command=Command.CONTINUE, lease_until=lease_until)
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
