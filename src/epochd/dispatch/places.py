"""The places where attempts run: the machine of the server, and each agent that has joined."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

from epochd.core.agents import AgentState
from epochd.core.jobs import Job, JobKind
from epochd.dispatch.host import gpus
from epochd.dispatch.host.gpus import GpuPool
from epochd.dispatch.inherited_workers import InheritedWorkers
from epochd.dispatch.workers.executor import Executor, OnExit
from epochd.dispatch.workers.remote import RemoteExecutor
from epochd.engines import registry

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class Place:
    """An executor with its GPUs. ``agent`` is the name of an agent, None for the machine of the server, whose
    ``inherited`` workers occupy some of its ``slots``."""

    executor: Executor
    gpus: GpuPool = field(default_factory=lambda: GpuPool([]))
    agent: str | None = None
    inherited: InheritedWorkers | None = None
    slots: int = 0

    @property
    def free_slots(self) -> int:
        return self.executor.free_slots - len(self.inherited or ())


class Places:
    """All places; ``local`` is the machine of the server."""

    def __init__(self, local: Place, lease_seconds: float) -> None:
        self.local = local
        self.agents: dict[str, RemoteExecutor] = {}
        self._lease_seconds = lease_seconds
        self._remote: dict[str, Place] = {}

    def __iter__(self) -> Iterator[Place]:
        yield self.local
        yield from self._remote.values()

    def of(self, agent: str | None) -> Place:
        """The place with this agent, or the machine of the server. An agent that has left is a place without slots."""
        return self.local if agent is None else self._remote.get(agent) or Place(RemoteExecutor(agent, 0.0))

    async def joined(self, name: str, state: AgentState, on_exit: OnExit) -> Place:
        """The place of an agent that polls, which is new at its first poll. Raises AgentNameTaken."""
        if (place := self._remote.get(name)) is None:
            agent = RemoteExecutor(name, self._lease_seconds)
            await agent.start(on_exit)
            place = self._remote.setdefault(name, Place(agent, agent=name))
            self.agents.setdefault(name, agent)
            logger.info("agent %s joined from %s: %d slots, GPUs %s", name, state.hostname, state.slots, state.gpus)
        self.agents[name].check_session(state)
        place.gpus.owned = state.gpus
        return place

    def check(self) -> None:
        """Give up agents that have not polled for too long, and forget those that have left."""
        for name, agent in [*self.agents.items()]:
            agent.check()
            if agent.state is not None and agent.state.is_leaving and not agent.is_connected and not agent.attempts:
                del self.agents[name], self._remote[name]
                logger.info("agent %s has left", name)

    @property
    def most_gpus(self) -> int:
        """The largest number of GPUs that a training can have."""
        return max(len(place.gpus.owned) for place in self)

    @property
    def installed(self) -> set[str]:
        """The engines that some place can train with."""
        return {engine for place in self for engine in place.executor.installed}

    @property
    def engines(self) -> list[str]:
        """The engines that a training may ask for: those of any place, or all where only agents train and none has
        joined yet."""
        found = self.installed
        is_open = not found and not self.local.slots
        return [engine for engine in registry.MODULES if is_open or engine in found]

    @property
    def warm(self) -> set[str]:
        """Those that a process of some place has imported."""
        return {engine for place in self for engine in place.executor.frameworks}

    @property
    def slots(self) -> int:
        """The number of trainings that can run at the same time on all machines that are connected."""
        return self.local.slots + sum(agent.slots for agent in self.agents.values())

    @property
    def free_slots(self) -> int:
        """How many more trainings can start now."""
        return self.local.executor.free_slots + sum(agent.free_slots for agent in self.agents.values())

    def for_job(self, job: Job) -> Place | None:
        """The free place for a job, with its framework in memory if there is one; None if it fits none now."""
        fitting = [place for place in self if place.free_slots > 0 and self._fits(place, job)]

        def preference(place: Place) -> tuple[bool, int]:
            is_warm = job.kind is JobKind.TRAINING and job.training.framework in place.executor.frameworks
            return is_warm, place.free_slots

        return max(fitting, key=preference, default=None)

    def _fits(self, place: Place, job: Job) -> bool:
        """Whether a place can run a job. Where none can, because no place has the framework or enough GPUs, the job
        may go anywhere: its worker says what is missing."""
        missing = self.installed - {*place.executor.installed}
        if job.kind is JobKind.TRAINING and job.training.framework in missing:
            return False
        wanted, most = gpus.needed(job.spec, self.most_gpus), self.most_gpus
        return wanted <= len(place.gpus.free) or wanted > most
