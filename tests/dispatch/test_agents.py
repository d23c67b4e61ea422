"""The dispatcher with agents: who gets a job, and what becomes of it when an agent comes and goes."""

import asyncio
from typing import Any

import pytest

from epochd.core.agents import AgentExit, AgentState
from epochd.core.errors import NotFound
from epochd.core.events import ReportKind
from epochd.core.jobs import Command, State
from epochd.store import attempts, jobs
from tests.support.stage import SPEC


def state(held: Any = (), launched: Any = (), **values: Any) -> AgentState:
    found = {"session": "first one", "version": "1", "slots": 1, "frameworks": ["pytorch", "jax"], "wait": 5.0}
    return AgentState(**found | {"held": list(held), "launched": list(launched)} | values)


async def given(stage, name: str = "a", **values: Any):
    """The ticket that an agent gets."""
    while not (orders := await stage.dispatcher.poll_agent(name, state(**values))).tickets:
        pass
    return orders.tickets[0]


async def running(stage, name: str = "a"):
    """A job that a worker of an agent has begun; its ticket."""
    await stage.submit()
    ticket = await given(stage, name)
    await stage.dispatcher.poll_agent(name, state([ticket.key], [ticket.key], wait=0.0))
    await stage.report(ticket, (ReportKind.STARTED, {}))
    return ticket


@pytest.fixture
async def stage(open_stage, executor):
    executor.slots = 0
    return await open_stage(executor)


async def test_a_job_waits_for_an_agent_and_its_ticket_names_no_folder_of_the_server(stage, tmp_path):
    job = await stage.submit()
    assert (await jobs.get(stage.db, job.id)).state is State.PENDING
    ticket = await given(stage)
    assert (ticket.task_id, ticket.is_remote) == (job.id, True)
    assert str(tmp_path) not in ticket.model_dump_json()
    assert (await jobs.get(stage.db, job.id)).agent == "a"


async def test_a_job_goes_where_its_framework_is_in_memory(stage):
    for name, warm in (("cold", []), ("warm", ["jax"])):
        await stage.dispatcher.poll_agent(name, state(wait=0.0, warm=warm))
    await jobs.submit(stage.db, SPEC.model_copy(update={"framework": "jax"}))
    assert (await given(stage, "warm", warm=["jax"])).spec.framework == "jax"


async def test_a_job_goes_where_its_framework_is_installed(stage):
    await stage.dispatcher.poll_agent("other", state(wait=0.0, slots=9, frameworks=["jax"]))
    await stage.submit()
    assert (await given(stage, "a", frameworks=["pytorch"])).spec.framework == "pytorch"


async def test_a_job_that_may_use_a_gpu_goes_where_one_is(stage):
    await stage.dispatcher.poll_agent("plain", state(wait=0.0, slots=9))
    await stage.dispatcher.poll_agent("fast", state(wait=0.0, gpus=[2, 3]))
    await stage.submit()
    assert (await given(stage, "fast", gpus=[2, 3])).gpus == [2]
    await stage.submit("second")
    held = [key for key in stage.dispatcher.nodes.agents["fast"].attempts]
    orders = await stage.dispatcher.poll_agent("fast", state(held, slots=2, gpus=[2, 3]))
    assert [ticket.gpus for ticket in orders.tickets] == [[3]]


async def test_the_job_of_a_lost_agent_goes_on_and_that_is_no_crash(stage):
    ticket = await running(stage)
    agent = stage.dispatcher.nodes.agents["a"]
    agent._polled_at = float("-inf")
    job = await jobs.get(stage.db, ticket.task_id)
    await stage.dispatcher._running.end(job, None)
    found = await stage.until(job.id, State.PENDING)
    assert (found.crashes, found.preemptions) == (0, 1)


async def test_a_job_is_given_again_if_the_agent_is_lost_before_a_worker_has_it(stage):
    job = await stage.submit()
    ticket = await given(stage)
    stage.dispatcher.nodes.agents["a"]._polled_at = float("-inf")
    await stage.dispatcher.poll_agent("a", state(session="second one", wait=0.0))
    again = await given(stage, "a", session="second one")
    assert (again.task_id, again.attempt) == (job.id, ticket.attempt + 1)


async def test_the_next_server_takes_up_what_an_agent_has(open_stage, executor, stage):
    ticket = await running(stage)
    await stage.dispatcher.stop(0)
    after = await open_stage(executor)
    assert (await jobs.get(stage.db, ticket.task_id)).state is State.RUNNING
    orders = await after.dispatcher.poll_agent("a", state([ticket.key], [ticket.key], wait=0.0))
    assert orders.kill == []
    await after.report(ticket, (ReportKind.STARTED, {}), (ReportKind.PAUSED, {}))
    assert (await jobs.get(stage.db, ticket.task_id)).state is State.PENDING


async def test_polls_that_overlap_take_up_an_attempt_once(open_stage, executor, stage):
    ticket = await running(stage)
    await stage.dispatcher.stop(0)
    after = await open_stage(executor)
    poll, values = after.dispatcher.poll_agent, {"held": [ticket.key], "launched": [ticket.key], "wait": 0.0}
    await asyncio.gather(*(poll("a", state(**values)) for _ in range(2)))
    await poll("a", state(exits=[AgentExit(key=ticket.key, returncode=-9)], wait=0.0))
    assert (await after.until(ticket.task_id, State.PENDING)).crashes == 1
    assert ticket.key not in after.dispatcher._running.own


async def test_the_next_server_ends_what_is_no_longer_the_agents(open_stage, executor, stage):
    ticket = await running(stage)
    await stage.dispatcher.stop(0)
    await attempts.release_attempt(stage.db, *ticket.key, reason="a test")
    after = await open_stage(executor)
    orders = await after.dispatcher.poll_agent("b", state([ticket.key], slots=1, wait=0.0))
    assert orders.kill == [ticket.key]


async def test_a_drain_releases_what_the_agent_has_and_nothing_else(stage):
    first, second = await running(stage, "a"), await running(stage, "b")
    assert await stage.dispatcher.drain_agent("a") == [first.task_id]
    assert await stage.report(first) is Command.RELEASE
    assert await stage.report(second) is Command.CONTINUE
    with pytest.raises(NotFound, match="no agent 'c'"):
        await stage.dispatcher.drain_agent("c")


async def test_an_agent_that_drains_itself_gets_nothing_and_its_trainings_are_released(stage):
    ticket = await running(stage)
    await stage.dispatcher.poll_agent("a", state([ticket.key], [ticket.key], is_draining=True, wait=0.0))
    assert await stage.report(ticket) is Command.RELEASE
    await stage.submit("second")
    orders = await stage.dispatcher.poll_agent("a", state([ticket.key], [ticket.key], is_draining=True, wait=0.05))
    assert orders.tickets == []


async def test_an_agent_that_has_left_is_forgotten(stage):
    await stage.dispatcher.poll_agent("a", state(wait=0.0))
    await stage.dispatcher.poll_agent("a", state(is_leaving=True))
    stage.dispatcher.nodes.check()
    assert stage.dispatcher.nodes.agents == {}
    assert stage.dispatcher.nodes.slots == stage.executor.slots
