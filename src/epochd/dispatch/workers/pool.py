"""The executor for this machine: a pool of warm worker processes.

Importing a framework takes seconds, and so does compiling a program, so a process that has trained takes the next
ticket of its framework, if it has the threads and devices that the ticket needs. There are as many processes as slots,
one more for each framework that was asked for lately as long as the idle ones together take little memory, and the
least recently used ones end first. A supervisor starts the processes; each is read by a task of its own until it exits.
After the start of the server, while nothing is asked for, it also starts those of frameworks that were used before.
"""

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Coroutine, Sequence
from typing import Any

from epochd.core.errors import EpochdError
from epochd.core.job_values import WorkerIdentity
from epochd.core.jobs import AttemptKey
from epochd.core.settings import Settings
from epochd.core.tickets import NO_FRAMEWORK, AttemptTicket
from epochd.dispatch.host import memory
from epochd.dispatch.host.cgroups import Groups
from epochd.dispatch.workers.executor import Exit, OnExit
from epochd.dispatch.workers.process import Kind, WorkerProcess, tail_of
from epochd.engines import registry

logger = logging.getLogger(__name__)

COMMAND = (sys.executable, "-P", "-m", "epochd.worker")  # -P: no file in the working directory replaces a module
MAX_FAILURES = 3  # the tickets of a framework are rejected after this many failures to start in a row
MAX_KILLS_PER_SLOT = 10  # the same for workers killed while they started, which may have reasons outside
FIRST_BACKOFF_SECONDS, LAST_BACKOFF_SECONDS = 0.5, 10.0
WARM_SECONDS = 300.0  # how long a worker may take to import its framework
CLOSE_SECONDS = 0.4
INSTALLATION_SECONDS = 5.0  # the interval of the search for a framework while none is installed
MEMORY_SECONDS = 1.0  # the interval at which the memory of trainings is measured where no control group limits it
GROWTH_BYTES = 512 * 2**20  # a process whose memory has grown by more is replaced
WARM_SHARE = 16  # the default of warm_mb is the machine's memory divided by this


class LocalExecutor:
    """Implements ``Executor`` with processes of this machine, which import ``framework`` at first, and then one process
    for each of ``others`` that memory suffices for. If there are GPUs, a process runs one ticket only, since its first
    step fixes which of them it can use."""

    def __init__(
        self,
        settings: Settings,
        framework: str = "pytorch",
        *,
        others: Sequence[str] = (),
        command: Sequence[str] = COMMAND,
        groups: Groups | None = None,
    ) -> None:
        self._settings = settings
        self._groups = groups or Groups(settings.data_dir, settings.memory_mb)
        self._framework = framework
        self._others = [name for name in others if name != framework]
        self._command = tuple(command)
        self._has_gpus = False
        self._workers: set[WorkerProcess] = set()
        self._idle: list[WorkerProcess] = []
        self._starting: list[Kind] = []
        self._waiting: dict[AttemptKey, tuple[AttemptTicket, asyncio.Future[WorkerIdentity | None]]] = {}
        self._working: set[WorkerProcess] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._supervisor: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._closing = asyncio.Event()
        self._failures = self._kills = 0
        self._error: str | None = None
        self._on_exit: OnExit

    async def start(self, on_exit: OnExit, *, has_gpus: bool = False) -> None:
        self._on_exit, self._has_gpus = on_exit, has_gpus
        self._groups.open()
        if self._settings.slots and (missing := registry.none_installed()):
            logger.warning("%s", missing)
        self._changed.set()
        self._supervisor = asyncio.create_task(self._supervise(), name="worker pool")
        if self._settings.memory_mb is not None:
            self._start_task(self._watch_memory())

    @property
    def slots(self) -> int:
        return self._settings.slots

    @property
    def free_slots(self) -> int:
        if self._closing.is_set() or not registry.installed():  # without a framework the queue waits for one
            return 0
        return self._settings.slots - len(self._waiting) - len(self._working)

    @property
    def installed(self) -> list[str]:
        return registry.installed() if self._settings.slots else []

    @property
    def frameworks(self) -> frozenset[str]:
        processes = [worker.kind for worker in self._workers if not worker.is_retired] + self._starting
        return frozenset(kind.framework for kind in processes) - {NO_FRAMEWORK}

    async def launch(self, ticket: AttemptTicket) -> WorkerIdentity | None:
        if self._closing.is_set():
            raise EpochdError("the executor is closed; the ticket was not launched")
        if ticket.framework != NO_FRAMEWORK:
            registry.require(ticket.framework)
            self._framework = ticket.framework
        sent: asyncio.Future[WorkerIdentity | None] = asyncio.get_running_loop().create_future()
        self._waiting[ticket.key] = ticket, sent
        self._assign_tickets()
        try:
            return await sent
        finally:
            self._waiting.pop(ticket.key, None)

    async def kill(self, key: AttemptKey) -> None:
        if key in self._waiting:
            self._reject(key, "the task was stopped before a worker was ready for it")
        for worker in self._working:
            if worker.ticket is not None and worker.ticket.key == key:
                worker.kill()

    async def close(self) -> None:
        self._closing.set()
        self._changed.set()
        for key in list(self._waiting):
            self._reject(key, "the server shut down before a worker was ready")
        for worker in self._workers:
            worker.kill()
        if self._supervisor is not None:
            _, late = await asyncio.wait([self._supervisor, *self._tasks], timeout=CLOSE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        self._groups.close()

    async def detach(self) -> None:
        self._closing.set()
        self._changed.set()
        for key in list(self._waiting):
            self._reject(key, "another server dispatches now")
        for worker in self._workers:
            if worker in self._working:
                worker.detach()
            else:
                worker.kill()
        if self._supervisor is not None:
            await asyncio.wait([self._supervisor], timeout=CLOSE_SECONDS)

    def pids(self) -> list[int]:
        return [worker.process.pid for worker in self._workers]

    def health(self) -> dict[str, Any]:
        return {
            "framework": self._framework,
            "slots": self._settings.slots,
            "running": len(self._working),
            "waiting": len(self._waiting),
            "warm": len(self._idle),
            "frameworks": sorted(self.frameworks),
            "memory": self._groups.mechanism,
            "error": self._error,
        }

    async def _supervise(self) -> None:
        """Start the processes that are missing, until the executor is closed; wait longer after each failure."""
        while not self._closing.is_set():
            await self._changed.wait()
            self._changed.clear()
            if self._failures or self._kills:
                await self._wait(min(FIRST_BACKOFF_SECONDS * 2 ** max(self._failures - 1, 0), LAST_BACKOFF_SECONDS))
            while not (self._closing.is_set() or registry.installed()):
                await self._wait(INSTALLATION_SECONDS)
            if not self._closing.is_set():
                try:
                    self._start_missing()
                except Exception as error:
                    logger.exception("the worker pool failed; it tries again")
                    self._record_failure(self._framework, f"{type(error).__name__}: {error}")
                    self._changed.set()

    def _start_missing(self) -> None:
        """Start a process for each ticket that waits for one, and as many as there are slots."""
        if self._framework not in registry.installed():
            self._framework = registry.preferred()
        missing = self._unserved()
        self._retire_surplus(len(missing))
        missing += [Kind(self._framework)] * (self._settings.slots - self._active - len(missing))
        if not missing and not self._has_gpus and self._is_quiet:
            missing = self._next_other()
        for kind in missing:
            self._starting.append(kind)
            self._start_task(self._run_worker(kind))

    def _start_task(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watch_memory(self) -> None:
        """Kill trainings that exceed their memory limit, unless a control group enforces it."""
        while not self._closing.is_set():
            await self._wait(MEMORY_SECONDS)
            measured = [(one, one.ticket) for one in self._working if one.memory_before is not None]
            if measured:
                pids = [worker.process.pid for worker, _ in measured]
                used = await asyncio.to_thread(memory.used_by_groups, pids)
                for worker, ticket in measured:
                    if worker.ticket is ticket:
                        worker.kill_above_limit(used[worker.process.pid])

    @property
    def _is_quiet(self) -> bool:
        """Whether no process starts or works, so that another one takes nobody's processors."""
        return len(self._idle) == self._active and not self._waiting

    def _next_other(self) -> list[Kind]:
        """A framework that was used before and is not imported yet, if one more process fits ``warm_mb``."""
        while self._others:
            name = self._others.pop(0)
            sizes = self._idle_sizes()
            if sum(sizes.values()) + max(sizes.values(), default=0) > self._warm_bytes:
                return []
            if name in registry.installed() and name not in self.frameworks:
                return [Kind(name)]
        return []

    def _retire_surplus(self, coming: int) -> None:
        """Retire the idle processes beyond the slots whose memory does not fit ``warm_mb``, unused ones first."""
        while self._idle and self._active + coming > self._settings.slots:
            sizes = self._idle_sizes()
            if sum(sizes.values()) <= self._warm_bytes:
                return
            self._idle.pop(0).retire()

    def _idle_sizes(self) -> dict[int, int]:
        """Idle process → its memory in bytes."""
        return memory.used_by_processes([worker.process.pid for worker in self._idle])

    @property
    def _active(self) -> int:
        """The number of processes that start, wait or work."""
        return sum(not worker.is_retired for worker in self._workers) + len(self._starting)

    @property
    def _warm_bytes(self) -> int:
        limit = self._settings.warm_mb
        return memory.total_bytes() // WARM_SHARE if limit is None else limit * 2**20

    async def _wait(self, seconds: float) -> None:
        """Wait, or until the executor is closed."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), seconds)

    async def _run_worker(self, kind: Kind) -> None:
        """Start a process, handle its messages, and clean up after its exit."""
        try:
            await self._run_process(kind)
        except Exception as error:
            logger.exception("a worker process could not be run")
            self._record_failure(kind.framework, f"{type(error).__name__}: {error}")
        finally:
            self._changed.set()

    async def _run_process(self, kind: Kind) -> None:
        worker = await self._spawn(kind)
        try:
            if self._closing.is_set() and not worker.is_detached:
                worker.kill()
            await self._read_messages(worker)
            is_unexpected, returncode = self._withdraw(worker), await worker.wait()
            if worker.ticket is not None:
                await self._report_exit(worker, 0 if worker.is_done else returncode)
            elif is_unexpected and not self._closing.is_set():
                why = "\n".join([f"its return code is {returncode}", *worker.output_tail()])
                self._record_failure(worker.framework, why, was_killed=returncode == -signal.SIGKILL)
        finally:
            self._withdraw(worker)
            self._workers.discard(worker)
            worker.close()
            await self._report_exit(worker, -signal.SIGKILL)
            await worker.remove_group()

    async def _spawn(self, kind: Kind) -> WorkerProcess:
        command = [*self._command, "--framework", kind.framework]
        if self._has_gpus or kind.framework == NO_FRAMEWORK:
            command.append("--one-ticket")
        elif kind.is_untouched:
            command.append("--untouched")
        try:
            worker = await WorkerProcess.spawn(command, kind.framework, self._settings.data_dir)
        finally:
            self._starting.remove(kind)
        worker.is_untouched = kind.is_untouched
        self._workers.add(worker)
        worker.group = self._groups.admit(worker.process.pid)
        return worker

    async def _read_messages(self, worker: WorkerProcess) -> None:
        """Handle messages until the worker closes its pipe; kill it if the first one takes ``WARM_SECONDS``."""
        timeout = asyncio.get_running_loop().call_later(WARM_SECONDS, worker.kill)
        try:
            while message := await worker.read_message():
                timeout.cancel()
                await self._handle_message(worker, message.split())
        finally:
            timeout.cancel()

    async def _handle_message(self, worker: WorkerProcess, words: list[str]) -> None:
        match words:
            case ["ready", *fixed] if len(fixed) <= 1:
                self._failures, self._kills, self._error = 0, 0, None
                worker.fixed = fixed[0] if fixed else ""
                if worker.jobs >= self._settings.jobs_per_worker or self._has_grown(worker):
                    return worker.retire()
                self._idle.append(worker)
                self._assign_tickets()
                self._retire_surplus(0)
            case ["done", task_id, attempt] if worker.is_running(task_id, attempt):
                worker.is_done = True
                if not self._has_gpus:  # otherwise slot and GPUs become free after the exit of the process
                    await self._report_exit(worker, 0)
            case ["return", task_id, attempt, needs] if worker.is_running(task_id, attempt):
                await self._report_exit(worker, 0, needs=needs)
            case _:
                logger.error("worker %d sent the unexpected message %r", worker.process.pid, words)

    def _has_grown(self, worker: WorkerProcess) -> bool:
        """Whether a process holds much more memory than when it was first ready."""
        pid = worker.process.pid
        size = memory.used_by_processes([pid])[pid]
        worker.first_bytes = worker.first_bytes or size
        return size - worker.first_bytes > GROWTH_BYTES

    def _withdraw(self, worker: WorkerProcess) -> bool:
        """Send no more tickets to a worker; True if its exit is unexpected, while idle or before it was ready."""
        if worker in self._idle:
            self._idle.remove(worker)
            return True
        return worker.jobs == 0 and not worker.is_retired

    def _record_failure(self, framework: str, why: str, *, was_killed: bool = False) -> None:
        """Count an unexpected exit; after too many in a row, reject the waiting tickets of the framework."""
        self._kills += was_killed
        self._failures += not was_killed
        logger.error("a %s worker exited unexpectedly: %s", framework, why)
        if self._failures >= MAX_FAILURES or self._kills >= MAX_KILLS_PER_SLOT * self._settings.slots:
            self._error = f"no {framework} worker can be started: {why}"
            for key, (ticket, _) in list(self._waiting.items()):
                if ticket.framework == framework:
                    self._reject(key, self._error)

    def _assign_tickets(self) -> None:
        """Send waiting tickets to idle processes, in their order, the most recently used first."""
        for ticket, sent in list(self._waiting.values()):
            worker = next((one for one in reversed(self._idle) if one.fits(ticket)), None)
            if worker is None or sent.done() or len(self._working) >= self._settings.slots:
                continue
            self._idle.remove(worker)
            worker.send(ticket)
            del self._waiting[ticket.key]
            self._working.add(worker)
            sent.set_result(worker.identity())
        self._changed.set()

    def _unserved(self) -> list[Kind]:
        """What processes are missing for the waiting tickets, besides those that start."""
        coming = [one.kind for one in self._workers - {*self._idle} if one.ticket is None and not one.is_retired]
        coming += self._starting
        unserved: list[Kind] = []
        for ticket, _ in self._waiting.values():
            kind = Kind(ticket.framework, is_untouched=ticket.needs is not None)
            if kind in coming:
                coming.remove(kind)
            else:
                unserved.append(kind)
        return unserved

    def _reject(self, key: AttemptKey, why: str) -> None:
        _, sent = self._waiting.pop(key)
        if not sent.done():
            sent.set_exception(EpochdError(why))

    async def _report_exit(self, worker: WorkerProcess, returncode: int, *, needs: str | None = None) -> None:
        """Free the worker's slot and report the end of its ticket, or its return, unless that was done before."""
        ticket, worker.ticket = worker.ticket, None
        if ticket is None or worker.is_detached:
            return
        self._working.discard(worker)
        overrun = worker.remove_memory_cap()
        tail = tail_of(ticket.log_path) or worker.output_tail()
        try:
            await self._on_exit(Exit(ticket.task_id, ticket.attempt, returncode, tail, overrun, needs))
        except Exception:
            logger.exception("failed to handle the end of task %s", ticket.task_id)
