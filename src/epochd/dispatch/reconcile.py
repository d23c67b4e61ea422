"""Compares the running jobs in the database with the processes of the system, and repairs differences.

The server corrects most of them by itself after a while. A repair corrects at once what a second comparison confirms,
since the first may have seen a job during a change.

    running_without_process   a job is running, but its worker is not
    silent_worker             a worker is alive, but its lease has expired
    process_without_job       a process works for this data directory, but for no job
    gpu_process_unknown       a GPU of this server is used by another process, which is never killed
    ray_job_without_task      a job of the Ray cluster was submitted for an attempt that does not run
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil

from epochd.core.jobs import Job
from epochd.core.settings import Settings
from epochd.dispatch import outcomes
from epochd.dispatch.host import gpus, memory, orphans, processes
from epochd.dispatch.host.gpus import GpuPool, GpuProcess
from epochd.dispatch.inherited_workers import LOST
from epochd.dispatch.running_attempts import RunningAttempts
from epochd.dispatch.watchdog import idle_seconds
from epochd.store import attempts, jobs
from epochd.store.db import Database

if TYPE_CHECKING:
    from epochd.dispatch.workers.ray import RayCluster

CONFIRM_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference. ``message`` describes it and what the server does about it."""

    code: str
    message: str
    task_id: str | None = None
    attempt: int | None = None
    pid: int | None = None
    ray_job: str | None = None

    @property
    def key(self) -> tuple[Any, ...]:
        """Identifies a finding; the messages of two comparisons may differ in their seconds."""
        return self.code, self.task_id, self.attempt, self.pid, self.ray_job


@dataclass(frozen=True, slots=True)
class Running:
    """A job that is running according to the database, and its process. ``lease_left`` in seconds, negative after the
    lease has expired; ``idle``: seconds without a completed step at the last report; ``memory`` in bytes."""

    task_id: str
    attempt: int
    pid: int | None
    is_alive: bool | None
    memory: int | None
    lease_left: float | None
    idle: float | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The result of one comparison."""

    running: list[Running]
    gpu_users: list[GpuProcess]
    findings: list[Finding]


class Reconciler:
    """Compares and repairs. ``attempts`` are the running attempts, ``pool`` the GPUs of the server, ``ray`` its
    cluster."""

    def __init__(
        self,
        db: Database,
        settings: Settings,
        attempts: RunningAttempts,
        pool: GpuPool,
        ray: "RayCluster | None" = None,
    ) -> None:
        self._db = db
        self._settings = settings
        self._attempts = attempts
        self._pool = pool
        self._ray = ray

    async def compare(self) -> Snapshot:
        """Compare database and system without changing anything."""
        running = await jobs.running(self._db)
        workers = self._attempts.pids()
        lost = await asyncio.to_thread(orphans.find, self._settings.data_dir, workers)
        users = await asyncio.to_thread(gpus.list_processes)
        known = workers | {process.pid for process in lost}
        findings = [found for job in running if (found := self._check_job(job)) is not None]
        for pid in (process.pid for process in lost):
            text = f"process {pid} works for this data directory, but belongs to no known worker; it is killed"
            findings.append(Finding("process_without_job", text, pid=pid))
        for job_id in self._ray.strays if self._ray is not None else ():
            text = f"the Ray job {job_id} belongs to no running attempt; it is stopped as soon as Ray has started it"
            findings.append(Finding("ray_job_without_task", text, ray_job=job_id))
        for user in (user for user in users if self._is_unknown(user, known)):
            text = (
                f"process {user.pid} uses GPU {user.gpu}, which this server allocates to trainings, but is none of its "
                "workers. It is not killed: end it yourself, or remove this GPU from EPOCHD_GPUS"
            )
            findings.append(Finding("gpu_process_unknown", text, pid=user.pid))
        return Snapshot(await asyncio.to_thread(_describe, running, self._settings.lease_seconds), users, findings)

    async def repair(self) -> tuple[Snapshot, list[str]]:
        """Repair what two comparisons find; returns the first snapshot, and a message for each repair."""
        snapshot = await self.compare()
        if not snapshot.findings:
            return snapshot, []
        await asyncio.sleep(CONFIRM_SECONDS)
        seen = {found.key for found in snapshot.findings}
        confirmed = [found for found in (await self.compare()).findings if found.key in seen]
        repairs = [await self._repair(found) for found in confirmed]
        return snapshot, [message for message in repairs if message is not None]

    def _check_job(self, job: Job) -> Finding | None:
        """Compare a running job with its process."""
        own = self._attempts.own.get(job.key)
        if own is not None and own.is_launching:
            return None
        silent = time.time() - (job.lease_until or 0.0)
        is_here = job.worker is not None and not processes.is_elsewhere(job.worker)
        if job.worker is not None and is_here and not processes.is_alive(job.worker):
            return _without_process(job, f"its worker (process {job.worker.pid}) does not exist")
        if silent <= 0:
            return None
        if job.worker is None and own is None:
            return _without_process(job, "it has no known worker, and its lease has expired")
        message = (
            f"the lease of the worker of task {job.id} (process {_pid(job) or 'unknown'}) expired {silent:,.1f} s ago; "
            "the worker is killed, and the task continues from its checkpoint"
        )
        return Finding("silent_worker", message, job.id, job.attempt, _pid(job))

    def _is_unknown(self, user: GpuProcess, known: set[int]) -> bool:
        """Whether a GPU of this server is used by a process that is not one of its workers."""
        if user.gpu not in self._pool.owned:
            return False
        if not psutil.pid_exists(user.pid):  # in a container: a pid of another namespace, maybe of the GPU's training
            return user.gpu in self._pool.free
        process = psutil.Process(user.pid)
        return user.pid not in known and processes.leader_of(process, known) is None

    async def _repair(self, found: Finding) -> str | None:
        """Repair one finding; returns a message, or None if nothing was done."""
        if found.code == "process_without_job" and found.pid is not None:
            with suppress(psutil.NoSuchProcess):
                return f"process {found.pid} was killed" if orphans.kill(psutil.Process(found.pid)) else None
        if found.ray_job is not None and self._ray is not None:
            return f"the Ray job {found.ray_job} is stopped" if await self._ray.stop(found.ray_job) else None
        if found.task_id is None:
            return None
        job = await jobs.get(self._db, found.task_id)
        if job.attempt != found.attempt:
            return None
        if found.code == "silent_worker":
            await self._attempts.end(job, outcomes.of_silence(self._settings.lease_seconds))
            return f"the silent worker of task {job.id} was killed; the task continues from its checkpoint"
        if job.worker is not None:
            await self._attempts.end(job, outcomes.DIED)
        else:
            await attempts.release_attempt(self._db, job.id, job.attempt, reason=LOST, only_expired=True)
        return f"task {job.id}, which has lost its worker, was requeued and continues from its checkpoint"


def _without_process(job: Job, why: str) -> Finding:
    message = f"task {job.id} (attempt {job.attempt}) is running according to the database, but {why}; it is requeued"
    return Finding("running_without_process", message, job.id, job.attempt, _pid(job))


def _pid(job: Job) -> int | None:
    return job.worker.pid if job.worker else None


def _describe(running: Sequence[Job], lease_seconds: float) -> list[Running]:
    workers = [job.worker for job in running if job.worker is not None and not processes.is_elsewhere(job.worker)]
    used = memory.used_by_groups([worker.pid for worker in workers])
    now = time.time()
    return [
        Running(
            task_id=job.id,
            attempt=job.attempt,
            pid=_pid(job),
            is_alive=processes.is_alive(job.worker) if job.worker in workers else None,
            memory=used[job.worker.pid] if job.worker and job.worker in workers else None,
            lease_left=None if job.lease_until is None else job.lease_until - now,
            idle=idle_seconds(job, lease_seconds),
        )
        for job in running
    ]
