"""Workers that a former server has started: they train on, report to this one, and keep their slots and GPUs.

They are no children of this process, so nobody tells when one of them ends: it is looked at again and
again. What is known of them is in the database.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any

from epochd.core.jobs import AttemptKey, Job
from epochd.core.settings import Settings
from epochd.dispatch import outcomes
from epochd.dispatch.host import cgroups, processes
from epochd.dispatch.host.gpus import Pool
from epochd.dispatch.outcomes import Outcome
from epochd.dispatch.workers.process import tail_of
from epochd.store import attempts, jobs
from epochd.store.db import Database

logger = logging.getLogger(__name__)

GRACE_SECONDS = 3.0
"""After a start, workers that outlived the last server get so long to report (they retry every 2 s)."""
LOST = "its worker was lost together with a former server"


class InheritedWorkers:
    """The jobs that were running when this server came, as long as they do; ``len`` is how many slots they take."""

    def __init__(self, db: Database, settings: Settings) -> None:
        self._db = db
        self._settings = settings
        self._grace = min(GRACE_SECONDS, settings.lease_seconds)
        self._pool = Pool([])
        self._workers: dict[AttemptKey, dict[str, Any] | None] = {}
        self._started_at = 0.0

    async def find(self, pool: Pool) -> None:
        """Look who is there. A job whose worker is gone as well is released at once, what is left of it is ended.

        To be called before this server starts workers of its own, whose process numbers could be those of the dead.
        """
        self._pool = pool
        self._started_at = time.monotonic()
        for job in await jobs.running(self._db):
            if job.worker is not None and not processes.lives(job.worker):
                await self._end(job.worker)
                await self._conclude_lost(job)
            else:
                self._workers[job.key] = job.worker
                pool.hold(job.key, job.summary.get("gpus", []))

    def __len__(self) -> int:
        return len(self._workers)

    def pids(self) -> set[int]:
        return {worker["pid"] for worker in self._workers.values() if worker is not None}

    async def look(self, running: Sequence[Job]) -> None:
        """Forget those whose attempts have ended; see at once when one has died. ``running`` are all jobs that do."""
        for key in self._workers.keys() - {job.key for job in running}:
            self._drop(key)
        for job in running:
            worker = self._workers.get(job.key)
            if worker is not None and not processes.lives(worker):
                await self.end(job, _of_death(worker))

    def _drop(self, key: AttemptKey) -> None:
        if key in self._workers:
            del self._workers[key]
            self._pool.give_back(key)

    async def take_back(self, job: Job, verdict: Outcome) -> None:
        """End an attempt whose lease ran out; one without a process is no accident of the training."""
        if time.monotonic() - self._started_at < self._grace:
            return
        if processes.lives(job.worker):
            await self.end(job, verdict)
        else:
            await attempts.release_attempt(self._db, job.id, job.attempt, reason=LOST, only_expired=True)

    async def end(self, job: Job, verdict: Outcome) -> None:
        """Kill a worker and all that it started, and only then let its job go on: never two train one job."""
        if job.worker is not None:
            await self._end(job.worker)
        self._drop(job.key)
        await self._mourn(job, verdict)

    async def _conclude_lost(self, job: Job) -> None:
        """A worker that died while no server was there is no accident of its training, unless the kernel ended it."""
        verdict = _of_death(job.worker)
        if verdict.is_final:
            await self._mourn(job, verdict)
        else:
            await attempts.release_attempt(self._db, job.id, job.attempt, reason=LOST)

    async def _mourn(self, job: Job, verdict: Outcome) -> None:
        tail = tail_of(self._settings.logs_dir / job.id / f"{job.attempt}.log")
        await outcomes.carry_out(self._db, job.key, verdict, tail)

    async def _end(self, worker: dict[str, Any]) -> None:
        await asyncio.to_thread(processes.end_group, worker, self._settings.data_dir)


def _of_death(worker: dict[str, Any] | None) -> Outcome:
    """What it means that a worker is gone without a last word."""
    overrun = cgroups.overrun(cgroups.hold_of(worker))
    return outcomes.GONE if overrun is None else outcomes.of_memory(overrun.limit, overrun.peak)
