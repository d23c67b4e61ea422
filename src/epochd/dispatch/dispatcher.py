"""The queue's loop: it takes pending jobs to an executor and sees to it that none hangs as ``running``.

It starts the oldest job whenever a slot is free, and turns every way in which an attempt can end without a
last word (a crash, a kill, silence, a server restart) into a state that is true. The store fences each
attempt, so a conclusion drawn here about an attempt that has meanwhile ended by itself changes nothing.
What has to be looked after while it runs is in ``watch``.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Awaitable, Callable, Sequence

from epochd.core.errors import EpochdError
from epochd.core.events import FINAL_TYPES, Event, Type
from epochd.core.jobs import AttemptKey, Job
from epochd.core.settings import Settings
from epochd.core.tickets import Ticket
from epochd.dispatch import outcomes, readmission
from epochd.dispatch.attempt import Attempt
from epochd.dispatch.host import gpus, memory, orphans
from epochd.dispatch.inherited_workers import InheritedWorkers
from epochd.dispatch.outcomes import Outcome
from epochd.dispatch.reconcile import Reconciler
from epochd.dispatch.watchdog import Watchdog
from epochd.dispatch.workers.executor import Executor, Exit
from epochd.store import attempts, datasets
from epochd.store.db import Database

logger = logging.getLogger(__name__)

WATCH_SECONDS = 1.0
"""Time between two looks at leases and commands."""
STEP_SECONDS = 0.5
"""How long a stop waits for the loop's current step."""
LAUNCH_SECONDS = 0.02
"""How long the loop itself waits for a launch before it lets it wait alone for a worker."""
FIRST_BACKOFF_SECONDS, LAST_BACKOFF_SECONDS = 0.5, 30.0
WAKING_TYPES = FINAL_TYPES | {Type.STATE}


class Dispatcher:
    """Runs the queue of one server. ``error`` is None, or why the loop is down at the moment."""

    def __init__(self, db: Database, executor: Executor, settings: Settings, server_url: str) -> None:
        self.error: str | None = None
        self.gpus = gpus.Pool([])
        self._db = db
        self._executor = executor
        self._settings = settings
        self._server_url = server_url
        self._attempts: dict[AttemptKey, Attempt] = {}
        self._strangers = InheritedWorkers(db, settings)
        self._watch = Watchdog(db, executor, settings, self._attempts, self._strangers)
        self._held = readmission.Readmission(db, settings)
        self._sweeper = orphans.Sweeper(settings.data_dir, self._watch.leaders, executor.pids)
        self._watched_at = 0.0
        self._backoff = FIRST_BACKOFF_SECONDS
        self._wake = asyncio.Event()
        self._stopping = False
        self._loop: asyncio.Task[None] | None = None
        self._chores: list[asyncio.Task[None]] = []

    @property
    def reconciler(self) -> Reconciler:
        """Compares what the database says with what the system says."""
        return Reconciler(self._db, self._settings, self._watch, self.gpus)

    async def start(self) -> None:
        """Start the executor and the loop. Jobs that a former server left running keep their slots."""
        self.gpus = gpus.Pool(await asyncio.to_thread(gpus.find, self._settings.gpus))
        await self._strangers.find(self.gpus)
        await self._executor.start(self._on_exit)
        self._db.listen(self._on_events)
        self._loop = asyncio.create_task(self._supervise(), name="dispatcher")
        self._chores = [
            asyncio.create_task(_repeat(self._held.look, 0.0, readmission.LOOK_SECONDS)),
            asyncio.create_task(_repeat(self._sweeper.sweep, orphans.FIRST_SWEEP_SECONDS, orphans.SWEEP_SECONDS)),
        ]

    async def stop(self, release_wait: float) -> None:
        """Let running jobs save their work for up to ``release_wait`` seconds, then end all workers.

        What was running is pending again afterwards and goes on with the next start. A second call does nothing.
        """
        if self._stopping or self._loop is None:
            return
        self._stopping = True
        self._db.unlisten(self._on_events)
        await self._end_loop(self._loop)
        try:
            await self._release_all(release_wait)
        finally:
            await self._executor.close()
        for attempt in list(self._attempts.values()):
            await self._release(attempt)

    async def _end_loop(self, loop: asyncio.Task[None]) -> None:
        """Let the loop finish its step, so that no job is claimed and then forgotten."""
        for chore in self._chores:
            chore.cancel()
        self._wake.set()
        await asyncio.wait({loop}, timeout=STEP_SECONDS)
        loop.cancel()
        await asyncio.gather(loop, *self._chores, return_exceptions=True)

    async def _release_all(self, wait: float) -> None:
        """Ask every worker to checkpoint and end; wait until none of ours is left, or for ``wait`` seconds."""
        await attempts.ask_release(self._db)
        for attempt in list(self._attempts.values()):
            if attempt.is_launching:
                await attempt.withdraw(self._executor)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                while self._attempts:
                    self._wake.clear()
                    await self._wake.wait()

    def _on_events(self, events: list[Event]) -> None:
        if any(event.type in WAKING_TYPES for event in events):
            self._wake.set()

    async def _supervise(self) -> None:
        """Keep the loop alive: a failure is shown, logged, and tried again after a while."""
        while not self._stopping:
            try:
                await self._run()
            except Exception as error:
                logger.exception("the dispatcher failed; it starts again in %.1f s", self._backoff)
                self.error = f"{type(error).__name__}: {error}"
                await asyncio.sleep(self._backoff)
                self._backoff = min(2 * self._backoff, LAST_BACKOFF_SECONDS)

    async def _run(self) -> None:
        """Start what can start, look after what runs, sleep until something changes."""
        every = min(WATCH_SECONDS, self._settings.lease_seconds / 4)
        while not self._stopping:
            self._wake.clear()
            if time.monotonic() - self._watched_at >= every:
                await self._watch.look()
                self._watched_at = time.monotonic()
            await self._fill_slots()
            self.error, self._backoff = None, FIRST_BACKOFF_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._watched_at + every - time.monotonic()):
                    await self._wake.wait()

    async def _fill_slots(self) -> None:
        while not self._stopping and self._executor.free_slots > len(self._strangers):
            claimed = await attempts.claim(
                self._db, lease_seconds=self._settings.lease_seconds, fits=lambda job: self.gpus.fits(job.spec)
            )
            if claimed is None:
                return
            await self._launch(await self._ticket(*claimed))

    async def _ticket(self, job: Job, token: str) -> Ticket:
        settings = self._settings
        home = settings.dataset_roots[0].absolute()
        named = [name for name in (job.spec.dataset, job.spec.validation_dataset) if name is not None]
        return Ticket(
            task_id=job.id,
            attempt=job.attempt,
            token=token,
            server_url=self._server_url,
            spec=job.spec,
            data_dir=settings.data_dir.absolute(),
            dataset_roots=[root.absolute() for root in settings.dataset_roots],
            checked=job.checked_dataset,
            registered=await datasets.paths(self._db, home, named),
            checkpoint=(job.checkpoint or {}).get("path"),
            reported_epochs=job.current_epoch,
            threads=max(1, (os.cpu_count() or 1) // settings.slots),
            gpus=self.gpus.take(job.key, job.spec),
            resident_mb=settings.resident_mb,
            cache_mb=settings.cache_mb,
            lease_seconds=settings.lease_seconds,
            checkpoint_seconds=settings.checkpoint_seconds,
            grace_seconds=settings.grace_seconds,
            log_mb=settings.log_mb,
            memory_mb=settings.memory_mb,
        )

    async def _launch(self, ticket: Ticket) -> None:
        """Hand a ticket over. When no worker is warm yet, the launch goes on waiting by itself."""
        attempt = self._attempts[ticket.key] = Attempt(ticket)
        attempt.launch = asyncio.create_task(self._hand_over(attempt))
        await asyncio.wait({attempt.launch}, timeout=LAUNCH_SECONDS)

    async def _hand_over(self, attempt: Attempt) -> None:
        try:
            attempt.worker = await self._executor.launch(attempt.ticket)
        except Exception as error:
            if not isinstance(error, EpochdError):
                logger.exception("task %s could not be launched", attempt.ticket.task_id)
            await self._conclude(attempt, outcomes.of_no_worker(str(error), attempt.ticket))
        else:
            await self._note_worker(attempt)

    async def _note_worker(self, attempt: Attempt) -> None:
        """Write down which process it is, for a server that comes after this one; the training does without."""
        ticket, worker = attempt.ticket, attempt.worker
        if worker is None:
            return
        if self._settings.memory_mb is not None and not attempt.is_held:
            attempt.memory_before = memory.of_group(worker["pid"])
        try:
            await attempts.set_worker(self._db, ticket.task_id, ticket.attempt, worker)
        except Exception:
            logger.exception("it could not be noted which process trains task %s", ticket.task_id)

    async def _on_exit(self, end: Exit) -> None:
        attempt = self._attempts[end.task_id, end.attempt]
        await self._conclude(attempt, attempt.verdict or outcomes.of_exit(end.returncode, end.overrun), end.log_tail)

    async def _conclude(self, attempt: Attempt, verdict: Outcome, log_tail: Sequence[str] = ()) -> None:
        """Close the books on an attempt that has not done so itself: its job goes on, or has failed."""
        try:
            if self._stopping or attempt.is_withdrawn:
                await self._release(attempt)
            else:
                await outcomes.carry_out(self._db, attempt.ticket.key, verdict, log_tail)
        finally:
            del self._attempts[attempt.ticket.key]
            self.gpus.give_back(attempt.ticket.key)
            self._wake.set()

    async def _release(self, attempt: Attempt) -> None:
        ticket = attempt.ticket
        reason = "no worker had begun it yet" if attempt.is_withdrawn else "its worker was ended by the server"
        await attempts.release_attempt(self._db, ticket.task_id, ticket.attempt, reason=reason)


async def _repeat(chore: Callable[[], Awaitable[None]], first: float, every: float) -> None:
    """Do something now and then (seconds); when it fails, say so and do it again the next time."""
    await asyncio.sleep(first)
    while True:
        try:
            await chore()
        except Exception:
            logger.exception("a chore of the server failed; it is tried again in %.0f s", every)
        await asyncio.sleep(every)
