"""Periodic checks of all running attempts, so that none blocks its slot forever."""

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from epochd.core.errors import StaleAttempt
from epochd.core.jobs import AttemptKey, Command, Job
from epochd.core.settings import Settings
from epochd.dispatch import outcomes
from epochd.dispatch.running_attempts import Attempt, RunningAttempts
from epochd.dispatch.workers.remote import RemoteExecutor
from epochd.store import attempts, jobs
from epochd.store.db import Database

logger = logging.getLogger(__name__)

SLACK_SECONDS = 1.0  # a lease that ends later than a full lease and this from now is older than a change of the clock
CONFIRM_SECONDS = 3.0  # longer than the interval at which a worker retries to reach a server that was unavailable

LOST = "another machine of the training has not come back after the restart of the server"


class Watchdog:
    """Checks ``running``, the attempts of this server and those that it has inherited. ``conclude`` ends an attempt of
    which no more nodes are waited for."""

    def __init__(
        self,
        db: Database,
        settings: Settings,
        running: RunningAttempts,
        conclude: Callable[[Attempt], Awaitable[None]],
    ) -> None:
        self._db = db
        self._settings = settings
        self._running = running
        self._conclude = conclude
        self._expired = ExpiredLeases(settings.lease_seconds)
        self._cancelled_since: dict[AttemptKey, float] = {}
        self._hanging: set[AttemptKey] = set()
        self._finished_since: dict[AttemptKey, float] = {}

    async def check(self) -> None:
        """Run all checks once."""
        running = await jobs.running(self._db)
        await self._running.inherited.check(running)
        for attempt in list(self._running.own.values()):
            if attempt.is_launching:
                await self._renew_lease(attempt)
            await self._end_torn(attempt, is_finished=attempt.key not in {job.key for job in running})
        await self._enforce_cancellations(running)
        await self._report_hangs(running)
        await self._end_expired(running)
        await self._kill_finished(running)

    async def _end_torn(self, attempt: Attempt, *, is_finished: bool) -> None:
        """End an attempt on several machines if one is lost that is not the first, whose lease says nothing of it; or
        has not told a new server of it."""
        is_late = time.monotonic() - attempt.known_at > self._settings.lease_seconds
        if attempt.ticket is None and len(attempt.nodes) < attempt.size and (is_late or is_finished):
            attempt.size = len(attempt.nodes)
            attempt.lost = attempt.lost or (None if is_finished else LOST)
            if attempt.has_ended:
                return await self._conclude(attempt)
            if not is_finished:
                await self._running.stop(attempt)
        for node in attempt.nodes[1:]:
            executor = node.executor
            if isinstance(executor, RemoteExecutor) and executor.is_lost and node not in attempt.endings:
                await executor.kill(attempt.key)

    async def _renew_lease(self, attempt: Attempt) -> None:
        """Renew the lease of an attempt that waits for its worker, and carry out a pause or a stop in its place."""
        ticket = attempt.ticket
        assert ticket is not None, "only an attempt with a ticket is launched"
        with suppress(StaleAttempt):  # a worker was ready in the meantime, and the attempt has finished
            lease = ticket.lease_seconds
            command = await attempts.report(self._db, *ticket.key, ticket.token, [], lease_seconds=lease)
            if command is not Command.CONTINUE:
                await self._running.withdraw(attempt)

    async def _enforce_cancellations(self, running: Sequence[Job]) -> None:
        """End attempts that still run a full lease after their cancellation was requested."""
        now = time.monotonic()
        cancelled = {job.key: job for job in running if job.command is Command.CANCEL}
        self._cancelled_since = {key: self._cancelled_since.get(key, now) for key in cancelled}
        for key, job in cancelled.items():
            if now - self._cancelled_since[key] > self._settings.lease_seconds:
                logger.warning("task %s: the worker ignored its cancellation and is killed", job.id)
                await self._running.end(job, outcomes.CANCEL_IGNORED)

    async def _report_hangs(self, running: Sequence[Job]) -> None:
        """Log once per hang that a worker reports, but has not completed a step for ``hang_seconds``."""
        hanging: dict[AttemptKey, float] = {}
        for job in running:
            idle = idle_seconds(job, self._settings.lease_seconds)
            is_silent = job.lease_until is None or job.lease_until < time.time()
            if idle is not None and idle > self._settings.hang_seconds and not is_silent:
                hanging[job.key] = idle
        for (task_id, attempt), idle in hanging.items():
            if (task_id, attempt) not in self._hanging:
                message = outcomes.hang_message(idle)
                logger.warning("task %s: %s", task_id, message)
                await attempts.warn(self._db, task_id, attempt, message)
        self._hanging = set(hanging)

    async def _end_expired(self, running: Sequence[Job]) -> None:
        """End attempts with an expired lease."""
        latest = time.time() + self._settings.lease_seconds + SLACK_SECONDS
        if any((job.lease_until or 0.0) > latest for job in running):
            await attempts.shorten_leases(self._db, self._settings.lease_seconds)
        for job in self._expired.confirmed(await attempts.expired(self._db), time.monotonic()):
            if job.key not in {one.key for one in await attempts.expired(self._db)}:
                continue  # it has reported while another one was killed
            await self._running.end(job, outcomes.of_silence(self._settings.lease_seconds), is_expired=True)

    async def _kill_finished(self, running: Sequence[Job]) -> None:
        """Kill workers that still occupy their slot a full lease after the final report of their attempt."""
        now, keys = time.monotonic(), {job.key for job in running}
        finished = [key for key, one in self._running.own.items() if key not in keys and not one.is_launching]
        self._finished_since = {key: self._finished_since.get(key, now) for key in finished}
        for key in finished:
            if now - self._finished_since[key] > self._settings.lease_seconds:
                logger.warning("task %s: the worker did not exit after attempt %d had finished and is killed", *key)
                await self._running.stop(self._running.own[key])


class ExpiredLeases:
    """Running jobs whose lease seems to have expired, and since when (monotonic)."""

    def __init__(self, lease_seconds: float) -> None:
        self.confirm_seconds = min(CONFIRM_SECONDS, lease_seconds / 2)
        self._since: dict[tuple[str, int, float | None], float] = {}

    def confirmed(self, expired: Sequence[Job], at: float) -> list[Job]:
        """Those of ``expired`` that have not reported for ``confirm_seconds`` since they were first seen."""
        leases = {job.key: (*job.key, job.lease_until) for job in expired}  # a report changes the lease
        self._since = {lease: self._since.get(lease, at) for lease in leases.values()}
        return [job for job in expired if at - self._since[leases[job.key]] >= self.confirm_seconds]


def idle_seconds(job: Job, lease_seconds: float) -> float | None:
    """Seconds without a completed step at the time of the last report; None before the first step."""
    if job.progress_at is None or job.lease_until is None:
        return None
    # Both times were recorded at that report, so later changes of the clock have no effect.
    return max(0.0, job.lease_until - lease_seconds - job.progress_at)
