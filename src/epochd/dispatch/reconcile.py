"""What the database says is running, against what the system says: they should agree, and mostly do.

Whatever they disagree about is a finding with a code and a sentence. The server mends most of it by itself
in time; a repair mends it now, but only what is still there after a moment, since a look from outside may
catch a job in the middle of a step.

    running_without_process   a job runs, but its worker does not
    silent_worker             a worker is there, but has not reported for longer than its lease
    process_without_job       a process works for this data directory, but for no job
    gpu_process_unknown       a GPU that is ours to give away is used by somebody else; that is left alone
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psutil

from epochd.core.jobs import Job
from epochd.core.settings import Settings
from epochd.dispatch import outcomes
from epochd.dispatch.host import gpus, memory, orphans, processes
from epochd.dispatch.host.gpus import Pool, User
from epochd.dispatch.inherited_workers import LOST
from epochd.dispatch.watchdog import Watchdog, idle_seconds
from epochd.store import attempts, jobs
from epochd.store.db import Database

CONFIRM_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Finding:
    """One disagreement. ``message`` says what it is and what comes of it."""

    code: str
    message: str
    task_id: str | None = None
    attempt: int | None = None
    pid: int | None = None

    @property
    def key(self) -> tuple[Any, ...]:
        """What makes two findings the same, though the seconds in their sentences differ."""
        return self.code, self.task_id, self.attempt, self.pid


@dataclass(frozen=True, slots=True)
class Running:
    """A job that runs, by the database, and its process. Seconds; ``lease_left`` is negative once it has run out,
    ``idle`` how long no step had been finished when the worker last reported; ``memory`` in bytes."""

    task_id: str
    attempt: int
    pid: int | None
    is_alive: bool | None
    memory: int | None
    lease_left: float | None
    idle: float | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that one look has seen."""

    running: list[Running]
    gpu_users: list[User]
    findings: list[Finding]


class Reconciler:
    """Looks, and mends. ``pool`` are the GPUs that trainings get."""

    def __init__(self, db: Database, settings: Settings, watch: Watchdog, pool: Pool) -> None:
        self._db = db
        self._settings = settings
        self._watch = watch
        self._pool = pool

    async def look(self) -> Snapshot:
        """Compare; change nothing."""
        running = await jobs.running(self._db)
        leaders = self._watch.leaders()
        lost = await asyncio.to_thread(orphans.find, self._settings.data_dir, leaders)
        users = await asyncio.to_thread(gpus.users)
        known = leaders | {process.pid for process in lost}
        findings = [
            *(found for job in running if (found := self._doubt(job)) is not None),
            *map(_without_job, lost),
            *(_unknown(user) for user in users if self._is_foreign(user, known)),
        ]
        return Snapshot(await asyncio.to_thread(_described, running, self._settings.lease_seconds), users, findings)

    async def repair(self) -> tuple[Snapshot, list[str]]:
        """Mend what two looks agree on; the first look, and what was done, in sentences."""
        picture = await self.look()
        if not picture.findings:
            return picture, []
        await asyncio.sleep(CONFIRM_SECONDS)
        seen = {found.key for found in picture.findings}
        confirmed = [found for found in (await self.look()).findings if found.key in seen]
        done = [await self._mend(found) for found in confirmed]
        return picture, [sentence for sentence in done if sentence is not None]

    def _doubt(self, job: Job) -> Finding | None:
        """What is wrong with a job that should be running."""
        attempt = self._watch.ours.get(job.key)
        if attempt is not None and attempt.is_launching:
            return None  # it waits for a worker to warm up
        silent = time.time() - (job.lease_until or 0.0)
        if job.worker is not None and not processes.lives(job.worker):
            return _without_process(job, f"its worker (process {job.worker['pid']}) is gone")
        if silent <= 0:
            return None
        if job.worker is None and attempt is None:
            return _without_process(job, "no process is known to train it and nothing has been heard of one")
        return _silent(job, silent)

    def _is_foreign(self, user: User, known: set[int]) -> bool:
        """Whether a GPU of ours is used by a process that is none of ours.

        In a container the driver may tell process numbers that mean nothing here: of a GPU that a training has,
        one is taken for that training's.
        """
        if user.gpu not in self._pool.owned:
            return False
        if not psutil.pid_exists(user.pid):
            return user.gpu in self._pool.free
        process = psutil.Process(user.pid)
        return user.pid not in known and processes.leader_of(process, known) is None

    async def _mend(self, found: Finding) -> str | None:
        """Mend one finding, and say how; None where nothing is to be done, or was no longer."""
        match found.code:
            case "process_without_job" if found.pid is not None:
                return f"process {found.pid} was ended" if _ended(found.pid) else None
            case "running_without_process" | "silent_worker" if found.task_id is not None:
                return await self._take(await jobs.get(self._db, found.task_id), found)
        return None

    async def _take(self, job: Job, found: Finding) -> str | None:
        if job.attempt != found.attempt:
            return None
        if found.code == "silent_worker":
            await self._watch.end(job, outcomes.of_silence(self._settings.lease_seconds))
            return f"the silent worker of task {job.id} was ended; the task goes on from its checkpoint"
        if job.worker is not None:
            await self._watch.end(job, outcomes.GONE)
        else:
            await attempts.release_attempt(self._db, job.id, job.attempt, reason=LOST, only_expired=True)
        return f"task {job.id} was taken from its lost worker and goes on from its checkpoint"


def _without_process(job: Job, why: str) -> Finding:
    message = f"task {job.id} (attempt {job.attempt}) is running by the database, but {why}; it goes back to the queue"
    pid = job.worker["pid"] if job.worker else None
    return Finding("running_without_process", message, job.id, job.attempt, pid)


def _silent(job: Job, seconds: float) -> Finding:
    pid = job.worker["pid"] if job.worker else None
    message = (
        f"the worker of task {job.id} (process {pid or 'unknown'}) has been silent for {seconds:,.1f} s more than its "
        "lease; it is ended, and the task goes on from its checkpoint"
    )
    return Finding("silent_worker", message, job.id, job.attempt, pid)


def _without_job(process: psutil.Process) -> Finding:
    message = f"process {process.pid} works for this data directory, but no worker is known that it belongs to"
    return Finding("process_without_job", f"{message}; it is ended", pid=process.pid)


def _unknown(user: User) -> Finding:
    message = (
        f"process {user.pid} uses GPU {user.gpu}, which this server gives to trainings, but is none of its workers. "
        "It is left alone: end it, or leave this GPU out of EPOCHD_GPUS"
    )
    return Finding("gpu_process_unknown", message, pid=user.pid)


def _ended(pid: int) -> bool:
    try:
        return orphans.end(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return False


def _described(running: Sequence[Job], lease_seconds: float) -> list[Running]:
    used = memory.of_groups([job.worker["pid"] for job in running if job.worker is not None])
    now = time.time()
    return [
        Running(
            task_id=job.id,
            attempt=job.attempt,
            pid=job.worker["pid"] if job.worker else None,
            is_alive=processes.lives(job.worker) if job.worker else None,
            memory=used[job.worker["pid"]] if job.worker else None,
            lease_left=None if job.lease_until is None else job.lease_until - now,
            idle=idle_seconds(job, lease_seconds),
        )
        for job in running
    ]
