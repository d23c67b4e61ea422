"""The queue's loop: it takes pending jobs to an executor and sees to it that none hangs as ``running``.

It starts the oldest job whenever a slot is free, and turns every way in which an attempt can end without a
last word (a crash, a kill, silence, a server restart) into a state that is true. The store fences each
attempt, so a conclusion drawn here about an attempt that has meanwhile ended by itself changes nothing.
"""

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass

from epochd.core.errors import EpochdError, StaleAttempt
from epochd.core.events import FINAL_TYPES, Event, Type
from epochd.core.jobs import Command, Job
from epochd.core.settings import Settings
from epochd.core.tickets import Ticket
from epochd.dispatch import gpus
from epochd.dispatch.executor import Executor, Exit
from epochd.store import datasets, jobs
from epochd.store.db import Database

logger = logging.getLogger(__name__)

WATCH_SECONDS = 1.0
"""Time between two looks at leases and commands."""
GRACE_SECONDS = 3.0
"""After a start, workers that outlived the last server get so long to report (they retry every 2 s)."""
STEP_SECONDS = 0.5
"""How long a stop waits for the loop's current step."""
LAUNCH_SECONDS = 0.02
"""How long the loop itself waits for a launch before it lets it wait alone for a worker."""
FIRST_BACKOFF_SECONDS, LAST_BACKOFF_SECONDS = 0.5, 30.0
WAKING_TYPES = FINAL_TYPES | {Type.STATE}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to say of an attempt that did not end in good order."""

    code: str
    message: str


@dataclass(eq=False)
class Attempt:
    """An attempt that was given to the executor and has not come back."""

    ticket: Ticket
    launch: asyncio.Task[None] | None = None
    cancel_seen: float | None = None
    verdict: Verdict | None = None
    is_withdrawn: bool = False

    @property
    def is_launching(self) -> bool:
        return self.launch is not None and not self.launch.done()


class Dispatcher:
    """Runs the queue of one server. ``error`` is None, or why the loop is down at the moment."""

    def __init__(self, db: Database, executor: Executor, settings: Settings, server_url: str) -> None:
        self.error: str | None = None
        self.gpus = gpus.Pool([])
        self._db = db
        self._executor = executor
        self._settings = settings
        self._server_url = server_url
        self._attempts: dict[str, Attempt] = {}
        self._strangers: set[str] = set()
        self._started_at = 0.0
        self._watched_at = 0.0
        self._backoff = FIRST_BACKOFF_SECONDS
        self._wake = asyncio.Event()
        self._stopping = False
        self._loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the executor and the loop. Jobs that a former server left running keep their slots."""
        self._started_at = time.monotonic()
        self.gpus = gpus.Pool(await asyncio.to_thread(gpus.find, self._settings.gpus))
        for job in await jobs.running(self._db):
            self._strangers.add(job.id)
            self.gpus.hold(job.id, job.summary.get("gpus", []))
        await self._executor.start(self._on_exit)
        self._db.listen(self._on_events)
        self._loop = asyncio.create_task(self._supervise(), name="dispatcher")

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
            await self._release(attempt.ticket)

    async def _end_loop(self, loop: asyncio.Task[None]) -> None:
        """Let the loop finish its step, so that no job is claimed and then forgotten."""
        self._wake.set()
        await asyncio.wait({loop}, timeout=STEP_SECONDS)
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)

    async def _release_all(self, wait: float) -> None:
        """Ask every worker to checkpoint and end; wait until none of ours is left, or for ``wait`` seconds."""
        await jobs.ask_release(self._db)
        for attempt in list(self._attempts.values()):
            if attempt.is_launching:
                await self._withdraw(attempt)
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
                await self._watch()
                self._watched_at = time.monotonic()
            await self._fill_slots()
            self.error, self._backoff = None, FIRST_BACKOFF_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._watched_at + every - time.monotonic()):
                    await self._wake.wait()

    async def _fill_slots(self) -> None:
        while not self._stopping and self._executor.free_slots > len(self._strangers):
            claimed = await jobs.claim(
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
            registered=await datasets.paths(self._db, home, named),
            checkpoint=(job.checkpoint or {}).get("path"),
            threads=max(1, (os.cpu_count() or 1) // settings.slots),
            gpus=self.gpus.take(job.id, job.spec),
            resident_mb=settings.resident_mb,
            cache_mb=settings.cache_mb,
            lease_seconds=settings.lease_seconds,
            checkpoint_seconds=settings.checkpoint_seconds,
        )

    async def _launch(self, ticket: Ticket) -> None:
        """Hand a ticket over. When no worker is warm yet, the launch goes on waiting by itself."""
        attempt = self._attempts[ticket.task_id] = Attempt(ticket)
        attempt.launch = asyncio.create_task(self._hand_over(attempt))
        await asyncio.wait({attempt.launch}, timeout=LAUNCH_SECONDS)

    async def _hand_over(self, attempt: Attempt) -> None:
        try:
            await self._executor.launch(attempt.ticket)
        except Exception as error:
            if not isinstance(error, EpochdError):
                logger.exception("task %s could not be launched", attempt.ticket.task_id)
            verdict = Verdict("worker_unavailable", f"the training could not be started: {error}")
            await self._conclude(attempt, verdict)

    async def _on_exit(self, end: Exit) -> None:
        attempt = self._attempts.get(end.task_id)
        if attempt is None or attempt.ticket.attempt != end.attempt:
            return  # it has said its last word, and its task has even started again
        await self._conclude(attempt, attempt.verdict or _verdict_of(end.returncode), end.log_tail)

    async def _conclude(self, attempt: Attempt, verdict: Verdict, log_tail: Sequence[str] = ()) -> None:
        """Close the books on an attempt: a failure, unless it ended in good order or through no fault of its own."""
        try:
            if self._stopping or attempt.is_withdrawn:
                await self._release(attempt.ticket)
            else:
                await self._fail(attempt.ticket, verdict, log_tail)
        finally:
            if self._attempts.get(attempt.ticket.task_id) is attempt:
                del self._attempts[attempt.ticket.task_id]
                self.gpus.give_back(attempt.ticket.task_id)
            self._wake.set()

    async def _fail(self, ticket: Ticket, verdict: Verdict, log_tail: Sequence[str]) -> None:
        failed = await jobs.fail_attempt(
            self._db,
            ticket.task_id,
            ticket.attempt,
            code=verdict.code,
            message=verdict.message,
            log_tail=log_tail,
        )
        if failed:
            logger.warning("task %s, attempt %d: %s", ticket.task_id, ticket.attempt, verdict.message)

    async def _release(self, ticket: Ticket) -> None:
        await jobs.release_attempt(
            self._db, ticket.task_id, ticket.attempt, reason="its worker was ended by the server"
        )

    async def _watch(self) -> None:
        """Look after every running job: renew, take back, or end it."""
        running = await jobs.running(self._db)
        gone = self._strangers - {job.id for job in running}
        for task_id in gone - self._attempts.keys():
            self.gpus.give_back(task_id)
        self._strangers -= gone | self._attempts.keys()
        for attempt in list(self._attempts.values()):
            if attempt.is_launching:
                await self._hold(attempt)
        for job in running:
            await self._insist_on_cancel(job)
        for job in await jobs.expired(self._db):
            await self._take_back(job)

    async def _hold(self, attempt: Attempt) -> None:
        """Keep the lease of an attempt whose worker is still warming up; heed commands in its place."""
        ticket = attempt.ticket
        with contextlib.suppress(StaleAttempt):  # the worker came, and was that quick
            command = await jobs.report(
                self._db, ticket.task_id, ticket.attempt, ticket.token, [], lease_seconds=ticket.lease_seconds
            )
            if command is not Command.CONTINUE:
                await self._withdraw(attempt)

    async def _withdraw(self, attempt: Attempt) -> None:
        """Take a ticket back that no worker has got yet."""
        attempt.is_withdrawn = True
        await self._executor.kill(attempt.ticket.task_id)

    async def _insist_on_cancel(self, job: Job) -> None:
        """Kill a worker that has known of a cancel for a whole lease and still trains."""
        attempt = self._attempts.get(job.id)
        if attempt is None or job.command is not Command.CANCEL:
            return
        attempt.cancel_seen = attempt.cancel_seen or time.monotonic()
        if time.monotonic() - attempt.cancel_seen > self._settings.lease_seconds:
            logger.warning("task %s did not heed its cancellation; its worker is killed", job.id)
            await self._executor.kill(job.id)

    async def _take_back(self, job: Job) -> None:
        """End an attempt whose lease ran out: release it if its worker is gone with a former server."""
        attempt = self._attempts.get(job.id)
        if attempt is not None and attempt.ticket.attempt == job.attempt:
            message = (
                f"the worker was silent for more than {self._settings.lease_seconds:g} s and was ended; "
                "if the machine is merely slow, raise EPOCHD_LEASE_SECONDS and start the training again"
            )
            attempt.verdict = Verdict("worker_silent", message)
            await self._executor.kill(job.id)
        elif time.monotonic() - self._started_at >= min(GRACE_SECONDS, self._settings.lease_seconds):
            await jobs.release_attempt(self._db, job.id, job.attempt, reason="its worker was lost in a server restart")


def _verdict_of(returncode: int) -> Verdict:
    """What a worker's end means for a job that it left without a last word."""
    if returncode == 0:
        return Verdict("worker_vanished", "the worker ended without saying how the training went; see its log")
    if returncode > 0:
        return Verdict("worker_died", f"the worker exited with code {returncode}; see the end of its log")
    known = -returncode in set(signal.Signals)
    name = signal.Signals(-returncode).name if known else str(-returncode)
    hint = "the system may have run out of memory" if name == "SIGKILL" else "see the end of its log"
    return Verdict("worker_died", f"the worker was killed by signal {name}; {hint}")
