"""The nodes that run attempts: the machine of the server, and each agent that has joined."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

from epochd.core.agents import AgentState
from epochd.dispatch.host.gpus import GpuPool
from epochd.dispatch.inherited_workers import InheritedWorkers
from epochd.dispatch.placement import Place
from epochd.dispatch.workers.executor import Executor, OnExit
from epochd.dispatch.workers.remote import RemoteExecutor
from epochd.engines import registry

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class Node:
    """An executor with its GPUs. ``agent`` is the name of an agent, None for the machine of the server, whose
    ``inherited`` workers occupy some of its ``slots``."""

    executor: Executor
    gpus: GpuPool = field(default_factory=lambda: GpuPool([]))
    agent: str | None = None
    inherited: InheritedWorkers | None = None
    slots: int = 0

    @property
    def free_slots(self) -> int:
        return max(0, self.executor.free_slots - len(self.inherited or ()))

    @property
    def offer(self) -> Place:
        """What it has for jobs now."""
        executor, pool = self.executor, self.gpus
        engines, warm = frozenset(executor.installed), executor.frameworks
        return Place(self.agent, self.free_slots, self.total, len(pool.free), len(pool.owned), engines, warm)

    @property
    def total(self) -> int:
        """Its slots, free or not."""
        return self.executor.slots if isinstance(self.executor, RemoteExecutor) else self.slots


class Nodes:
    """All nodes; ``local`` is the machine of the server."""

    def __init__(self, local: Node, lease_seconds: float) -> None:
        self.local = local
        self.agents: dict[str, RemoteExecutor] = {}
        self._lease_seconds = lease_seconds
        self._remote: dict[str, Node] = {}

    def __iter__(self) -> Iterator[Node]:
        yield self.local
        yield from self._remote.values()

    def of(self, agent: str | None) -> Node:
        """The node with this agent, or the machine of the server. An agent that has left is a node without slots."""
        return self.local if agent is None else self._remote.get(agent) or Node(RemoteExecutor(agent, 0.0))

    async def joined(self, name: str, state: AgentState, on_exit: OnExit) -> Node:
        """The node of an agent that polls, which is new at its first poll. Raises AgentNameTaken."""
        if (node := self._remote.get(name)) is None:
            agent = RemoteExecutor(name, self._lease_seconds)
            await agent.start(on_exit)
            node = self._remote.setdefault(name, Node(agent, agent=name))
            self.agents.setdefault(name, agent)
            logger.info("agent %s joined from %s: %d slots, GPUs %s", name, state.hostname, state.slots, state.gpus)
        self.agents[name].check_session(state)
        node.gpus.owned = state.gpus
        return node

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
        return max(len(node.gpus.owned) for node in self)

    @property
    def installed(self) -> set[str]:
        """The engines that some node can train with."""
        return {engine for node in self for engine in node.executor.installed}

    @property
    def engines(self) -> list[str]:
        """The engines that a training may ask for: those of any node, or all where only agents train and none has
        joined yet."""
        found = self.installed
        is_open = not found and not self.local.slots
        return [engine for engine in registry.MODULES if is_open or engine in found]

    @property
    def warm(self) -> set[str]:
        """Those that a process of some node has imported."""
        return {engine for node in self for engine in node.executor.frameworks}

    @property
    def slots(self) -> int:
        """The number of trainings that can run at the same time on all machines that are connected."""
        return self.local.slots + sum(agent.slots for agent in self.agents.values())

    @property
    def free_slots(self) -> int:
        """How many more trainings can start now."""
        return self.local.executor.free_slots + sum(agent.free_slots for agent in self.agents.values())
