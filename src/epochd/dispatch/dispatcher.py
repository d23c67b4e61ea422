"""The dispatcher: it starts pending jobs on an executor, and records the outcome of attempts that do not report one.

Where several servers share the database, one of them dispatches. Once it does no longer, its attempts go on: the next
leader inherits them.

An attempt may end by a crash, a kill, an expired lease or a restart of the server; its job is then requeued or fails.
The store fences each attempt, so an outcome for one that has finished in the meantime changes nothing.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from epochd.core.agents import AgentOrders, AgentState
from epochd.core.errors import AgentLost, Busy, EpochdError, NotFound, NotLeader, OutOfSpace, StaleAttempt
from epochd.core.events import FINAL_TYPES, Event, Type
from epochd.core.jobs import AttemptKey, Job, JobKind, State
from epochd.core.settings import Settings
from epochd.core.text import shown
from epochd.core.tickets import AttemptTicket, Claim, Claimed, PredictionTicket, Ticket
from epochd.core.transfers import Meeting
from epochd.data.tables import addresses
from epochd.dispatch import outcomes, readmission
from epochd.dispatch.host import gpus, orphans, processes
from epochd.dispatch.inherited_workers import InheritedWorkers
from epochd.dispatch.nodes import Node, Nodes
from epochd.dispatch.outcomes import Outcome
from epochd.dispatch.placement import Place
from epochd.dispatch.queue import Held, JobQueue
from epochd.dispatch.reconcile import Reconciler
from epochd.dispatch.running_attempts import Attempt, Ending, RunningAttempts
from epochd.dispatch.watchdog import Watchdog
from epochd.dispatch.workers.executor import Executor, Exit
from epochd.dispatch.workers.remote import RemoteExecutor
from epochd.engines.speeds import Speeds
from epochd.store import attempts, datasets, jobs
from epochd.store.db import Database

if TYPE_CHECKING:
    from epochd.dispatch.workers.ray import RayCluster, RayExecutor

logger = logging.getLogger(__name__)

CHECK_SECONDS = 1.0  # the interval of the watchdog
STEP_SECONDS = 0.5  # how long a stop waits for the current step of the loop
FOLLOW_SECONDS, LEAD_SECONDS = 5.0, 10.0  # how long other machines, and that of rank 0, may take to end by themselves
LAUNCH_SECONDS = 0.02  # how long the loop waits for a launch, which then continues in its own task
FIRST_BACKOFF_SECONDS, LAST_BACKOFF_SECONDS = 0.5, 30.0
LAST_OUTAGE_BACKOFF_SECONDS = 4.0  # workers retry every 2 s, before their leases expire
OUTAGES = Busy, OutOfSpace
"""The errors of a database that cannot be used at present."""


class Dispatcher:
    """Runs the queue of one server. ``error`` is the reason for which the loop is down, or None."""

    def __init__(
        self,
        db: Database,
        executor: Executor,
        settings: Settings,
        server_url: str,
        speeds: Speeds | None = None,
        on_deposed: Callable[[], None] = lambda: None,
        offered_elsewhere: Callable[[], list[Place] | None] = lambda: None,
    ) -> None:
        """``server_url`` is where workers report to; ``on_deposed`` is called once another server dispatches;
        ``offered_elsewhere`` are the machines of the server that does, None if this one does."""
        self.error: str | None = None
        self._on_deposed = on_deposed
        self._is_deposed = False
        self._offered_elsewhere = offered_elsewhere
        self._db = db
        self._executor = executor
        self._settings = settings
        self._server_url = server_url
        self._speeds = speeds or Speeds()
        self._inherited = InheritedWorkers(db, settings)
        self.nodes = Nodes(Node(executor, inherited=self._inherited), settings.lease_seconds)
        self._running = RunningAttempts(executor, self._inherited)
        self._watchdog = Watchdog(db, settings, self._running, self._conclude)
        self._readmission = readmission.Readmission(db, settings)
        self._sweeper = orphans.Sweeper(settings.data_dir, self._running.pids, executor.pids)
        self.ray: RayCluster | None = None
        self.queue = JobQueue(db, settings, self._offers, self._held)
        self._checked_at = 0.0
        self._backoff = FIRST_BACKOFF_SECONDS
        self._wake = asyncio.Event()
        self._stopping = False
        self._loop: asyncio.Task[None] | None = None
        self._periodic: list[asyncio.Task[None]] = []

    @property
    def gpus(self) -> gpus.GpuPool:
        """The GPUs of the server's machine."""
        return self.nodes.local.gpus

    @property
    def reconciler(self) -> Reconciler:
        """Compares the database with the processes of the system."""
        return Reconciler(self._db, self._settings, self._running, self.gpus, self.ray)

    def _offers(self) -> list[Place]:
        """The machines that can run jobs."""
        found = self._offered_elsewhere()
        return [node.offer for node in self.nodes] if found is None else found

    def _held(self, key: AttemptKey) -> list[Held]:
        """Where an attempt runs, and the number of its GPUs there."""
        own = self._running.own.get(key)
        nodes = [self.nodes.local] if own is None else own.nodes
        return [(node.agent, len(node.gpus.allocated(key))) for node in nodes]

    async def start(self) -> None:
        """Start the executor and the loop. Inherited workers keep their slots."""
        self.gpus.owned = await asyncio.to_thread(gpus.detect, self._settings.gpus) if self._settings.slots else []
        await self._inherited.discover(self.gpus)
        await self._executor.start(partial(self._on_exit, self.nodes.local), has_gpus=bool(self.gpus.owned))
        self._db.listen(self._on_events)
        self._loop = asyncio.create_task(self._supervise(), name="dispatcher")
        self._periodic = [
            asyncio.create_task(_repeat(self._readmission.check, 0.0, readmission.CHECK_SECONDS)),
            asyncio.create_task(_repeat(self._sweeper.sweep, orphans.FIRST_SWEEP_SECONDS, orphans.SWEEP_SECONDS)),
        ]
        if self._settings.ray_address is not None:
            from epochd.dispatch.workers.ray import RayCluster  # noqa: PLC0415 - only such a server needs it

            self.ray = RayCluster(self._settings, self._server_url, self._join_ray, self._note_ray)
            self._periodic.append(asyncio.create_task(self.ray.run(), name="Ray cluster"))

    def wake(self) -> None:
        """Look for something to do: the state of a task has changed, maybe by another server."""
        self._wake.set()

    async def stop(self, release_wait: float) -> None:
        """Request checkpoints from the running jobs of this machine, wait up to ``release_wait`` seconds, then kill all
        its workers. The jobs are pending afterwards. Those of agents go on. A second call does nothing."""
        if not await self._end_loop():
            return
        for executor in self.nodes.remote:
            await executor.close()
        if self.ray is not None:
            await self.ray.close()
        try:
            await self._release_all(release_wait)
        finally:
            await self._executor.close()
        for attempt in list(self._running.own.values()):
            await self._is_recorded(attempt, outcomes.DIED, ())

    async def hand_over(self) -> None:
        """Stop dispatching. Running attempts go on, for the next leader; those without a worker return to the queue, if
        this server still leads. A second call does nothing."""
        if not await self._end_loop():
            return
        try:
            for attempt in list(self._running.own.values()):
                if attempt.is_launching:
                    await self._running.withdraw(attempt)
                    await asyncio.wait({attempt.launch} if attempt.launch else (), timeout=STEP_SECONDS)
        finally:
            self._is_deposed = True
            for node in self.nodes:
                await node.executor.detach()
            if self.ray is not None:
                await self.ray.close()

    async def _end_loop(self) -> bool:
        """End the loop and the periodic work; False if that was done before, or if there is none."""
        if self._stopping or self._loop is None:
            return False
        self._stopping = True
        self._db.unlisten(self._on_events)
        for task in self._periodic:
            task.cancel()
        self._wake.set()  # the loop finishes its step, so that no job is claimed without being launched
        await asyncio.wait({self._loop}, timeout=STEP_SECONDS)
        self._loop.cancel()
        await asyncio.gather(self._loop, *self._periodic, return_exceptions=True)
        return True

    async def _release_all(self, wait: float) -> None:
        """Request a checkpoint and the exit of each worker of this machine; wait for them up to ``wait`` seconds."""
        for attempt in list(self._running.own.values()):
            if attempt.node.agent is not None and not attempt.is_launching:
                del self._running.own[attempt.key]
        try:
            await attempts.request_release(self._db, agent=None)
        except OUTAGES as error:
            logger.warning("the release of running tasks could not be requested: %s", error)
            return
        for attempt in list(self._running.own.values()):
            if attempt.is_launching:
                await self._running.withdraw(attempt)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                while self._running.own:
                    self._wake.clear()
                    await self._wake.wait()

    def _on_events(self, events: list[Event]) -> None:
        self.queue.on_events(events)
        if any(event.type in FINAL_TYPES | {Type.STATE} for event in events):
            self._wake.set()

    async def _supervise(self) -> None:
        """Restart the loop after a failure, which is logged and shown in ``error``, with exponential backoff."""
        while not self._stopping:
            try:
                await self._run()
            except NotLeader as error:
                self._depose(error)
                return
            except Exception as error:
                is_outage = isinstance(error, OUTAGES)
                self._backoff = min(self._backoff, LAST_OUTAGE_BACKOFF_SECONDS) if is_outage else self._backoff
                reason = str(error) if is_outage else f"{type(error).__name__}: {error}"
                trace = None if is_outage else error
                logger.error("the dispatcher failed (%s); it restarts in %.1f s", reason, self._backoff, exc_info=trace)
                self.error = reason
                await asyncio.sleep(self._backoff)
                self._backoff = min(2 * self._backoff, LAST_BACKOFF_SECONDS)

    async def _run(self) -> None:
        """Start jobs in free slots, run the watchdog, and sleep until something changes."""
        every = min(CHECK_SECONDS, self._settings.lease_seconds / 4)
        while not self._stopping:
            self._wake.clear()
            if time.monotonic() - self._checked_at >= every:
                self.nodes.check()
                await self._watchdog.check()
                self._checked_at = time.monotonic()
            while not self._stopping:
                now = time.time()
                claim = await self.queue.claim_next(now)
                if claim is None:
                    break
                nodes = [self.nodes.of(name) for name in (claim.place, *claim.others)]
                ticket = await self._ticket(claim.job, claim.token, nodes, claimed_at=now)
                attempt = Attempt(claim.job.key, nodes, ticket)
                self._running.own[attempt.key] = attempt
                attempt.launch = asyncio.create_task(self._launch(attempt, ticket))
                await asyncio.wait({attempt.launch}, timeout=LAUNCH_SECONDS)
            self.error, self._backoff = None, FIRST_BACKOFF_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._checked_at + every - time.monotonic()):
                    await self._wake.wait()

    async def poll_agent(self, name: str, state: AgentState) -> AgentOrders:
        """Take the state of an agent, which joins with its first poll, and answer with its orders; see
        ``AgentExecutor.poll``. A server that shuts down has none. Raises AgentNameTaken."""
        if self._stopping:
            await asyncio.sleep(min(STEP_SECONDS, state.wait))
            return AgentOrders(now=time.time(), lease_seconds=self._settings.lease_seconds)
        node = await self.nodes.join_agent(name, state, self._on_exit)
        agent = self.nodes.agents[name]
        for key, ids in zip_longest(state.held, state.held_gpus[: len(state.held)]):
            own = self._running.own.get(key)
            if key not in agent.attempts and (own is None or node not in own.nodes):
                await self._adopt(agent, node, key, ids)
        if state.is_draining and not agent.is_draining:
            await self.drain_agent(name)
        self._wake.set()
        return await agent.poll(state)

    async def _join_ray(self, executor: "RayExecutor") -> None:
        """Use a node of the Ray cluster, with the attempts that an earlier server has started there."""
        node = await self.nodes.join(executor, self._on_exit)
        for job in await jobs.running(self._db):
            own = self._running.own.get(job.key)
            is_here = job.agent == executor.name or job.key in executor.held
            if is_here and (own is None or node not in own.nodes):
                held = executor.held.get(job.key)
                await self._adopt(executor, node, job.key, node.gpus.any_of(held.gpus if held else len(job.gpus)))
        logger.info("Ray node %s joined", executor.name)

    def _note_ray(self) -> None:
        """Take over what has changed in the Ray cluster."""
        for executor in self.nodes.ray:
            pool, state = self.nodes.of(executor.name).gpus, executor.state
            pool.owned, pool.used_by_others = [] if state is None else state.gpus, executor.gpus_of_others
        self._wake.set()

    def claim(self, code: str, claim: Claim) -> Claimed:
        """Give a worker that a cluster manager has started its ticket. Raises NotFound."""
        if self.ray is None:
            raise NotFound("this server has no cluster")
        return self.ray.claim(code, claim)

    async def _adopt(self, agent: RemoteExecutor, node: Node, key: AttemptKey, ids: list[int] | None) -> None:
        """Take over an attempt that an earlier server has given to an agent, if it still is the running one; with the
        ``ids`` of its GPUs there."""
        with contextlib.suppress(NotFound):
            job = await jobs.get(self._db, key[0])
            is_first = job.agent == agent.name
            is_part = is_first or (job.kind is JobKind.TRAINING and job.training.nodes > 1)
            if job.state is State.RUNNING and job.key == key and is_part:
                size = job.training.nodes if job.kind is JobKind.TRAINING else 1
                attempt = self._running.own.setdefault(key, Attempt(key, [], size=size, is_led=False))
                if node in attempt.nodes:  # another poll was faster
                    return
                attempt.nodes.insert(0 if is_first else len(attempt.nodes), node)
                node.gpus.reserve(key, job.gpus if ids is None else ids)
                attempt.is_led |= is_first
                agent.adopt(key)
                if attempt.is_stopped:
                    await agent.kill(key)

    async def drain_agent(self, name: str) -> list[str]:
        """Give an agent no more attempts, and request a checkpoint and the release of those that it has; it leaves
        after that. The ids of their tasks. Raises NotFound."""
        if (agent := next((one for one in self.nodes.remote if one.name == name), None)) is None:
            raise NotFound(f"there is no agent {shown(name, 80)}. GET /api/v1/system/agents lists all agents")
        agent.drain()
        own = self._running.own.values()
        parts = [one.key[0] for one in own if any(node.agent == name for node in one.nodes[1:])]
        return await attempts.request_release(self._db, agent=name, also=parts)

    async def meet(self, key: AttemptKey, meeting: Meeting) -> None:
        """Note where the worker of rank 0 waits for those of the other machines; it tells again and again. Raises
        StaleAttempt."""
        if (attempt := await self._own(key)) is not None:
            attempt.meeting = meeting
            attempt.is_met.set()

    async def meeting(self, key: AttemptKey, wait: float) -> Meeting | None:
        """Where the machines of an attempt find each other; None if that is not known after ``wait`` seconds. Raises
        StaleAttempt."""
        if (attempt := await self._own(key)) is None:
            await asyncio.sleep(min(wait, STEP_SECONDS))
            return None
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(attempt.is_met.wait(), wait)
        return attempt.meeting

    async def _own(self, key: AttemptKey) -> Attempt | None:
        """An attempt; None if it runs, but no machine has told this server of it yet. Raises StaleAttempt."""
        if (attempt := self._running.own.get(key)) is not None:
            return attempt
        with contextlib.suppress(NotFound):
            job = await jobs.get(self._db, key[0])
            if job.state is State.RUNNING and job.key == key:
                return None
        raise StaleAttempt(f"attempt {key[1]} of task {shown(key[0], 100)} is not running")

    async def _ticket(
        self, job: Job, token: str, nodes: Sequence[Node], *, claimed_at: float
    ) -> Ticket | PredictionTicket:
        """The ticket for the first of these nodes; those of the others differ in what ``_launch`` changes."""
        node = nodes[0]
        settings, is_here = self._settings, node.agent is None
        values: dict[str, Any] = {
            "task_id": job.id,
            "attempt": job.attempt,
            "token": token,
            "claimed_at": claimed_at,
            "server_url": self._server_url,
            "spec": job.spec,
            "data_dir": settings.data_dir.absolute() if is_here else Path(),
            "dataset_roots": [root.absolute() for root in settings.dataset_roots] if is_here else [],
            "checkpoint": job.checkpoint.path if job.checkpoint else None,
            "threads": max(1, (os.cpu_count() or 1) // max(1, settings.slots)),
            "gpus": self._allocated(job, nodes),
            "lease_seconds": settings.lease_seconds,
            "checkpoint_seconds": settings.checkpoint_seconds,
            "grace_seconds": settings.grace_seconds,
            "log_mb": settings.log_mb,
            "memory_mb": settings.memory_mb,
            "is_remote": not is_here,
            "is_stored": settings.storage is not None,
        }
        if job.kind is JobKind.PREDICTION:
            names = [job.prediction.dataset]
            values |= {"registered": await self._registered(names) if is_here else {}}
            values |= {"reading": await datasets.reading(self._db, names)}
            return PredictionTicket(**values, model_dir=values["data_dir"] / job.summary["model"]["folder"])
        names = [name for name in (job.training.dataset, job.training.validation_dataset) if name is not None]
        return Ticket(
            **values,
            registered=await self._registered(names) if is_here else {},
            reading=await datasets.reading(self._db, names),
            checked=job.checked_dataset,
            many_threads=self._speeds.table.threads_of(job.training.framework),
            reported_epochs=job.current_epoch,
            resident_mb=settings.resident_mb,
            cache_mb=settings.cache_mb,
            group_readable=settings.group_readable,
            report=settings.report,
            warnings=job.warnings,
        )

    @staticmethod
    def _allocated(job: Job, nodes: Sequence[Node]) -> list[int]:
        """Allocate the GPUs of an attempt on all its nodes; those on the first one."""
        pools = [node.gpus for node in nodes]
        found = [pool.allocate(job.key, job.spec, pools) for pool in pools]
        return found[0]

    async def _registered(self, names: Sequence[str]) -> dict[str, Path]:
        """The paths of registered datasets, and of those that are named by their addresses."""
        home = self._settings.data_dir.absolute()
        found = await datasets.paths(self._db, self._settings.dataset_roots[0].absolute(), names)
        return found | {name: addresses.cached(home, name) for name in names if addresses.is_address(name)}

    async def _launch(self, attempt: Attempt, ticket: AttemptTicket) -> None:
        """Send a ticket to a worker, on each of the nodes."""
        tickets = [
            ticket.model_copy(update={"node_rank": rank, "gpus": node.gpus.allocated(ticket.key)}) if rank else ticket
            for rank, node in enumerate(attempt.nodes)
        ]
        pairs = zip(attempt.nodes, tickets, strict=True)
        await asyncio.gather(*(self._launch_at(attempt, node, one) for node, one in pairs))

    async def _launch_at(self, attempt: Attempt, node: Node, ticket: AttemptTicket) -> None:
        """Send a ticket to a worker, and record its process for the next server; training continues if that fails."""
        try:
            worker = await node.executor.launch(ticket)
            if worker is not None and self._settings.shared:
                worker = replace(worker, machine=processes.this_machine())
            attempt.worker = worker or attempt.worker
        except AgentLost as error:
            return await self._end(attempt, node, Ending(outcomes.DIED, lost=error.message))
        except Exception as error:
            if not isinstance(error, EpochdError):
                logger.exception("failed to launch task %s", ticket.task_id)
            outcome, is_late = outcomes.of_no_worker(str(error), ticket), attempt.is_ending
            return await self._end(attempt, node, Ending(outcome, is_consequence=is_late))
        if worker is None:
            return
        try:
            await attempts.set_worker(self._db, *ticket.key, worker)
        except NotLeader as error:
            self._depose(error)
        except Exception:
            logger.exception("failed to record the worker process of task %s", ticket.task_id)

    async def _on_exit(self, node: Node, end: Exit) -> None:
        if (attempt := self._running.own.get(end.key)) is None:  # it was not waited for any longer
            node.gpus.release(end.key)
            return
        is_wanted = not (self._stopping or self._is_deposed or attempt.is_withdrawn or attempt.outcome)
        if end.needs is not None and attempt.ticket is not None and is_wanted:
            ticket = attempt.ticket.model_copy(update={"needs": end.needs})
            attempt.ticket, attempt.worker = ticket, None
            attempt.launch = asyncio.create_task(self._launch(attempt, ticket))
            return
        is_consequence = attempt.is_ending and end.overrun is None
        outcome = outcomes.of_exit(end.returncode, end.overrun)
        is_orderly = end.returncode == 0 and end.lost is None and end.overrun is None
        await self._end(attempt, node, Ending(outcome, end.log_tail, end.lost, is_consequence, is_orderly))

    async def _end(self, attempt: Attempt, node: Node, ending: Ending) -> None:
        """Note that an attempt has ended on a node. It ends when it has on all: the others have a moment to end by
        themselves, but none if one is lost or has not begun. That of rank 0 ends last in an orderly end: it may have to
        wait until its last report is stored, and its lease limits that."""
        attempt.endings[node] = ending
        is_first = attempt.is_led and node is attempt.node
        if attempt.has_ended or self._stopping:
            await self._conclude(attempt)
        elif not attempt.is_ending and (is_first or not ending.is_orderly):
            attempt.is_ending = True
            wait = FOLLOW_SECONDS if is_first else LEAD_SECONDS
            wait = 0.0 if ending.lost or attempt.is_launching else wait
            attempt.stop = asyncio.create_task(self._stop_rest(attempt, wait))

    async def _stop_rest(self, attempt: Attempt, wait: float) -> None:
        await asyncio.sleep(wait)
        await self._running.stop(attempt)

    async def _conclude(self, attempt: Attempt) -> None:
        """Remove an attempt and record its outcome, which changes nothing after its final report."""
        found = attempt.ending
        attempt.lost, outcome = attempt.lost or found.lost, attempt.outcome or found.outcome
        try:
            while not await self._is_recorded(attempt, outcome, found.log_tail):  # noqa: ASYNC110 (of a database)
                await asyncio.sleep(FIRST_BACKOFF_SECONDS)
        finally:
            self._running.own.pop(attempt.key, None)
            for node in attempt.nodes:
                node.gpus.release(attempt.key)
            self._wake.set()

    async def _is_recorded(self, attempt: Attempt, outcome: Outcome, log_tail: Sequence[str]) -> bool:
        """Record an outcome; False while the database cannot be written, unless the server is stopping. The next server
        then requeues the job."""
        if self._is_deposed:
            return True
        try:
            if self._stopping or attempt.is_withdrawn or attempt.lost:
                await self._release(attempt)
            else:
                await outcomes.record(self._db, attempt.key, outcome, log_tail)
        except OUTAGES as error:
            logger.warning("the end of task %s, attempt %d, could not be recorded: %s", *attempt.key, error)
            return self._stopping
        except NotLeader as error:
            self._depose(error)
        return True

    def _depose(self, error: NotLeader) -> None:
        """Leave everything to the new leader, and have this dispatcher stopped."""
        if not self._is_deposed:
            logger.warning("%s", error)
            self.error, self._is_deposed = error.message, True
            self._on_deposed()

    async def _release(self, attempt: Attempt) -> None:
        reason = "no worker had started it" if attempt.is_withdrawn else "the server killed its worker"
        await attempts.release_attempt(self._db, *attempt.key, reason=attempt.lost or reason)


async def _repeat(work: Callable[[], Awaitable[None]], first: float, every: float) -> None:
    """Run periodic work, after ``first`` and then ``every`` seconds; a failure is logged."""
    await asyncio.sleep(first)
    while True:
        try:
            await work()
        except Exception as error:
            name, reason = getattr(work, "__qualname__", work), str(error) or type(error).__name__
            trace = None if isinstance(error, OUTAGES) else error
            logger.error("%s failed (%s); it runs again in %.0f s", name, reason, every, exc_info=trace)
        await asyncio.sleep(every)
