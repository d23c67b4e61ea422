"""Workers that a previous server has started: they continue to train, report to this server, and keep slot and GPUs.

They are not children of this process, so their death has to be detected by polling.
"""

import asyncio
import logging
import time
from collections.abc import Sequence

from epochd.core.job_values import WorkerIdentity
from epochd.core.jobs import AttemptKey, Job
from epochd.core.settings import Settings
from epochd.dispatch import outcomes
from epochd.dispatch.host import cgroups, processes
from epochd.dispatch.host.gpus import GpuPool
from epochd.dispatch.outcomes import Outcome
from epochd.dispatch.workers.process import tail_of
from epochd.store import attempts, jobs
from epochd.store.db import Database

logger = logging.getLogger(__name__)

GRACE_SECONDS = 3.0  # how long after a start inherited workers may take to report (they retry every 2 s)
LOST = "its worker was lost with a previous server"


class InheritedWorkers:
    """The jobs that were running on this machine when this server started, or became the leader; ``len`` is the number
    of slots that they occupy. Workers on other machines are judged by their leases alone."""

    def __init__(self, db: Database, settings: Settings) -> None:
        self._db = db
        self._settings = settings
        self._grace = min(GRACE_SECONDS, settings.lease_seconds)
        self._gpus = GpuPool([])
        self._workers: dict[AttemptKey, WorkerIdentity | None] = {}
        self._started_at = 0.0

    async def discover(self, gpus: GpuPool) -> None:
        """Find the inherited workers, and release jobs whose worker is dead. Call this before the server starts own
        workers, which could reuse the pids of dead ones."""
        self._gpus = gpus
        self._started_at = time.monotonic()
        for job in await jobs.running(self._db):
            if job.agent is not None:  # its agent tells of it
                continue
            if processes.is_elsewhere(job.worker):
                continue  # it reports to any server, and its lease expires if it does not
            if job.worker is None or processes.is_alive(job.worker):
                self._workers[job.key] = job.worker
                gpus.reserve(job.key, job.gpus)
                continue
            await self._kill_group(job.worker)
            # A death while no server was running does not count as a crash, unless the kernel killed the worker.
            if (outcome := _outcome_of_death(job.worker)).is_final:
                await self._record(job, outcome)
            else:
                await attempts.release_attempt(self._db, job.id, job.attempt, reason=LOST)

    def __len__(self) -> int:
        return len(self._workers)

    def pids(self) -> set[int]:
        return {worker.pid for worker in self._workers.values() if worker is not None}

    async def check(self, running: Sequence[Job]) -> None:
        """Free the slots of finished attempts, and end those whose worker died. ``running`` are all running jobs."""
        for key in self._workers.keys() - {job.key for job in running}:
            self._forget(key)
        for job in running:
            worker = self._workers.get(job.key)
            if worker is not None and not processes.is_alive(worker):
                await self.end(job, _outcome_of_death(worker))

    def _forget(self, key: AttemptKey) -> None:
        if key in self._workers:
            del self._workers[key]
            self._gpus.release(key)

    async def end_expired(self, job: Job, outcome: Outcome) -> None:
        """End an attempt whose lease has expired; one without a process does not count as a crash."""
        if time.monotonic() - self._started_at < self._grace:
            return
        if processes.is_alive(job.worker):
            await self.end(job, outcome)
        else:
            await attempts.release_attempt(self._db, job.id, job.attempt, reason=LOST, only_expired=True)

    async def end(self, job: Job, outcome: Outcome) -> None:
        """Kill a worker with all its processes; only then requeue or end its job, so that never two train one job."""
        if job.worker is not None:
            await self._kill_group(job.worker)
        self._forget(job.key)
        await self._record(job, outcome)

    async def _record(self, job: Job, outcome: Outcome) -> None:
        tail = tail_of(self._settings.logs_dir / job.id / f"{job.attempt}.log")
        await outcomes.record(self._db, job.key, outcome, tail)

    async def _kill_group(self, worker: WorkerIdentity) -> None:
        await asyncio.to_thread(processes.kill_group, worker, self._settings.data_dir)


def _outcome_of_death(worker: WorkerIdentity) -> Outcome:
    overrun = cgroups.find_overrun(worker.memory_cap)
    return outcomes.DIED if overrun is None else outcomes.of_memory(overrun.limit, overrun.peak)
