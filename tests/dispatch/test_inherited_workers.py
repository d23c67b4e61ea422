"""Workers of a previous server, played by real processes."""

import asyncio
import os
import signal
from dataclasses import replace

from epochd.core.jobs import State
from epochd.dispatch.host import processes
from epochd.store import attempts, events, jobs
from tests.support.executors import FakeExecutor
from tests.support.stage import Marked, arrival, is_alive, until


async def test_one_that_lives_is_left_alone_and_keeps_its_slot(open_stage, executor, leave, marked):
    worker = marked()
    job, token = await leave(worker.identity)
    stage = await open_stage(executor, lease_seconds=2)
    await stage.submit("waits behind")
    await stage.dispatcher._watchdog.check()
    await attempts.report(stage.db, job.id, 1, token, [], lease_seconds=3600)
    assert executor.tickets.empty()
    assert (await jobs.get(stage.db, job.id)).state is State.RUNNING
    assert processes.is_alive(worker.identity)


async def test_one_that_dies_later_is_seen_at_once_with_the_end_of_its_log(open_stage, leave, marked, tmp_path):
    worker, executor = marked(), FakeExecutor()
    job, _ = await leave(worker.identity)
    log = tmp_path / "logs" / job.id / "1.log"
    log.parent.mkdir(parents=True)
    log.write_text("first\nlast words\n")
    stage = await open_stage(executor, lease_seconds=2)
    worker.end()
    ticket = await arrival(executor)
    assert (ticket.task_id, ticket.attempt) == (job.id, 2)
    [crash] = await stage.crashes(job.id)
    assert (crash["code"], crash["log_tail"]) == ("worker_died", ["first", "last words"])


async def test_one_that_was_lost_with_its_server_strikes_nobody_and_its_job_goes_on_at_once(
    open_stage, executor, leave, marked
):
    worker = marked()
    job, _ = await leave(worker.identity)
    worker.end()
    stage = await open_stage(executor)
    assert (await arrival(executor)).attempt == 2
    found = await jobs.get(stage.db, job.id)
    assert (found.crashes, found.preemptions) == (0, 1)


async def test_what_a_dead_one_has_left_behind_is_ended_before_its_job_goes_on(open_stage, executor, leave, marked):
    worker = marked("sh", "-c", "sleep 1000 & echo $!; exec sleep 1000")
    rank = int(worker.line())
    await leave(worker.identity)
    os.kill(worker.pid, signal.SIGKILL)
    worker.child.wait()
    assert is_alive(rank)
    await open_stage(executor)
    await arrival(executor)
    await until(lambda: not is_alive(rank))


async def test_a_process_of_somebody_else_that_has_a_dead_ones_number_is_left_in_peace(
    open_stage, executor, leave, tmp_path
):
    innocent = Marked(tmp_path / "other")
    try:
        await leave(replace(innocent.identity, created=1.0))
        await open_stage(executor)
        assert (await arrival(executor)).attempt == 2
        assert is_alive(innocent.pid)
    finally:
        innocent.end()


async def test_a_stopped_one_is_killed_before_its_job_goes_on(open_stage, executor, leave, marked):
    worker = marked()
    identity = worker.identity
    job, _ = await leave(identity, lease_seconds=0.5)
    os.kill(worker.pid, signal.SIGSTOP)
    stage = await open_stage(executor, lease_seconds=1)
    ticket = await arrival(executor)
    assert (ticket.task_id, ticket.attempt) == (job.id, 2)
    assert not processes.is_alive(identity)
    assert [crash["code"] for crash in await stage.crashes(job.id)] == ["worker_silent"]


async def test_one_that_reports_while_another_is_killed_goes_on(open_stage, executor, leave, marked, monkeypatch):
    monkeypatch.setattr("epochd.dispatch.inherited_workers.GRACE_SECONDS", 0.0)
    monkeypatch.setattr("epochd.dispatch.watchdog.CONFIRM_SECONDS", 0.0)
    (silent, _), (slow, token) = await leave(marked().identity), await leave(marked().identity)
    stage = await open_stage(executor)
    await stage.dispatcher._watchdog.check()
    loop, kill = asyncio.get_running_loop(), processes.kill_group

    def kill_slowly(worker, data_dir):
        kill(worker, data_dir)
        report = attempts.report(stage.db, slow.id, 1, token, [], lease_seconds=3600)
        asyncio.run_coroutine_threadsafe(report, loop).result(10)

    monkeypatch.setattr(processes, "kill_group", kill_slowly)
    await attempts.shorten_leases(stage.db, -100)
    await stage.dispatcher._watchdog.check()
    found = [await jobs.get(stage.db, job.id) for job in (silent, slow)]
    assert [(job.crashes, job.attempt) for job in found[1:]] == [(0, 1)]
    assert found[0].crashes == 1
    assert processes.is_alive(found[1].worker)


async def test_one_that_ignores_its_cancellation_is_killed(open_stage, executor, leave, marked):
    worker = marked()
    identity = worker.identity
    job, _ = await leave(identity)
    stage = await open_stage(executor, lease_seconds=1)
    await jobs.stop(stage.db, job.id)
    assert (await stage.until(job.id, State.CANCELLED)).error is None
    worker.child.wait(10)  # a killed process takes a moment to end
    assert not processes.is_alive(identity)


async def test_a_job_without_a_known_process_keeps_a_slot_until_its_lease_runs_out(
    open_stage, executor, leave, monkeypatch
):
    monkeypatch.setattr("epochd.dispatch.inherited_workers.GRACE_SECONDS", 0.0)
    monkeypatch.setattr("epochd.dispatch.watchdog.CONFIRM_SECONDS", 0.0)
    job, _ = await leave(None)
    stage = await open_stage(executor)
    await stage.submit("waits behind")
    await stage.dispatcher._watchdog.check()
    await attempts.shorten_leases(stage.db, -100)
    assert executor.tickets.empty()
    for _ in range(2):  # the second check sees that the job does not run any more
        await stage.dispatcher._watchdog.check()
    stage.dispatcher.wake()
    ticket = await arrival(executor)
    assert (ticket.task_id, ticket.attempt) == (job.id, 2)
    told = [event.payload.get("reason") for event in await events.after(stage.db, job.id, 0)]
    assert "its worker was lost with a previous server" in told


async def test_one_on_another_machine_is_judged_by_its_lease_alone_and_takes_no_slot(open_stage, leave, marked):
    worker, executor = marked(), FakeExecutor(slots=2)
    elsewhere = replace(worker.identity, pid=worker.pid + 1, machine="another machine")
    job, token = await leave(elsewhere)
    stage = await open_stage(executor, shared=True)
    waiting = [(await stage.submit(name)).id for name in ("first", "second")]
    assert [(await arrival(executor)).task_id for _ in waiting] == waiting, "both slots of this machine are free"
    await stage.dispatcher._watchdog.check()
    assert await attempts.report(stage.db, job.id, 1, token, [], lease_seconds=3600) == "continue"
    [running] = [one for one in (await stage.dispatcher.reconciler.compare()).running if one.task_id == job.id]
    assert (running.is_alive, running.memory) == (None, None)


async def test_one_on_another_machine_that_is_silent_is_replaced_and_nothing_here_is_killed(
    open_stage, executor, leave, marked
):
    here = marked()
    job, _ = await leave(replace(here.identity, machine="another machine"), lease_seconds=-100)
    stage = await open_stage(executor, lease_seconds=1, shared=True)
    assert (await arrival(executor)).attempt == 2
    found = await jobs.get(stage.db, job.id)
    assert (found.crashes, found.preemptions) == (0, 1)
    assert is_alive(here.pid)


def test_a_process_of_another_machine_is_never_alive_here_and_never_killed(marked, tmp_path):
    here = marked()
    elsewhere = replace(here.identity, machine="another machine")
    assert processes.is_alive(replace(here.identity, machine=processes.this_machine()))
    assert not processes.is_alive(elsewhere)
    processes.kill_group(elsewhere, tmp_path)
    assert is_alive(here.pid)
