"""What every executor must fulfil: one class of tests, run on the real processes, on those of an agent, on jobs of a
real Ray cluster, and on the fake of the other tests."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from tests.support import ray_cluster
from tests.support.executors import FakeExecutor
from tests.support.ray_executor import ClusterOfOne
from tests.support.stage import STAND_IN, is_alive
from tests.support.tickets import ticket

from epochd.core.agents import AgentState
from epochd.core.errors import EpochdError
from epochd.core.settings import Settings
from epochd.core.tickets import Claim, Ticket
from epochd.dispatch.agent import Agent
from epochd.dispatch.workers.agent import AgentExecutor
from epochd.dispatch.workers.executor import Executor, Exit, OnExit
from epochd.dispatch.workers.pool import LocalExecutor


@dataclass
class Subject:
    """An executor of two slots: ``launch`` hands it a training that ends well, ``hang`` one that does not end."""

    executor: Executor
    data_dir: Path
    task_id: str = "task"
    exits: "asyncio.Queue[Exit]" = field(default_factory=asyncio.Queue)

    async def launch(self, attempt: int = 1) -> Ticket:
        sent = ticket(self.data_dir, name="done", task_id=self.task_id, attempt=attempt)
        await self.executor.launch(sent)
        if isinstance(self.executor, FakeExecutor):
            await self.executor.end(sent)
        return sent

    async def hang(self, attempt: int = 1) -> Ticket:
        sent = ticket(self.data_dir, name="hang", task_id=self.task_id, attempt=attempt)
        await self.executor.launch(sent)
        return sent

    async def exit(self) -> tuple[int, int]:
        """Attempt and return code of the next ticket that has ended."""
        async with asyncio.timeout(30):
            end = await self.exits.get()
        assert end.task_id == self.task_id
        return end.attempt, end.returncode


def local(data_dir: Path, *, is_cold: bool) -> LocalExecutor:
    """Stand-ins for workers, in processes of their own. Cold ones wait for their gate, which nobody opens."""
    gate = data_dir / "gate"
    if is_cold:
        os.mkfifo(gate)
    command = (*STAND_IN, "--gate", str(gate)) if is_cold else STAND_IN
    return LocalExecutor(Settings(data_dir=data_dir, slots=2, gpus="none"), command=command)


class Connected(AgentExecutor):
    """That of an agent in this process, which polls it without a network."""

    def __init__(self, data_dir: Path, *, is_cold: bool) -> None:
        super().__init__("a", lease_seconds=5.0)
        settings = Settings(data_dir=data_dir, slots=2, gpus="none")
        executor, transport = local(data_dir, is_cold=is_cold), httpx.MockTransport(self._answer)
        self.agent = Agent(settings, executor, "http://server", "", "a", transport=transport)
        self._running: asyncio.Task[None] | None = None

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        orders = await self.poll(AgentState.model_validate_json(request.content))
        return httpx.Response(200, content=orders.model_dump_json())

    async def start(self, on_exit: OnExit, *, has_gpus: bool = False) -> None:
        await super().start(on_exit)
        self._running = asyncio.create_task(self.agent.run())
        while not self.is_connected:  # noqa: ASYNC110 (a connection sets no event)
            await asyncio.sleep(0.001)

    async def close(self) -> None:
        await super().close()
        assert self._running is not None
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)


def remote(data_dir: Path, *, is_cold: bool) -> AgentExecutor:
    return Connected(data_dir, is_cold=is_cold)


def fake(data_dir: Path, *, is_cold: bool) -> FakeExecutor:
    executor = FakeExecutor(slots=2)
    if is_cold:
        executor.warm.clear()
    return executor


async def on_ray(processes: ray_cluster.RayCluster, subject: Subject, *, is_cold: bool) -> ClusterOfOne:
    """Let the subject be the executor of the cluster's node. Cold workers never ask for their tickets."""
    gate = subject.data_dir / "gate"
    if is_cold:
        os.mkfifo(gate)
    cluster = ClusterOfOne(processes, subject.data_dir, f"--gate {gate}" if is_cold else "")
    subject.executor = executor = await cluster.start(subject.exits.put)
    if is_cold:
        executor._claim = Claim(session="x" * 16, version="")
    while executor.free_slots != 2:
        await cluster.until_changed()
    return cluster


Open = Callable[..., Awaitable[Subject]]
RAY = pytest.param(None, id="ray", marks=pytest.mark.long)


@pytest.fixture(params=[local, remote, fake, RAY], ids=lambda make: make and make.__name__)
async def open_subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Open]:
    opened: list[Subject] = []
    clusters: list[ClusterOfOne] = []

    async def make(*, is_cold: bool = False) -> Subject:
        if request.param is None:
            subject = Subject(FakeExecutor(), tmp_path, f"task-{secrets.token_hex(4)}")  # Ray remembers ids
            clusters.append(await on_ray(request.getfixturevalue("ray_processes"), subject, is_cold=is_cold))
        else:
            subject = Subject(request.param(tmp_path, is_cold=is_cold), tmp_path)
            await subject.executor.start(subject.exits.put)
        opened.append(subject)
        return subject

    yield make
    for subject in opened:
        await subject.executor.close()
    for cluster in clusters:
        await cluster.close()
        await asyncio.to_thread(request.getfixturevalue("ray_processes").clear)


@pytest.fixture
async def subject(open_subject: Open) -> Subject:
    return await open_subject()


async def test_a_training_takes_a_slot_until_its_one_exit(subject: Subject) -> None:
    assert subject.executor.free_slots == 2
    await subject.hang()
    assert subject.executor.free_slots == 1
    await subject.launch(attempt=2)
    assert await subject.exit() == (2, 0)
    assert subject.executor.free_slots == 1
    assert subject.exits.empty()


async def test_kill_ends_this_attempt_and_no_other(subject: Subject) -> None:
    first, second = await subject.hang(1), await subject.hang(2)
    await subject.executor.kill(first.key)
    assert await subject.exit() == (1, -9)
    await subject.launch(attempt=3)
    assert await subject.exit() == (3, 0)
    assert subject.executor.free_slots == 1
    await subject.executor.kill(second.key)
    assert await subject.exit() == (2, -9)
    assert subject.executor.free_slots == 2


async def test_kill_ignores_what_it_does_not_know(subject: Subject) -> None:
    running = await subject.hang()
    for key in (("another", 1), (running.task_id, 2)):
        await subject.executor.kill(key)
    assert subject.exits.empty()
    assert subject.executor.free_slots == 1


async def test_a_worker_that_is_named_is_among_the_processes(subject: Subject) -> None:
    worker = await subject.executor.launch(ticket(subject.data_dir, name="hang", task_id=subject.task_id))
    assert worker is None or worker.pid in subject.executor.pids()


@pytest.mark.parametrize("how", ["kill", "close", "detach"])
async def test_a_ticket_that_no_worker_has_got_is_taken_back_and_has_no_exit(open_subject: Open, how: str) -> None:
    subject = await open_subject(is_cold=True)
    launch = asyncio.create_task(subject.hang())
    while subject.executor.free_slots == 2:  # noqa: ASYNC110 (a slot sets no event)
        await asyncio.sleep(0)
    await (subject.executor.kill((subject.task_id, 1)) if how == "kill" else getattr(subject.executor, how)())
    with pytest.raises(EpochdError):
        await launch
    assert subject.exits.empty()
    assert subject.executor.free_slots == (2 if how == "kill" else 0)


@pytest.mark.parametrize("open_subject", [local, fake], indirect=True)
async def test_close_ends_every_training_and_takes_no_other(subject: Subject) -> None:
    await subject.hang(1)
    await subject.hang(2)
    await subject.executor.close()
    assert sorted([await subject.exit(), await subject.exit()]) == [(1, -9), (2, -9)]
    assert subject.executor.free_slots == 0
    assert subject.executor.pids() == []
    with pytest.raises(EpochdError):
        await subject.hang(3)


async def test_detach_leaves_a_training_to_another_server_and_takes_no_other(subject: Subject) -> None:
    worker = await subject.executor.launch(ticket(subject.data_dir, name="hang", task_id=subject.task_id))
    await subject.executor.detach()
    assert subject.executor.free_slots == 0
    assert worker is None or is_alive(worker.pid)
    with pytest.raises(EpochdError):
        await subject.hang(2)
    assert subject.exits.empty()


async def test_a_healthy_executor_shows_no_error(subject: Subject) -> None:
    assert subject.executor.health().items() >= {"error": None}.items()
    assert "memory" in subject.executor.health()
