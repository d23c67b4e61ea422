"""The attempts that run: those that this server has started, and those that it has inherited from a previous server."""

import asyncio
from dataclasses import dataclass

from epochd.core.job_values import WorkerIdentity
from epochd.core.jobs import AttemptKey, Job
from epochd.core.tickets import AttemptTicket
from epochd.dispatch.inherited_workers import InheritedWorkers
from epochd.dispatch.nodes import Node
from epochd.dispatch.outcomes import Outcome
from epochd.dispatch.workers.executor import Executor


@dataclass(eq=False)
class Attempt:
    """An attempt on a node, until its exit. ``ticket`` is None if an earlier server has launched it; ``outcome`` is
    set once the server ends the attempt, ``lost`` once nobody knows how it ended."""

    key: AttemptKey
    node: Node
    ticket: AttemptTicket | None = None
    launch: asyncio.Task[None] | None = None
    worker: WorkerIdentity | None = None
    outcome: Outcome | None = None
    is_withdrawn: bool = False
    lost: str | None = None

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
        await attempt.node.executor.kill(attempt.key)

    async def kill(self, attempt: Attempt, outcome: Outcome) -> None:
        """Kill the worker of an own attempt. If this is called again, the first outcome remains."""
        attempt.outcome = attempt.outcome or outcome
        await attempt.node.executor.kill(attempt.key)
