"""The nodes that run attempts: the machine of the server, agents that have joined, and nodes of a Ray cluster."""

import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, cast

from epochd.core.agents import AgentState
from epochd.dispatch.host.gpus import GpuPool
from epochd.dispatch.inherited_workers import InheritedWorkers
from epochd.dispatch.placement import Place
from epochd.dispatch.workers.agent import AgentExecutor
from epochd.dispatch.workers.executor import Executor, Exit
from epochd.dispatch.workers.remote import RemoteExecutor
from epochd.engines import registry

if TYPE_CHECKING:
    from epochd.dispatch.workers.ray import RayExecutor

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class Node:
    """An executor with its GPUs. ``agent`` is the name of an agent or Ray node, None for the machine of the server,
    whose ``inherited`` workers occupy some of its slots."""

    executor: Executor
    gpus: GpuPool = field(default_factory=lambda: GpuPool([]))
    agent: str | None = None
    inherited: InheritedWorkers | None = None

    @property
    def free_slots(self) -> int:
        return max(0, self.executor.free_slots - len(self.inherited or ()))

    @property
    def offer(self) -> Place:
        """What it has for jobs now."""
        executor, pool = self.executor, self.gpus
        engines, warm = frozenset(executor.installed), executor.frameworks
        return Place(self.agent, self.free_slots, executor.slots, len(pool.free), len(pool.owned), engines, warm)


OnNodeExit = Callable[[Node, Exit], Awaitable[None]]
"""Awaited with the node and the end of each attempt that it has had."""


class Nodes:
    """All nodes; ``local`` is the machine of the server."""

    def __init__(self, local: Node, lease_seconds: float) -> None:
        self.local = local
        self._lease_seconds = lease_seconds
        self._remote: dict[str, Node] = {}
        self._executors: dict[str, RemoteExecutor] = {}

    def __iter__(self) -> Iterator[Node]:
        yield self.local
        yield from self._remote.values()

    @property
    def remote(self) -> list[RemoteExecutor]:
        """The other machines, by name."""
        return [executor for _, executor in sorted(self._executors.items())]

    @property
    def agents(self) -> dict[str, AgentExecutor]:
        return {name: found for name, found in self._executors.items() if isinstance(found, AgentExecutor)}

    @property
    def ray(self) -> "list[RayExecutor]":
        """The nodes of the Ray cluster."""
        others = (executor for executor in self.remote if not isinstance(executor, AgentExecutor))
        return cast("list[RayExecutor]", [*others])

    def of(self, agent: str | None) -> Node:
        """The node with this agent, or the machine of the server. An agent that has left is a node without slots."""
        return self.local if agent is None else self._remote.get(agent) or Node(AgentExecutor(agent, 0.0))

    async def join(self, executor: RemoteExecutor, on_exit: OnNodeExit) -> Node:
        """The node of a machine, which is new if there is none of its name, or if that was another one."""
        node = self._remote.get(executor.name)
        if node is None or node.executor is not executor:
            node = Node(executor, agent=executor.name)
            await executor.start(partial(on_exit, node))
            self._remote[executor.name], self._executors[executor.name] = node, executor
        return node

    async def join_agent(self, name: str, state: AgentState, on_exit: OnNodeExit) -> Node:
        """The node of an agent that polls, which is new at its first poll. Raises AgentNameTaken."""
        if name not in self._remote:
            await self.join(AgentExecutor(name, self._lease_seconds), on_exit)
            logger.info("agent %s joined from %s: %d slots, GPUs %s", name, state.hostname, state.slots, state.gpus)
        self.agents[name].check_session(state)
        node = self._remote[name]
        node.gpus.owned = state.gpus
        return node

    def check(self) -> None:
        """Give up machines that were not heard of for too long, and forget those that have left."""
        for name, executor in [*self._executors.items()]:
            executor.check()
            if executor.has_left:
                del self._executors[name], self._remote[name]
                logger.info("%s has left", name)

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
        is_open = not found and not self.local.executor.slots
        return [engine for engine in registry.MODULES if is_open or engine in found]

    @property
    def warm(self) -> set[str]:
        """Those that a process of some node has imported."""
        return {engine for node in self for engine in node.executor.frameworks}

    @property
    def slots(self) -> int:
        """The number of trainings that can run at the same time on all machines that are connected."""
        return sum(node.executor.slots for node in self)

    @property
    def free_slots(self) -> int:
        """How many more trainings can start now."""
        return sum(node.executor.free_slots for node in self)
