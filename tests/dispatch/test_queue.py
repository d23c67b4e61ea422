"""The queue of a dispatcher: which job is launched next, what is told of those that wait, and who makes room."""

import asyncio

import pytest
from sqlalchemy import event

from epochd.core.events import ReportKind, Type
from epochd.core.jobs import Command, State
from epochd.core.settings import Settings
from epochd.dispatch import queue
from epochd.dispatch.placement import Place
from epochd.dispatch.queue import JobQueue, Standing
from epochd.store import events, jobs, tables
from epochd.store.queue import pending
from tests.support.attempts import claimed, epoch
from tests.support.executors import FakeExecutor
from tests.support.stage import CHECKPOINT, SPEC, arrival

DONE = {"artifact": "a", "best": {"loss": 0.5}, "stopped_early": False, "summary": {"timings": {"train": 30.0}}}


@pytest.fixture
def has_gpus(monkeypatch):
    """A machine with four GPUs."""
    monkeypatch.setattr("epochd.dispatch.host.gpus._detected", lambda: [0, 1, 2, 3])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


async def submitted(stage, name="job", owner=None, now=None, **options):
    spec = SPEC.model_copy(update={"name": name, **options})
    return await jobs.submit(stage.db, spec, owner=owner, now=now)


async def completed(stage, ticket):
    await stage.report(ticket, (ReportKind.COMPLETED, DONE))
    await stage.executor.end(ticket, 0)


async def standing(stage, job):
    return await stage.dispatcher.queue.standing(await jobs.get(stage.db, job.id))


async def first_line(stage, job):
    """The first line of the log of a job, once there is one."""
    async with asyncio.timeout(20):
        while True:
            stage._changed.clear()
            for one in await events.after(stage.db, job.id, 0):
                if one.type is Type.LOG:
                    return one.payload["message"]
            await stage._changed.wait()


async def test_the_job_of_the_highest_priority_is_launched_next(open_stage, executor):
    stage = await open_stage(executor)
    await submitted(stage, "first")
    ticket = await arrival(executor)
    for priority in (0, 5, -5):
        await submitted(stage, str(priority), priority=priority)
    for expected in ("5", "0", "-5"):
        await completed(stage, ticket)
        ticket = await arrival(executor)
        assert ticket.spec.name == expected


async def test_a_user_at_the_limit_waits_and_others_do_not(open_stage):
    stage = await open_stage(FakeExecutor(slots=3), user_slots=1)
    first = await submitted(stage, owner="ann")
    ticket = await arrival(stage.executor)
    assert ticket.task_id == first.id
    second, third = await submitted(stage, owner="ann"), await submitted(stage, owner="bob")
    assert (await arrival(stage.executor)).task_id == third.id
    found = await standing(stage, second)
    assert found.queue_position == 1
    assert found.waiting_for == "waits until a task of ann ends: 1 run at the same time (EPOCHD_USER_SLOTS)"
    await completed(stage, ticket)
    assert (await arrival(stage.executor)).task_id == second.id


async def test_a_job_that_waits_for_gpus_is_passed_only_by_those_that_need_none(open_stage, has_gpus):
    stage = await open_stage(FakeExecutor(slots=4))
    holder = await submitted(stage, "holder", num_gpus=3)
    ticket = await arrival(stage.executor)
    assert (ticket.task_id, ticket.gpus) == (holder.id, [0, 1, 2])
    large, small = await submitted(stage, "large", num_gpus=2), await submitted(stage, "small")
    without = await submitted(stage, "without", device="cpu")
    assert (await arrival(stage.executor)).task_id == without.id
    assert (await standing(stage, large)).waiting_for == "waits for GPUs: it needs 2, and 1 of 4 are free"
    expected = f"waits behind task {large.id}, which needs 2 GPUs and must not be delayed"
    assert (await standing(stage, small)).waiting_for == expected
    await completed(stage, ticket)
    launched = [await arrival(stage.executor) for _ in range(2)]
    assert [(one.task_id, one.gpus) for one in launched] == [(large.id, [0, 1]), (small.id, [2])]


async def test_a_job_far_behind_in_the_queue_is_found_if_no_other_can_start(open_stage, has_gpus, monkeypatch):
    monkeypatch.setattr(queue, "PAGES", (2, 4))
    stage = await open_stage(FakeExecutor(slots=4), user_slots=1)
    await submitted(stage, "holder", num_gpus=4, owner="ann")
    await arrival(stage.executor)
    for number in range(3):
        await submitted(stage, f"large {number}", num_gpus=4 - number)
        await submitted(stage, f"of ann {number}", device="cpu", owner="ann")
    await submitted(stage, "at the end", device="cpu")
    assert (await arrival(stage.executor)).spec.name == "at the end"


async def test_a_waiting_job_tells_why_and_how_long_by_what_is_left_of_those_that_run(open_stage):
    stage = await open_stage(FakeExecutor(slots=2))
    for _ in range(2):
        await submitted(stage, epochs=3)
    tickets = [await arrival(stage.executor) for _ in range(2)]
    waiting = await submitted(stage)
    assert await standing(stage, waiting) == Standing(1, None, "waits for a free slot: all 2 are in use")
    for ticket, seconds in zip(tickets, (50.0, 10.0), strict=True):
        metrics = {"epoch": 1, "train_loss": 1.0, "time_per_epoch": seconds}
        await stage.report(ticket, (ReportKind.EPOCH, epoch(1) | {"metrics": metrics}))
    await submitted(stage)  # a change of the queue, after which it is estimated again
    told = await events.after(stage.db, tickets[1].task_id, 0)
    [measured_at] = [event.at for event in told if event.type is Type.PROGRESS]
    left = (await standing(stage, waiting)).expected_start - measured_at
    assert 20 <= left < 25


async def test_jobs_that_took_30_seconds_before_are_expected_to_take_as_long_again(open_stage):
    stage = await open_stage(FakeExecutor(slots=2))
    first = await submitted(stage, epochs=1)
    await completed(stage, await arrival(stage.executor))
    assert (await jobs.get(stage.db, first.id)).state is State.COMPLETED
    runs = [await submitted(stage, f"runs {n}", epochs=1) for n in range(2)]
    for _ in runs:
        await arrival(stage.executor)
    waiting = [await submitted(stage, f"waits {n}", epochs=1) for n in range(3)]
    started = [(await jobs.get(stage.db, job.id)).started_at for job in runs]
    found = await stage.dispatcher.queue.standings([job.id for job in waiting])
    expected = [started[0] + 30, started[1] + 30, started[0] + 60]
    assert [found[job.id].expected_start for job in waiting] == pytest.approx(expected, abs=0.001)


async def test_jobs_behind_those_that_are_foreseen_know_their_position(open_stage, executor, monkeypatch):
    monkeypatch.setattr(queue, "FORESEEN", 1)
    stage = await open_stage(executor)
    await submitted(stage)
    await arrival(executor)
    waiting = [await submitted(stage, now=1.0 + n) for n in range(3)]
    assert await standing(stage, waiting[2]) == Standing(3, None, "waits for its turn in the queue")


async def test_a_job_of_higher_priority_gets_the_slot_of_one_that_saves_its_work(open_stage, executor):
    stage = await open_stage(executor, preempt=True)
    low = await submitted(stage, "low", priority=-1)
    ticket = await arrival(executor)
    urgent = await submitted(stage, "urgent", priority=1)
    told = await first_line(stage, low)
    assert told == f"made room for task {urgent.id} of higher priority: it continues from its checkpoint"
    assert await stage.report(ticket) is Command.RELEASE
    await stage.report(ticket, (ReportKind.PAUSED, CHECKPOINT))
    await executor.end(ticket, 0)
    second = await arrival(executor)
    assert second.task_id == urgent.id
    found = await jobs.get(stage.db, low.id)
    assert (found.state, found.preemptions, found.crashes, found.queued_at) == (State.PENDING, 1, 0, low.queued_at)
    await completed(stage, second)
    resumed = await arrival(executor)
    assert (resumed.task_id, resumed.attempt, resumed.checkpoint) == (low.id, 2, CHECKPOINT["path"])


async def test_only_as_many_jobs_make_room_as_are_needed_and_only_once(open_stage):
    stage = await open_stage(FakeExecutor(slots=2), preempt=True)
    running = [await submitted(stage, str(n), priority=-n) for n in range(2)]
    for _ in running:
        await arrival(stage.executor)
    await submitted(stage, "urgent", priority=1)
    await first_line(stage, running[1])
    for _ in range(3):  # the dispatcher looks again, while the release is under way
        assert await stage.dispatcher.queue.claim_next(2.0) is None
    found = [(await jobs.get(stage.db, job.id)).command for job in running]
    assert found == [Command.CONTINUE, Command.RELEASE]


async def test_without_preempt_a_job_of_higher_priority_waits(open_stage, executor):
    stage = await open_stage(executor)
    await submitted(stage, priority=-1)
    ticket = await arrival(executor)
    await submitted(stage, priority=1)
    assert await stage.dispatcher.queue.claim_next(2.0) is None
    assert await stage.report(ticket) is Command.CONTINUE


async def test_more_places_are_used_as_soon_as_they_are_there(db, tmp_path):
    places = [Place(None, 1, 1), Place("gpu-box", 2, 2, 2, 2)]
    held = {}
    chosen = JobQueue(db, Settings(data_dir=tmp_path), lambda: places, lambda key: [held.get(key, (None, 0))])
    for options in ({"num_gpus": 2}, {"device": "cpu"}):
        await jobs.submit(db, SPEC.model_copy(update=options), now=1.0 if options.get("num_gpus") else 2.0)
    first = await chosen.claim_next(3.0)
    assert (first.job.spec.num_gpus, first.place) == (2, "gpu-box")
    held[first.job.key] = ("gpu-box", 2)
    places[1] = Place("gpu-box", 1, 2, 0, 2)
    second = await chosen.claim_next(3.0)
    assert (second.job.spec.device, second.place) == ("cpu", None)


async def test_a_decision_reads_a_page_of_a_long_queue_through_an_index(db):
    """A hundred thousand pending jobs: the rows that a decision reads are counted by SQLite, not by the clock."""
    job = await jobs.submit(db, SPEC)
    await claimed(db)
    async with db.write() as transaction:
        row = (await transaction.connection.execute(tables.jobs.select())).first()._mapping
        others = [f"epoch_training_20260101_{n // 100:06}_{n % 100:06x}" for n in range(100_000)]
        copies = [{**row, "id": other, "state": "pending", "queued_at": n / 10} for n, other in enumerate(others)]
        await transaction.connection.execute(tables.jobs.insert(), copies)
    steps = []
    engine = db._reader.sync_engine

    def counted(connection, *_):
        connection.connection.driver_connection._conn.set_progress_handler(lambda: steps.append(1) and 0, 100)

    event.listen(engine, "before_cursor_execute", counted)
    assert len(await pending(db, limit=16)) == 16
    assert len(await pending(db, limit=16, without=["ann"], gpus=2, owned=4)) == 16
    event.remove(engine, "before_cursor_execute", counted)
    assert len(steps) < 100, "of 100 instructions each; a scan of all rows takes more than ten thousand"
    assert await jobs.position(db, job.id) is None
