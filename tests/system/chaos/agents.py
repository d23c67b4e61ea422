"""Machines for agents: network namespaces of their own behind a bridge, whose cables can be pulled.

Making them is for root; where it is refused, the agents are plain processes, and no plan may count on a cable.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from epochd.dispatch.host import processes
from tests.support.running import RunningAgent

from .arena import LEASE_SECONDS, TOGETHER, Arena, NotFired, Victim, is_gone, until

NAMES = ("a", "b")
ADDRESS = "10.213.77"
"""The first three bytes of the addresses on the bridge."""
TOKEN, AGENT_TOKEN = "of-the-test", "of-the-agents"


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


class Network:
    """A bridge with a namespace for each agent. ``tag`` tells it from those of other tests at the same time."""

    def __init__(self, tag: str) -> None:
        self.bridge, self._tag = f"ep{tag}", tag

    @contextmanager
    def opened(self) -> Iterator[bool]:
        """Make everything; False if that is not allowed here. Leaves nothing behind."""
        try:
            yield self._make()
        finally:
            for name in NAMES:
                with suppress(subprocess.CalledProcessError, FileNotFoundError):
                    ip("netns", "delete", self.space(name))
            with suppress(subprocess.CalledProcessError, FileNotFoundError):
                ip("link", "delete", self.bridge)

    def _make(self) -> bool:
        try:
            ip("link", "add", self.bridge, "type", "bridge")
            ip("address", "add", f"{ADDRESS}.1/24", "dev", self.bridge)
            ip("link", "set", self.bridge, "up")
            for number, name in enumerate(NAMES, 2):
                space, cable = self.space(name), self.cable(name)
                ip("netns", "add", space)
                ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space)
                ip("link", "set", cable, "master", self.bridge, "up")
                ip("-n", space, "address", "add", f"{ADDRESS}.{number}/24", "dev", "eth0")
                ip("-n", space, "link", "set", "eth0", "up")
                ip("-n", space, "link", "set", "lo", "up")
        except (subprocess.CalledProcessError, FileNotFoundError):
            return False
        return True

    def space(self, name: str) -> str:
        return f"ep{self._tag}{name}"

    def cable(self, name: str) -> str:
        return f"ep{self._tag}v{name}"

    def pull(self, name: str) -> None:
        """From now on nothing of this machine arrives, and nothing reaches it: its packets are dropped."""
        ip("link", "set", self.cable(name), "nomaster")

    def plug(self, name: str) -> None:
        ip("link", "set", self.cable(name), "master", self.bridge)


class AgentArena(Arena):
    """A server that trains nothing itself, and two agents with one slot each."""

    def __init__(self, folder: Path, seed: int, *, is_long: bool) -> None:
        super().__init__(folder, None, seed, is_long=is_long)
        self.trainings = [name for name in self.trainings if name not in ("ranks", "gru")] + [*TOGETHER]
        self.agents: dict[str, RunningAgent] = {}
        self.network = Network(f"{os.getpid() % 10_000:04d}")
        self.has_network = False
        self._folder = folder

    @contextmanager
    def opened(self) -> Iterator["AgentArena"]:
        with self.network.opened() as self.has_network, super().opened():
            try:
                for name in NAMES:
                    self.open_agent(name)
                self.server.joined(*NAMES)
                yield self
            finally:
                for agent in self.agents.values():
                    agent.kill()

    def serve(self, port: int = 0, slots: int = 0, **more: str) -> None:
        host = f"{ADDRESS}.1" if self.has_network else "127.0.0.1"
        tokens = {"EPOCHD_TOKENS": TOKEN, "EPOCHD_AGENT_TOKENS": AGENT_TOKEN}
        super().serve(port, slots, EPOCHD_HOST=host, **tokens | more)

    def open_agent(self, name: str) -> None:
        prefix = ("ip", "netns", "exec", self.network.space(name)) if self.has_network else ()
        folder = self._folder / f"agent-{name}"
        self.agents[name] = RunningAgent(folder, self.server.url, name, prefix=prefix, EPOCHD_TOKEN=AGENT_TOKEN)

    def machine_of(self, victim: Victim) -> str:
        """One of those that have the task."""
        found = [name for name, agent in self.server.agents().items() if victim.task_id in agent["tasks"]]
        return self.random.choice(sorted(found)) if found else str(self.server.task(victim.task_id)["agent"])

    def _bears(self, running: dict[str, object]) -> bool:
        task = self.server.task(str(running["task_id"]))
        return bool(task["last_step_at"] and task["strikes"] == 0 and task["agent"])


def kill_machine(arena: AgentArena) -> str:
    """SIGKILL for an agent and its workers: its tasks go on elsewhere, which is no crash of theirs."""
    victim = arena.victim()
    name, before = arena.machine_of(victim), arena.server.task(victim.task_id)["crashes"]
    arena.agents[name].kill()
    until(lambda: arena.is_over(victim), f"task {victim.task_id} was not taken from the dead machine {name}")
    if arena.server.task(victim.task_id)["crashes"] > before:
        raise NotFired(f"the death of machine {name} counted as a crash of task {victim.task_id}")
    arena.open_agent(name)
    return f"machine {name} was killed in attempt {victim.attempt}"


def kill_agent(arena: AgentArena) -> str:
    """SIGKILL for an agent alone: the next one asks its workers for a checkpoint."""
    victim = arena.victim()
    name = arena.machine_of(victim)
    arena.agents[name].process.kill()
    arena.agents[name].process.wait()
    arena.open_agent(name)
    until(lambda: arena.is_over(victim), f"task {victim.task_id} was not taken from the workers of agent {name}")
    return f"agent {name} was killed and started again"


def stop_agent(arena: AgentArena) -> str:
    """SIGTERM: it gives its tasks back and ends."""
    victim = arena.victim()
    name = arena.machine_of(victim)
    code = arena.agents[name].end(signal.SIGTERM)
    arena.open_agent(name)
    _given_back(arena, victim, name, code)
    return f"agent {name} was stopped and started again"


def drain_agent(arena: AgentArena) -> str:
    """The same, asked for at the server."""
    victim = arena.victim()
    name = arena.machine_of(victim)
    arena.server.client.post(f"{arena.server.url}/api/v1/system/agents/{name}/drain").raise_for_status()
    code = arena.agents[name].process.wait(60)
    arena.open_agent(name)
    _given_back(arena, victim, name, code)
    return f"agent {name} was drained"


def _given_back(arena: AgentArena, victim: Victim, name: str, code: int) -> None:
    """See that a drained agent has left its task. If another machine leads it, its last report may still be on the
    way."""
    if code != 0:
        raise NotFired(f"agent {name} ended with code {code}")
    until(lambda: arena.is_over(victim), f"task {victim.task_id} was not given back by agent {name}")


def kill_worker(arena: AgentArena) -> str:
    """SIGKILL for the processes of an agent's workers."""
    victim = arena.victim()
    name = arena.machine_of(victim)
    pids = arena.agents[name].workers()
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    until(lambda: arena.is_over(victim), f"task {victim.task_id} did not lose its worker")
    return f"the workers {pids} of agent {name} were killed"


def freeze_machine(arena: AgentArena) -> str:
    """SIGSTOP for an agent and its workers until their tasks were given away, then SIGCONT."""
    victim = arena.victim()
    name = arena.machine_of(victim)
    agent = arena.agents[name]
    pids = [agent.process.pid, *(process.pid for process in processes.find_marked(agent.data_dir))]
    _signal(pids, signal.SIGSTOP)
    until(lambda: arena.is_over(victim), f"task {victim.task_id} was not taken from the frozen machine {name}")
    _signal(pids, signal.SIGCONT)
    until(lambda: state_of(arena, name) == "connected", f"agent {name} did not come back")
    return f"machine {name} stood still until its task had been taken from it"


def cut_off(arena: AgentArena) -> str:
    """The packets of a machine are dropped until its tasks were given away, or only for a moment."""
    victim = arena.victim()
    name, is_long = arena.machine_of(victim), arena.random.random() < 0.7
    workers = arena.agents[name].workers()
    arena.network.pull(name)
    if is_long:
        until(lambda: arena.is_over(victim), f"task {victim.task_id} was not taken from {name}, which is cut off")
        time.sleep(arena.random.uniform(0.0, LEASE_SECONDS))
    else:
        time.sleep(arena.random.uniform(0.1, 0.4) * LEASE_SECONDS)
    arena.network.plug(name)
    until(lambda: state_of(arena, name) == "connected", f"agent {name} did not come back")
    if is_long:
        state = arena.server.task(victim.task_id)["state"]
        known = {task for agent in arena.server.agents().values() for task in agent["tasks"]}
        if state == "running" and victim.task_id not in known:
            raise NotFired(f"nobody has task {victim.task_id}")
    return f"machine {name} with workers {workers} was cut off for {'long' if is_long else 'a moment'}"


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        if not is_gone(pid):
            os.kill(pid, number)


AGENT_FAULTS: dict[str, Callable[[AgentArena], str]] = {
    fault.__name__: fault
    for fault in (kill_machine, kill_agent, stop_agent, drain_agent, kill_worker, freeze_machine, cut_off)
}


def state_of(arena: "AgentArena", name: str) -> str | None:
    """The state of an agent; None if the server has not heard of it since its start."""
    found = arena.server.agents().get(name)
    return None if found is None else str(found["state"])
