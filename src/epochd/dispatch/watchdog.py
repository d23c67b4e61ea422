"""The regular look after all that runs: whatever an attempt may hang in, somebody notices.

It keeps the lease of a job that waits for its worker, takes back what has fallen silent, ends what does
not heed a stop or takes too much memory, and tells of a training that is alive but gets nowhere.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import suppress

from epochd.core.errors import StaleAttempt
from epochd.core.jobs import AttemptKey, Command, Job
from epochd.core.settings import Settings
from epochd.dispatch import outcomes
from epochd.dispatch.attempt import Attempt
from epochd.dispatch.host import memory
from epochd.dispatch.inherited_workers import InheritedWorkers
from epochd.dispatch.outcomes import Outcome
from epochd.dispatch.workers.executor import Executor
from epochd.store import attempts, jobs
from epochd.store.db import Database

logger = logging.getLogger(__name__)

SLACK_SECONDS = 1.0
"""A lease that ends later than a whole lease from now, and this, comes from a clock that was set back since."""


class Watchdog:
    """Looks after the jobs of this server (``ours``) and of a former one (``strangers``)."""

    def __init__(
        self,
        db: Database,
        executor: Executor,
        settings: Settings,
        ours: dict[AttemptKey, Attempt],
        strangers: InheritedWorkers,
    ) -> None:
        self.ours = ours
        self.strangers = strangers
        self._db = db
        self._executor = executor
        self._settings = settings
        self._suspects = ExpiredLeases(settings.lease_seconds)
        self._cancels: dict[AttemptKey, float] = {}
        self._hangs: set[AttemptKey] = set()
        self._ends: dict[AttemptKey, float] = {}

    def leaders(self) -> set[int]:
        """The processes of all workers that are known."""
        return {*self._executor.pids()} | self.strangers.pids()

    async def look(self) -> None:
        """Go through everything once."""
        running = await jobs.running(self._db)
        await self.strangers.look(running)
        for attempt in list(self.ours.values()):
            if attempt.is_launching:
                await self._hold(attempt)
        await self._limit_memory()
        await self._insist_on_cancels(running)
        await self._tell_hangs(running)
        await self._take_back(running)
        await self._end_lingering(running)

    async def end(self, job: Job, verdict: Outcome) -> None:
        """Kill the worker of a running job, whoever has started it; the job goes on or ends by the verdict."""
        attempt = self.ours.get(job.key)
        if attempt is not None:
            await attempt.end(self._executor, verdict)
        else:
            await self.strangers.end(job, verdict)

    async def _hold(self, attempt: Attempt) -> None:
        """Keep the lease of an attempt whose worker is still warming up; heed commands in its place."""
        ticket = attempt.ticket
        with suppress(StaleAttempt):  # the worker came, and was that quick
            command = await attempts.report(
                self._db, ticket.task_id, ticket.attempt, ticket.token, [], lease_seconds=ticket.lease_seconds
            )
            if command is not Command.CONTINUE:
                await attempt.withdraw(self._executor)

    async def _limit_memory(self) -> None:
        """Kill a worker that no group holds and that has, with all that it started, taken more than a training may."""
        limit = (self._settings.memory_mb or 0) * 2**20
        unheld = [attempt for attempt in self.ours.values() if not attempt.is_held]
        watched = {attempt.worker["pid"]: attempt for attempt in unheld if attempt.worker is not None}
        if not limit or not watched:
            return
        used = await asyncio.to_thread(memory.of_groups, watched.keys())
        for pid, attempt in watched.items():
            attempt.peak = max(attempt.peak, used[pid] - attempt.memory_before)
            if attempt.peak > limit:
                await attempt.end(self._executor, outcomes.of_memory(limit, attempt.peak))

    async def _insist_on_cancels(self, running: Sequence[Job]) -> None:
        """Kill workers that have known of a cancel for a whole lease and still train."""
        now = time.monotonic()
        asked = {job.key: job for job in running if job.command is Command.CANCEL}
        self._cancels = {key: self._cancels.get(key, now) for key in asked}
        for key, job in asked.items():
            if now - self._cancels[key] > self._settings.lease_seconds:
                logger.warning("task %s did not heed its cancellation; its worker is killed", job.id)
                await self.end(job, outcomes.UNHEEDING)

    async def _tell_hangs(self, running: Sequence[Job]) -> None:
        """Say once of each training that its worker reports, but has finished no step for too long."""
        hanging = {job.key: idle for job in running if (idle := self._hangs_for(job)) is not None}
        for (task_id, attempt), idle in hanging.items():
            if (task_id, attempt) not in self._hangs:
                message = outcomes.of_hang(idle)
                logger.warning("task %s: %s", task_id, message)
                await attempts.tell(self._db, task_id, attempt, "warning", message)
        self._hangs = set(hanging)

    def _hangs_for(self, job: Job) -> float | None:
        """For how many seconds a job has hung; None if it does not, or has fallen silent altogether."""
        idle = idle_seconds(job, self._settings.lease_seconds)
        is_silent = job.lease_until is None or job.lease_until < time.time()
        return None if idle is None or idle <= self._settings.hang_seconds or is_silent else idle

    async def _take_back(self, running: Sequence[Job]) -> None:
        """End attempts whose leases ran out, and their workers with them."""
        latest = time.time() + self._settings.lease_seconds + SLACK_SECONDS
        if any((job.lease_until or 0.0) > latest for job in running):
            await attempts.shorten_leases(self._db, self._settings.lease_seconds)
        verdict = outcomes.of_silence(self._settings.lease_seconds)
        for job in self._suspects.confirmed(await attempts.expired(self._db), time.monotonic()):
            attempt = self.ours.get(job.key)
            if attempt is not None:
                await attempt.end(self._executor, verdict)
            else:
                await self.strangers.take_back(job, verdict)

    async def _end_lingering(self, running: Sequence[Job]) -> None:
        """Kill workers that have said their last word and still hold their slot a whole lease later."""
        now, alive = time.monotonic(), {job.key for job in running}
        ended = [key for key, attempt in self.ours.items() if key not in alive and not attempt.is_launching]
        self._ends = {key: self._ends.get(key, now) for key in ended}
        for key in ended:
            if now - self._ends[key] > self._settings.lease_seconds:
                logger.warning("task %s: the worker of attempt %d does not come back from it; it is killed", *key)
                await self._executor.kill(key)


PATIENCE_SECONDS = 3.0
"""Longer than a worker waits before it tries again to reach a server that was away."""


class ExpiredLeases:
    """Running jobs whose leases seem to have run out, and since when they have seemed so (monotonic)."""

    def __init__(self, lease_seconds: float) -> None:
        self.patience = min(PATIENCE_SECONDS, lease_seconds / 2)
        self._since: dict[tuple[str, int, float | None], float] = {}

    def confirmed(self, expired: Sequence[Job], at: float) -> list[Job]:
        """Those of ``expired`` that have not reported for ``patience`` seconds since they were seen first."""
        self._since = {_lease(job): self._since.get(_lease(job), at) for job in expired}
        return [job for job in expired if at - self._since[_lease(job)] >= self.patience]


def _lease(job: Job) -> tuple[str, int, float | None]:
    """Any report renews a lease that has run out, so the same one means that there was none."""
    return job.id, job.attempt, job.lease_until


def idle_seconds(job: Job, lease_seconds: float) -> float | None:
    """How long the worker had not finished a step when it last reported; None before its first.

    Both times were noted at that report, so a clock that was set since does not matter.
    """
    if job.progress_at is None or job.lease_until is None:
        return None
    return max(0.0, job.lease_until - lease_seconds - job.progress_at)
