"""The attempts that run: those that this server has started, and those that it has inherited from a previous server."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from epochd.core.job_values import WorkerIdentity
from epochd.core.jobs import AttemptKey, Job
from epochd.core.tickets import AttemptTicket
from epochd.core.transfers import Meeting
from epochd.dispatch.inherited_workers import InheritedWorkers
from epochd.dispatch.nodes import Node
from epochd.dispatch.outcomes import Outcome
from epochd.dispatch.workers.executor import Executor


@dataclass(frozen=True, slots=True)
class Ending:
    """How the part of an attempt on one node has ended; ``lost`` is why nobody knows how. ``is_consequence``: it was
    killed, since another part has ended. ``is_orderly``: its worker has exited without an error."""

    outcome: Outcome
    log_tail: Sequence[str] = ()
    lost: str | None = None
    is_consequence: bool = False
    is_orderly: bool = False

    @property
    def rank(self) -> tuple[bool, bool, bool]:
        """The smaller, the better an ending tells why an attempt on several machines has ended."""
        return self.lost is None, self.is_consequence, self.outcome.code in FOLLOWING


FOLLOWING = frozenset({"rank_failed", "worker_vanished"})
"""The outcomes of workers that end because another one has ended."""


@dataclass(eq=False)
class Attempt:
    """An attempt, until its exit: on one node, or on several, the first of which has rank 0. It holds all until each
    has ended. ``ticket`` is None if an earlier server has launched it; ``outcome`` is set once the server ends the
    attempt, ``lost`` once nobody knows how it ended. At its ``meeting`` the nodes find each other, once it is known.
    ``size`` is the number of nodes, of which a new server knows those that have told of it since ``known_at``
    (monotonic); ``is_led`` says whether the first is among them."""

    key: AttemptKey
    nodes: list[Node]
    ticket: AttemptTicket | None = None
    launch: asyncio.Task[None] | None = None
    worker: WorkerIdentity | None = None
    outcome: Outcome | None = None
    is_withdrawn: bool = False
    lost: str | None = None
    endings: dict[Node, Ending] = field(default_factory=dict)
    size: int = 1
    is_led: bool = True
    known_at: float = field(default_factory=time.monotonic)
    is_ending: bool = False
    is_stopped: bool = False
    stop: asyncio.Task[None] | None = None
    meeting: Meeting | None = None
    is_met: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def node(self) -> Node:
        return self.nodes[0]

    @property
    def ending(self) -> Ending:
        """The one that tells best why the attempt has ended."""
        return min(self.endings.values(), key=lambda one: one.rank)

    @property
    def has_ended(self) -> bool:
        """Whether it has on all its nodes, also those that have not told of it."""
        return len(self.endings) >= self.size and all(node in self.endings for node in self.nodes)

    @property
    def is_launching(self) -> bool:
        """Whether it waits for a worker to become ready."""
        return self.launch is not None and not self.launch.done()


class RunningAttempts:
    """All running attempts. ``own`` are those of this server, which gets them back from its executors."""

    def __init__(self, executor: Executor, inherited: InheritedWorkers) -> None:
        self.own: dict[AttemptKey, Attempt] = {}
        self.inherited = inherited
        self._executor = executor

    def pids(self) -> set[int]:
        """The pids of all known workers of this machine."""
        return {*self._executor.pids()} | self.inherited.pids()

    async def end(self, job: Job, outcome: Outcome, *, is_expired: bool = False) -> None:
        """Kill the worker of a running job, for example because its lease ``is_expired``."""
        if job.key in self.own:
            await self.kill(self.own[job.key], outcome)
        elif is_expired:
            await self.inherited.end_expired(job, outcome)
        else:
            await self.inherited.end(job, outcome)

    async def withdraw(self, attempt: Attempt) -> None:
        """Cancel the launch of an own attempt, whose ticket no worker has received."""
        attempt.is_withdrawn = True
        await self.stop(attempt)

    async def kill(self, attempt: Attempt, outcome: Outcome) -> None:
        """Kill the worker of an own attempt. If this is called again, the first outcome remains."""
        attempt.outcome = attempt.outcome or outcome
        await self.stop(attempt)

    async def stop(self, attempt: Attempt) -> None:
        """Kill the workers of an own attempt where it has not ended, also on nodes that tell of it later."""
        attempt.is_stopped = True
        for node in list(attempt.nodes):
            if node not in attempt.endings:
                await node.executor.kill(attempt.key)
