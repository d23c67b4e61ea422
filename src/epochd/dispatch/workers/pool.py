"""Trainings on this machine: worker processes that are warm before they are needed.

Importing a framework takes seconds, so each slot keeps one process that has done it already and waits. A
process has one framework for its whole life: the one that was asked for last is warmed up again, and an
idle process with another one gives way when a ticket needs it. A slot is a task that reads its process's
words from a pipe until the process ends, and starts the next.
"""

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Sequence
from typing import Any

from epochd.core.errors import EpochdError
from epochd.core.jobs import AttemptKey
from epochd.core.settings import Settings
from epochd.core.tickets import Ticket
from epochd.dispatch.host import gpus
from epochd.dispatch.host.cgroups import Groups
from epochd.dispatch.workers.executor import Exit, OnExit
from epochd.dispatch.workers.process import WorkerProcess, tail_of
from epochd.engines import registry

logger = logging.getLogger(__name__)

COMMAND = (sys.executable, "-P", "-m", "epochd.worker")
"""``-P``: a file of the working directory must not stand in for a module."""
PATIENCE = 3
"""So many workers in a row must fail to start before the jobs that wait for one fail."""
KILLS = 10
"""So many for each slot, where they were killed: that is no fault of theirs, but must not go on for ever either."""
FIRST_BACKOFF_SECONDS, LAST_BACKOFF_SECONDS = 0.5, 10.0
WARM_SECONDS = 300.0
"""How long a worker may take to import its framework."""
CLOSE_SECONDS = 0.4


class LocalExecutor:
    """Fulfils ``Executor`` with processes of this machine; ``framework`` is what they warm up at first.

    Some processes take one ticket only: where there are GPUs, since which of them it sees is fixed by a
    process's first step, and with frameworks that fix their threads and devices in the same way.
    """

    def __init__(
        self,
        settings: Settings,
        framework: str = "pytorch",
        *,
        command: Sequence[str] = COMMAND,
        groups: Groups | None = None,
    ) -> None:
        self._settings = settings
        self._groups = groups or Groups(settings.data_dir, settings.memory_mb)
        self._framework = framework
        self._command = tuple(command)
        self._has_gpus = False
        self._workers: set[WorkerProcess] = set()
        self._idle: list[WorkerProcess] = []
        self._starting: list[str] = []
        self._waiting: dict[AttemptKey, tuple[Ticket, asyncio.Future[dict[str, Any] | None]]] = {}
        self._working: set[WorkerProcess] = set()
        self._slots: list[asyncio.Task[None]] = []
        self._closing = asyncio.Event()
        self._failures = self._kills = 0
        self._error: str | None = None
        self._on_exit: OnExit

    async def start(self, on_exit: OnExit) -> None:
        """Begin to warm up one worker per slot; return without waiting for them."""
        self._on_exit = on_exit
        self._groups.open()
        self._has_gpus = bool(await asyncio.to_thread(gpus.find, self._settings.gpus))
        self._slots = [asyncio.create_task(self._keep_slot()) for _ in range(self._settings.slots)]

    @property
    def free_slots(self) -> int:
        if self._closing.is_set():
            return 0
        return self._settings.slots - len(self._waiting) - len(self._working)

    async def launch(self, ticket: Ticket) -> dict[str, Any] | None:
        """Hand a ticket to a warm worker, waiting for one if need be; say which process it is.

        Raises EpochdError when none can be had: workers fail to start, or ``kill`` or ``close`` came first.
        ``on_exit`` is not called for a ticket that was not handed over.
        """
        if self._closing.is_set():
            raise EpochdError("the executor is closed; the ticket was not launched")
        handed: asyncio.Future[dict[str, Any] | None] = asyncio.get_running_loop().create_future()
        self._framework = ticket.spec.framework
        self._waiting[ticket.key] = ticket, handed
        self._match()
        try:
            return await handed
        finally:
            self._waiting.pop(ticket.key, None)

    async def kill(self, key: AttemptKey) -> None:
        """End the worker of this attempt at once; one that still waits for a worker stops waiting."""
        if key in self._waiting:
            self._turn_away(key, "the task was stopped before a worker was ready for it")
        for worker in self._working:
            if worker.ticket is not None and worker.ticket.key == key:
                worker.kill()

    async def close(self) -> None:
        """End every worker with all its children; return when no process is left."""
        self._closing.set()
        for key in list(self._waiting):
            self._turn_away(key, "the server shut down before a worker was ready")
        for worker in self._workers:
            worker.kill()
        if self._slots:
            _, late = await asyncio.wait(self._slots, timeout=CLOSE_SECONDS)
            for slot in late:
                slot.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        self._groups.close()

    def pids(self) -> list[int]:
        """The processes that this executor has started and waits for."""
        return [worker.process.pid for worker in self._workers]

    def health(self) -> dict[str, Any]:
        """Counts of slots and workers; ``error`` says why no worker can be started, None when all is well."""
        return {
            "framework": self._framework,
            "slots": self._settings.slots,
            "running": len(self._working),
            "waiting": len(self._waiting),
            "warm": len(self._idle),
            "memory": self._groups.mechanism,
            "error": self._error,
        }

    async def _keep_slot(self) -> None:
        """One process after another, until the executor is closed."""
        while not self._closing.is_set():
            await self._back_off()
            if self._closing.is_set():
                return
            try:
                await self._tend_one()
            except Exception as error:
                logger.exception("a worker slot stumbled")
                self._note_failure(self._framework, f"{type(error).__name__}: {error}")

    async def _back_off(self) -> None:
        """Wait the longer, the more workers in a row have failed; a little after one that was killed, not at all after
        a good one."""
        if self._failures or self._kills:
            delay = min(FIRST_BACKOFF_SECONDS * 2 ** max(self._failures - 1, 0), LAST_BACKOFF_SECONDS)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), delay)

    async def _tend_one(self) -> None:
        """Start a process and follow it to its end."""
        worker = await self._spawn(self._next_framework())
        try:
            if self._closing.is_set():
                worker.kill()
            await self._follow(worker)
            unasked = self._withdraw(worker)
            await self._bury(worker, await worker.ended(), unasked)
        finally:
            self._withdraw(worker)
            self._workers.discard(worker)
            worker.release()
            await self._tell_exit(worker, -signal.SIGKILL)
            await worker.disband()

    async def _spawn(self, framework: str) -> WorkerProcess:
        command = [*self._command, "--framework", framework]
        if self._has_gpus or framework in registry.FIXED_BY_FIRST_STEP:
            command.append("--one-ticket")
        self._starting.append(framework)
        try:
            worker = await WorkerProcess.spawn(command, framework, self._settings.data_dir)
        finally:
            self._starting.remove(framework)
        self._workers.add(worker)
        worker.group = self._groups.admit(worker.process.pid)
        return worker

    async def _follow(self, worker: WorkerProcess) -> None:
        """Act on the worker's words until it has no more; it may not take forever to say the first."""
        overdue = asyncio.get_running_loop().call_later(WARM_SECONDS, worker.kill)
        try:
            while word := await worker.hear():
                overdue.cancel()
                await self._heed(worker, word.split())
        finally:
            overdue.cancel()

    async def _heed(self, worker: WorkerProcess, words: list[str]) -> None:
        match words:
            case ["ready"] if worker.jobs < self._settings.jobs_per_worker:
                self._failures, self._kills, self._error = 0, 0, None
                self._idle.append(worker)
                self._match()
            case ["ready"]:
                worker.retire()
            case ["done", task_id, attempt] if worker.holds(task_id, attempt):
                worker.is_done = True
                if not self._has_gpus:  # else the slot, and the GPUs with it, are free once the process is gone
                    await self._tell_exit(worker, 0)
            case _:
                logger.error("worker %d said %r, which means nothing now", worker.process.pid, words)

    def _withdraw(self, worker: WorkerProcess) -> bool:
        """Give the worker no more tickets; True if its end is a surprise: it was waiting, or never got that far."""
        if worker in self._idle:
            self._idle.remove(worker)
            return True
        return worker.jobs == 0 and not worker.is_retired

    async def _bury(self, worker: WorkerProcess, returncode: int, unasked: bool) -> None:
        """Draw the conclusion from a worker's death: a job's failure, a worker's failure, or none."""
        if worker.ticket is not None:
            await self._tell_exit(worker, 0 if worker.is_done else returncode)
        elif unasked and not self._closing.is_set():
            why = "\n".join([f"its return code is {returncode}", *worker.output_tail()])
            self._note_failure(worker.framework, why, was_killed=returncode == -signal.SIGKILL)

    def _note_failure(self, framework: str, why: str, *, was_killed: bool = False) -> None:
        """Count a worker that ended unasked; after some in a row, stop keeping its framework's jobs waiting."""
        self._kills += was_killed
        self._failures += not was_killed
        logger.error("a %s worker ended without being asked to: %s", framework, why)
        if self._failures >= PATIENCE or self._kills >= KILLS * self._settings.slots:
            self._error = f"no {framework} worker can be started: {why}"
            for key, (ticket, _) in list(self._waiting.items()):
                if ticket.spec.framework == framework:
                    self._turn_away(key, self._error)

    def _match(self) -> None:
        """Give idle workers to waiting tickets, first come first served; make room for frameworks that lack one."""
        for ticket, handed in list(self._waiting.values()):
            worker = next((one for one in reversed(self._idle) if one.framework == ticket.spec.framework), None)
            if worker is not None and not handed.done():
                self._idle.remove(worker)
                worker.hand(ticket)
                del self._waiting[ticket.key]
                self._working.add(worker)
                handed.set_result(worker.identity())
        kept = sum(not worker.is_retired for worker in self._workers) + len(self._starting)
        for _ in self._uncovered()[self._settings.slots - kept :]:
            if self._idle:
                self._idle.pop(0).retire()

    def _uncovered(self) -> list[str]:
        """The frameworks of waiting tickets for which no worker is about to be ready, one entry per ticket."""
        idle = {*self._idle}
        coming = [
            worker.framework for worker in self._workers - idle if worker.ticket is None and not worker.is_retired
        ] + self._starting
        lacking: list[str] = []
        for ticket, _ in self._waiting.values():
            if ticket.spec.framework in coming:
                coming.remove(ticket.spec.framework)
            else:
                lacking.append(ticket.spec.framework)
        return lacking

    def _next_framework(self) -> str:
        """What a fresh worker warms up: what a ticket waits for, else what was asked for last."""
        return next(iter(self._uncovered()), self._framework)

    def _turn_away(self, key: AttemptKey, why: str) -> None:
        _, handed = self._waiting.pop(key)
        if not handed.done():
            handed.set_exception(EpochdError(why))

    async def _tell_exit(self, worker: WorkerProcess, returncode: int) -> None:
        """Free the worker's slot and report the end of its ticket, unless that has been done."""
        ticket, worker.ticket = worker.ticket, None
        if ticket is None:
            return
        self._working.discard(worker)
        overrun = worker.let_go()
        tail = tail_of(ticket.log_path) or worker.output_tail()
        try:
            await self._on_exit(Exit(ticket.task_id, ticket.attempt, returncode, tail, overrun))
        except Exception:
            logger.exception("the end of task %s could not be handled", ticket.task_id)
