"""What the server makes of what an agent says, and of its silence."""

import asyncio
from typing import Any

import pytest
from tests.support.tickets import ticket

from epochd.core.agents import AgentExit, AgentState
from epochd.core.errors import AgentLost, AgentNameTaken, EpochdError
from epochd.dispatch.workers import agent
from epochd.dispatch.workers.agent import AgentExecutor
from epochd.dispatch.workers.executor import Exit

LEASE = 6.0
KEY = ("task", 1)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(agent, "time", clock)
    return clock


@pytest.fixture
async def exits() -> "asyncio.Queue[Exit]":
    return asyncio.Queue()


@pytest.fixture
async def executor(clock, exits) -> AgentExecutor:
    executor = AgentExecutor("a", LEASE)
    await executor.start(exits.put)
    await executor.poll(state())
    return executor


def state(**values: Any) -> AgentState:
    return AgentState(**{"session": "first one", "version": "1", "slots": 2, "hostname": "here"} | values)


async def launched(executor: AgentExecutor, tmp_path, attempt: int = 1) -> "asyncio.Task[None]":
    """A ticket on its way, which the agent has not asked for yet."""
    launch = asyncio.create_task(executor.launch(ticket(tmp_path, attempt=attempt)))
    await asyncio.sleep(0)
    return launch


async def test_a_ticket_is_told_again_until_the_agent_says_that_it_has_it(executor, tmp_path):
    launch = await launched(executor, tmp_path)
    for _ in range(2):  # an answer may be lost
        orders = await executor.poll(state())
        assert [sent.key for sent in orders.tickets] == [KEY]
    assert (await executor.poll(state(held=[KEY]))).tickets == []
    assert not launch.done(), "no worker has it yet"
    assert executor.free_slots == 1
    await executor.poll(state(held=[KEY], launched=[KEY]))
    assert await launch is None


async def test_a_poll_waits_for_orders_and_a_later_poll_ends_it(executor, tmp_path, clock):
    waiting = asyncio.create_task(executor.poll(state(wait=20)))
    await asyncio.sleep(0)
    later = asyncio.create_task(executor.poll(state(wait=20)))
    assert (await waiting).tickets == []
    await launched(executor, tmp_path)
    assert [sent.key for sent in (await later).tickets] == [KEY]


async def test_an_end_is_told_once_however_often_the_agent_says_it(executor, tmp_path, exits):
    await launched(executor, tmp_path)
    await executor.poll(state(held=[KEY], launched=[KEY]))
    end = AgentExit(key=KEY, returncode=-9, log_tail=["x"], limit=5, peak=7)
    for _ in range(2):
        orders = await executor.poll(state(exits=[end]))
        assert orders.acknowledged == [KEY]
    found = await exits.get()
    assert (found.key, found.returncode, found.log_tail, found.overrun.limit, found.lost) == (KEY, -9, ["x"], 5, None)
    assert exits.empty()
    assert executor.free_slots == 2


async def test_a_ticket_that_the_agent_cannot_launch_is_refused_with_its_reason(executor, tmp_path, exits):
    launch = await launched(executor, tmp_path)
    await executor.poll(state(held=[KEY]))
    await executor.poll(state(exits=[AgentExit(key=KEY, error="jax is not installed")]))
    with pytest.raises(EpochdError, match="jax is not installed"):
        await launch
    assert exits.empty()


async def test_an_agent_that_is_not_heard_of_gets_nothing_and_loses_what_no_worker_has(executor, tmp_path, clock):
    launch = await launched(executor, tmp_path)
    clock.now += LEASE
    assert executor.free_slots == 0
    assert executor.frameworks == frozenset()
    executor.check()
    with pytest.raises(AgentLost, match="agent a is not connected any more"):
        await launch
    with pytest.raises(AgentLost):
        await executor.launch(ticket(tmp_path))


async def test_a_running_attempt_of_a_lost_agent_is_given_up_only_when_it_is_killed(executor, tmp_path, clock, exits):
    await launched(executor, tmp_path)
    await executor.poll(state(held=[KEY], launched=[KEY]))
    clock.now += LEASE
    executor.check()
    assert exits.empty(), "its worker may still report: its lease decides"
    await executor.kill(KEY)
    assert (await exits.get()).lost == "agent a is not connected any more"


async def test_what_was_to_be_killed_when_the_agent_was_lost_is_given_up(executor, tmp_path, clock, exits):
    await launched(executor, tmp_path)
    await executor.poll(state(held=[KEY], launched=[KEY]))
    await executor.kill(KEY)
    assert exits.empty()
    clock.now += LEASE
    executor.check()
    assert (await exits.get()).lost is not None
    assert (await executor.poll(state(held=[KEY]))).kill == [KEY], "it comes back, and has it still"


async def test_an_agent_that_was_restarted_has_lost_its_attempts(executor, tmp_path, clock, exits):
    await launched(executor, tmp_path)
    await executor.poll(state(held=[KEY], launched=[KEY]))
    clock.now += LEASE
    executor.check_session(state(session="second one"))
    await executor.poll(state(session="second one"))
    assert (await exits.get()).lost == "agent a was restarted and no longer has the attempt"


async def test_two_agents_cannot_have_one_name(executor, clock):
    with pytest.raises(AgentNameTaken, match="'a' is connected from here"):
        executor.check_session(state(session="second one"))
    executor.check_session(state())
    await executor.poll(state(is_leaving=True))
    executor.check_session(state(session="second one"))


async def test_an_agent_kills_what_it_has_and_should_not_have(executor):
    assert (await executor.poll(state(held=[("other", 3)]))).kill == [("other", 3)]
    executor.adopt(("other", 3))
    assert (await executor.poll(state(held=[("other", 3)]))).kill == []


async def test_a_drained_agent_is_told_so_and_gets_nothing(executor):
    executor.drain()
    assert executor.free_slots == 0
    assert (await executor.poll(state())).drain
    assert executor.is_draining
    await executor.poll(state(session="second one"))
    assert not executor.is_draining, "it was started again to be used"


async def test_a_server_that_shuts_down_leaves_the_attempts_alone(executor, tmp_path, exits):
    await launched(executor, tmp_path)
    await executor.poll(state(held=[KEY], launched=[KEY]))
    waiting = asyncio.create_task(executor.poll(state(held=[KEY], launched=[KEY], wait=20)))
    await asyncio.sleep(0)
    await executor.close()
    orders = await waiting
    assert (orders.kill, orders.tickets) == ([], [])
    assert exits.empty()
