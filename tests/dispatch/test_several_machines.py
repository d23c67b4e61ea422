"""The dispatcher with attempts on several machines: what becomes of all parts when something happens to one."""

import asyncio

import pytest

from epochd.core.agents import AgentExit
from epochd.core.errors import StaleAttempt
from epochd.core.events import ReportKind
from epochd.core.jobs import Command, State
from epochd.core.tickets import RANK_FAILED
from epochd.core.transfers import Meeting
from epochd.dispatch import dispatcher
from epochd.store import attempts, jobs
from tests.dispatch.test_agents import state
from tests.support.stage import SPEC, until

MEETING = Meeting(address="10.0.0.1", port=4711, secret="of these two machines")


@pytest.fixture
async def stage(open_stage, executor, monkeypatch):
    for name in ("FOLLOW_SECONDS", "LEAD_SECONDS"):
        monkeypatch.setattr(dispatcher, name, 0.05)
    executor.slots = 0
    return await open_stage(executor)


async def poll(stage, name, **values):
    return await stage.dispatcher.poll_agent(name, state(**{"wait": 0.0, "gpus": [4, 5]} | values))


async def begun(stage, **options):
    """A job on the agents a and b, whose workers have begun; its tickets by the name of the agent."""
    for name in "ab":
        await poll(stage, name)
    job = await jobs.submit(stage.db, SPEC.model_copy(update={"num_nodes": 2} | options))
    tickets = {}
    async with asyncio.timeout(20):
        while len(tickets) < 2:
            for name in "ab":
                held = [tickets[name].key] if name in tickets else []
                orders = await poll(stage, name, wait=0.05, held=held)
                for ticket in orders.tickets:
                    tickets[name] = ticket
    key = (job.id, 1)
    for name in "ab":
        await poll(stage, name, held=[key], launched=[key])
    await stage.dispatcher._running.own[key].launch
    first = min(tickets.values(), key=lambda ticket: ticket.node_rank)
    await stage.report(first, (ReportKind.STARTED, {}))
    return tickets


def places(stage):
    return {place.name: (place.free_slots, place.free_gpus) for place in stage.dispatcher._offers() if place.name}


async def killed(stage, name, key):
    """Wait until an agent is told to kill its worker, and tell that it has."""
    async with asyncio.timeout(20):
        while (await poll(stage, name, held=[key], launched=[key], wait=0.1)).kill != [key]:
            pass
    await poll(stage, name, exits=[AgentExit(key=key, returncode=-9)])


async def test_each_machine_gets_a_ticket_of_the_same_attempt_with_gpus_of_its_own(stage):
    tickets = await begun(stage, num_gpus=2)
    assert {ticket.key for ticket in tickets.values()} == {tickets["a"].key}
    assert {ticket.token for ticket in tickets.values()} == {tickets["a"].token}
    assert sorted(ticket.node_rank for ticket in tickets.values()) == [0, 1]
    assert [ticket.gpus for ticket in tickets.values()] == [[4, 5]] * 2
    assert places(stage) == {"a": (0, 0), "b": (0, 0)}
    job = await jobs.get(stage.db, tickets["a"].task_id)
    assert tickets[job.agent].node_rank == 0


async def test_without_a_second_machine_it_waits_and_holds_nothing(stage):
    await poll(stage, "a")
    job = await jobs.submit(stage.db, SPEC.model_copy(update={"num_nodes": 2}))
    assert (await poll(stage, "a", wait=0.1)).tickets == []
    assert places(stage) == {"a": (1, 2)}
    waits = (await stage.dispatcher.queue.standing(job)).waiting_for
    assert waits == "waits for 2 machines: 1 that could take part are connected"


async def test_a_lost_agent_is_not_waited_for_and_keeps_no_other_from_training(stage):
    for name in "ab":
        await poll(stage, name)
    stage.dispatcher.nodes.agents["b"]._polled_at = float("-inf")
    job = await jobs.submit(stage.db, SPEC.model_copy(update={"num_nodes": 2}))
    small = await stage.submit("small")
    async with asyncio.timeout(20):
        while not (orders := await poll(stage, "a", wait=0.1)).tickets:
            pass
    assert orders.tickets[0].task_id == small.id
    waits = (await stage.dispatcher.queue.standing(job)).waiting_for
    assert waits == "waits for 2 machines: 1 that could take part are connected"


@pytest.mark.parametrize(("dead", "code"), [(0, -9), (1, -9), (1, RANK_FAILED)])
async def test_the_death_of_one_part_ends_the_other_and_frees_all(stage, dead, code):
    tickets = await begun(stage)
    key = tickets["a"].key
    victim, other = sorted(tickets, key=lambda name: tickets[name].node_rank != dead)
    await poll(stage, victim, exits=[AgentExit(key=key, returncode=code, log_tail=["why"])])
    job = await jobs.get(stage.db, key[0])
    assert job.state is State.RUNNING, "it holds the other machine"
    await killed(stage, other, key)
    job = await stage.until(key[0], State.PENDING)
    assert (job.crashes, job.preemptions) == (1, 0)
    [crash] = await stage.crashes(key[0])
    assert crash["code"] == ("rank_failed" if code == RANK_FAILED else "worker_died")
    assert "epochd: the system" in crash["message"] or code == RANK_FAILED


async def test_a_lost_machine_ends_the_attempt_and_that_is_no_crash(stage):
    """Rank 0 finds out first, that it cannot reach the other."""
    tickets = await begun(stage)
    key = tickets["a"].key
    first, lost = sorted(tickets, key=lambda name: tickets[name].node_rank)
    await poll(stage, first, exits=[AgentExit(key=key, returncode=RANK_FAILED)])
    await asyncio.sleep(0.1)
    agent = stage.dispatcher.nodes.agents[lost]
    agent._polled_at = float("-inf")
    stage.dispatcher.nodes.check()
    job = await stage.until(key[0], State.PENDING)
    assert (job.crashes, job.preemptions) == (0, 1)


async def test_a_machine_that_is_lost_while_the_first_one_waits_for_it_ends_the_attempt(stage):
    """Its packets are dropped, or it stands still: rank 0 reports and gets no answer from it."""
    tickets = await begun(stage)
    key = tickets["a"].key
    first, lost = sorted(tickets, key=lambda name: tickets[name].node_rank)
    stage.dispatcher.nodes.agents[lost]._polled_at = float("-inf")
    await stage.dispatcher._watchdog.check()
    await killed(stage, first, key)
    job = await stage.until(key[0], State.PENDING)
    assert (job.crashes, job.preemptions) == (0, 1)


async def test_a_drain_of_any_of_its_machines_releases_it(stage):
    tickets = await begun(stage)
    key = tickets["a"].key
    (follower,) = [name for name in tickets if tickets[name].node_rank]
    assert await stage.dispatcher.drain_agent(follower) == [key[0]]
    first = next(ticket for ticket in tickets.values() if not ticket.node_rank)
    assert await stage.report(first) is Command.RELEASE


async def test_a_regular_end_frees_all_machines_once_both_workers_have_ended(stage):
    tickets = await begun(stage)
    key = tickets["a"].key
    first = next(ticket for ticket in tickets.values() if not ticket.node_rank)
    await stage.report(first, (ReportKind.STARTED, {}), (ReportKind.PAUSED, {}))
    await jobs.pause(stage.db, key[0])
    for name in "ab":
        await poll(stage, name, exits=[AgentExit(key=key)])
    await until(lambda: places(stage) == {"a": (1, 2), "b": (1, 2)})
    job = await jobs.get(stage.db, key[0])
    assert (job.state, job.crashes) == (State.PAUSED, 0)


async def test_the_next_server_takes_up_all_parts_with_their_gpus_whoever_comes_first(open_stage, executor, stage):
    tickets = await begun(stage, num_gpus=1)
    key = tickets["a"].key
    await stage.dispatcher.stop(0)
    after = await open_stage(executor)
    for name in sorted(tickets, key=lambda name: -tickets[name].node_rank):
        orders = await poll(after, name, held=[key], held_gpus=[[5]], launched=[key])
        assert orders.kill == []
    assert places(after) == {"a": (0, 1), "b": (0, 1)}
    own = after.dispatcher._running.own[key]
    assert [tickets[node.agent].node_rank for node in own.nodes] == [0, 1]
    await poll(after, own.nodes[0].agent, exits=[AgentExit(key=key, returncode=-9)])
    await killed(after, own.nodes[1].agent, key)
    assert (await after.until(key[0], State.PENDING)).crashes == 1


async def test_the_next_server_ends_an_attempt_of_which_a_machine_does_not_come_back(open_stage, executor, stage):
    tickets = await begun(stage)
    key = tickets["a"].key
    (first,) = [name for name in tickets if not tickets[name].node_rank]
    await stage.dispatcher.stop(0)
    after = await open_stage(executor)
    await poll(after, first, held=[key], launched=[key])
    await after.dispatcher._watchdog.check()
    assert (await poll(after, first, held=[key], launched=[key])).kill == [], "it has the time of a lease"
    after.dispatcher._running.own[key].known_at = float("-inf")
    await after.dispatcher._watchdog.check()
    await killed(after, first, key)
    job = await after.until(key[0], State.PENDING)
    assert (job.crashes, job.preemptions) == (0, 1)


async def test_the_first_machine_has_time_for_its_last_report_after_the_others_have_ended(stage):
    tickets = await begun(stage)
    key = tickets["a"].key
    first, follower = sorted(tickets, key=lambda name: tickets[name].node_rank)
    await poll(stage, follower, exits=[AgentExit(key=key)])
    await asyncio.sleep(0.15)
    assert (await poll(stage, first, held=[key], launched=[key])).kill == []
    await poll(stage, first, exits=[AgentExit(key=key, returncode=-9)])
    assert (await stage.until(key[0], State.PENDING)).crashes == 1
    assert (await stage.crashes(key[0]))[0]["code"] == "worker_died"


@pytest.mark.parametrize("comes_back", [True, False])
async def test_the_next_server_waits_for_all_machines_of_an_attempt_that_ends(open_stage, executor, stage, comes_back):
    tickets = await begun(stage)
    key = tickets["a"].key
    first, other = sorted(tickets, key=lambda name: tickets[name].node_rank)
    await stage.dispatcher.stop(0)
    after = await open_stage(executor)
    await poll(after, first, held=[key], launched=[key])
    await poll(after, first, exits=[AgentExit(key=key, returncode=-9)])
    await asyncio.sleep(0.15)
    assert (await jobs.get(after.db, key[0])).state is State.RUNNING, "the other machine still works for it"
    if comes_back:
        await killed(after, other, key)
    else:
        after.dispatcher._running.own[key].known_at = float("-inf")
        await after.dispatcher._watchdog.check()
    assert (await after.until(key[0], State.PENDING)).attempt == 1
    assert key not in after.dispatcher._running.own


async def test_the_end_of_an_attempt_that_is_not_known_any_more_frees_the_gpus(stage):
    tickets = await begun(stage, num_gpus=1)
    key = tickets["a"].key
    attempt = stage.dispatcher._running.own.pop(key)
    await poll(stage, "a", exits=[AgentExit(key=key)])
    await until(lambda: places(stage)["a"] == (1, 2))
    stage.dispatcher._running.own[key] = attempt


async def test_the_machines_of_an_attempt_find_each_other_and_nobody_else_does(stage):
    tickets = await begun(stage)
    key, chosen = tickets["a"].key, stage.dispatcher
    assert await chosen.meeting(key, 0.0) is None
    asked = asyncio.create_task(chosen.meeting(key, 20.0))
    await asyncio.sleep(0)
    await chosen.meet(key, MEETING)
    assert await asked == MEETING
    await attempts.release_attempt(stage.db, *key, reason="a test")
    with pytest.raises(StaleAttempt):
        await chosen.meeting((key[0], 2), 0.0)


async def test_machines_that_meet_while_the_server_starts_again_go_on_to_ask(open_stage, executor, stage):
    """The new one knows the attempt only once an agent has polled."""
    tickets = await begun(stage)
    key = tickets["a"].key
    await stage.dispatcher.stop(0)
    after = await open_stage(executor)
    assert await after.dispatcher.meeting(key, 0.01) is None
    await after.dispatcher.meet(key, MEETING)
    for stale in ((key[0], 2), ("no task", 1)):
        with pytest.raises(StaleAttempt):
            await after.dispatcher.meeting(stale, 0.0)
        with pytest.raises(StaleAttempt):
            await after.dispatcher.meet(stale, MEETING)
    for name in "ab":
        await poll(after, name, held=[key], launched=[key])
    await after.dispatcher.meet(key, MEETING)
    assert await after.dispatcher.meeting(key, 0.0) == MEETING
