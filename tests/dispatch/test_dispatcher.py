import asyncio

from epochd.core.errors import EpochdError, NotLeader
from epochd.core.events import ReportKind
from epochd.core.job_values import WorkerIdentity
from epochd.core.jobs import Command, State
from epochd.core.settings import Settings
from epochd.dispatch.host import processes
from epochd.dispatch.workers.pool import LocalExecutor
from epochd.store import jobs
from tests.support.executors import FakeExecutor
from tests.support.stage import CHECKPOINT, STAND_IN, arrival

DONE = {"artifact": "a", "best": {"loss": 0.5}, "stopped_early": False, "summary": {}}


async def test_a_submitted_job_is_launched_at_once_with_all_that_it_needs(open_stage, executor):
    stage = await open_stage(executor)
    job = await stage.submit()
    ticket = await arrival(executor)
    assert (ticket.task_id, ticket.attempt, ticket.spec) == (job.id, 1, job.spec)
    assert ticket.data_dir.is_absolute()
    assert ticket.dataset_roots == [ticket.data_dir / "datasets"]
    assert (ticket.server_url, ticket.checkpoint) == ("http://127.0.0.1:9", None)
    assert await stage.report(ticket) is Command.CONTINUE


async def test_a_job_waits_until_a_slot_is_free(open_stage, executor):
    stage = await open_stage(executor)
    await stage.submit("first")
    second = await stage.submit("second")
    ticket = await arrival(executor)
    assert await jobs.position(stage.db, second.id) == 1
    await stage.report(ticket, (ReportKind.COMPLETED, DONE))
    await executor.end(ticket, 0)
    assert (await arrival(executor)).task_id == second.id


async def test_a_ticket_that_its_worker_returns_is_launched_again_as_the_same_attempt(open_stage, executor):
    stage = await open_stage(executor)
    job = await stage.submit()
    first = await arrival(executor)
    await executor.end(first, needs="2x1")
    second = await arrival(executor)
    assert second == first.model_copy(update={"needs": "2x1"})
    await stage.report(second, (ReportKind.COMPLETED, DONE))
    await executor.end(second, 0)
    found = await jobs.get(stage.db, job.id)
    assert (found.state, found.attempt, found.crashes) == (State.COMPLETED, 1, 0)


async def test_a_returned_ticket_that_waits_for_its_process_keeps_its_lease_and_can_be_paused(open_stage, executor):
    stage = await open_stage(executor, lease_seconds=1)
    job = await stage.submit()
    first = await arrival(executor)
    executor.warm.clear()
    await executor.end(first, needs="2x1")
    before = (await jobs.get(stage.db, job.id)).lease_until
    await asyncio.wait({asyncio.create_task(executor.warm.wait())}, timeout=1.5)
    assert (await jobs.get(stage.db, job.id)).lease_until > before
    await jobs.pause(stage.db, job.id)
    assert (await stage.until(job.id, State.PAUSED)).attempt == 1


async def test_a_ticket_that_is_returned_to_a_server_that_stops_waits_for_the_next_one(open_stage, executor):
    stage = await open_stage(executor)
    job = await stage.submit()
    first = await arrival(executor)
    stage.dispatcher._stopping = True
    await executor.end(first, needs="2x1")
    assert (await jobs.get(stage.db, job.id)).state is State.PENDING


async def test_a_good_end_is_left_as_the_worker_reported_it(open_stage, executor):
    stage = await open_stage(executor)
    job = await stage.submit()
    ticket = await arrival(executor)
    await stage.report(ticket, (ReportKind.COMPLETED, DONE))
    await executor.end(ticket, 0)
    assert (await jobs.get(stage.db, job.id)).state is State.COMPLETED


async def test_a_worker_that_dies_leaves_its_job_to_the_next_which_goes_on_from_the_checkpoint(open_stage, executor):
    stage = await open_stage(executor)
    job = await stage.submit()
    first = await arrival(executor)
    await stage.report(first, (ReportKind.CHECKPOINT, CHECKPOINT))
    await executor.end(first, -9, "last", "words")
    second = await arrival(executor)
    assert (second.task_id, second.attempt, second.checkpoint) == (job.id, 2, CHECKPOINT["path"])
    [crash] = await stage.crashes(job.id)
    assert (crash["code"], crash["attempt"], crash["log_tail"]) == ("worker_died", 1, ["last", "words"])
    assert "SIGKILL" in crash["message"]


async def test_a_job_that_kills_three_workers_in_a_row_is_given_up(open_stage, executor):
    stage = await open_stage(executor)
    job = await stage.submit()
    for attempt in (1, 2, 3):
        ticket = await arrival(executor)
        assert ticket.attempt == attempt
        await executor.end(ticket, 3, "last", "words")
    failed = await stage.until(job.id, State.FAILED)
    assert (failed.error.code, failed.crashes) == ("poison", 3)
    assert "exited with code 3" in failed.error.message
    assert failed.error.log_tail == ["last", "words"]


async def test_which_process_trains_a_job_is_noted_while_it_does(open_stage, executor):
    executor.worker = WorkerIdentity(4711, 1.5)
    stage = await open_stage(executor)
    job = await stage.submit()
    ticket = await arrival(executor)
    await stage.dispatcher._running.own[job.id, 1].launch
    assert (await jobs.get(stage.db, job.id)).worker == executor.worker
    await stage.report(ticket, (ReportKind.COMPLETED, DONE))
    assert (await jobs.get(stage.db, job.id)).worker is None


async def test_a_training_goes_on_even_if_its_process_cannot_be_noted(open_stage, executor, monkeypatch, caplog):
    async def fail(*arguments):
        raise RuntimeError("the database is away")

    monkeypatch.setattr("epochd.store.attempts.set_worker", fail)
    executor.worker = WorkerIdentity(4711, 1.5)
    stage = await open_stage(executor)
    job = await stage.submit()
    ticket = await arrival(executor)
    await stage.report(ticket, (ReportKind.COMPLETED, DONE))
    await executor.end(ticket, 0)
    assert (await jobs.get(stage.db, job.id)).state is State.COMPLETED
    assert "failed to record the worker process" in caplog.text


async def test_a_resumed_job_gets_its_checkpoint_even_before_its_old_process_is_through(open_stage):
    executor = FakeExecutor(slots=2)
    stage = await open_stage(executor)
    job = await stage.submit()
    first = await arrival(executor)
    await stage.pause(first)
    await jobs.resume(stage.db, job.id)
    second = await arrival(executor)
    await executor.end(first, 0)
    assert (second.attempt, second.checkpoint) == (2, CHECKPOINT["path"])
    await executor.end(second, 3)
    assert (await arrival(executor)).attempt == 3


async def test_a_launch_that_fails_fails_the_job_with_the_reason(open_stage, executor):
    stage = await open_stage(executor)
    executor.launch_error = EpochdError("no pytorch worker can be started")
    job = await stage.submit()
    failed = await stage.until(job.id, State.FAILED)
    assert failed.error.code == "worker_unavailable"
    assert "no pytorch worker can be started" in failed.error.message


async def test_a_job_that_has_got_somewhere_waits_for_workers_that_cannot_be_started(open_stage):
    executor = FakeExecutor(slots=1)
    stage = await open_stage(executor)
    job = await stage.submit()
    first = await arrival(executor)
    await stage.pause(first)
    await executor.end(first, 0)
    executor.launch_error = EpochdError("no pytorch worker can be started")
    await jobs.resume(stage.db, job.id)
    await stage.until(job.id, State.RUNNING)
    paused = await stage.until(job.id, State.PAUSED)
    assert paused.error.code == "worker_unavailable"
    assert "paused at its last checkpoint" in paused.error.message
    executor.launch_error = None
    await jobs.resume(stage.db, job.id)
    assert (await arrival(executor)).checkpoint == CHECKPOINT["path"]


async def test_stop_lets_workers_save_their_work_and_leaves_their_jobs_pending(open_stage):
    executor = FakeExecutor(slots=2)
    stage = await open_stage(executor)
    saved, stuck = await stage.submit("saved"), await stage.submit("stuck")
    ticket = await arrival(executor)
    stopping = asyncio.create_task(stage.dispatcher.stop(2))  # so long it waits for the one that is stuck
    while (await jobs.get(stage.db, saved.id)).command is not Command.RELEASE:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert await stage.report(ticket) is Command.RELEASE
    await stage.report(ticket, (ReportKind.PAUSED, CHECKPOINT))
    await executor.end(ticket, 0)
    await stopping
    assert executor.is_closed
    found = [await jobs.get(stage.db, job.id) for job in (saved, stuck)]
    assert [(job.state, job.error) for job in found] == [(State.PENDING, None)] * 2
    assert [job.checkpoint and job.checkpoint.as_json() for job in found] == [CHECKPOINT, None]


async def test_stop_does_not_wait_when_nothing_runs(open_stage, executor):
    stage = await open_stage(executor)
    async with asyncio.timeout(20):
        await stage.dispatcher.stop(60)
        await stage.dispatcher.stop(60)
    assert executor.is_closed


async def test_a_loop_that_fails_shows_its_error_and_recovers(open_stage, caplog):
    shown: list[str | None] = []

    class Faulty(FakeExecutor):
        @property
        def free_slots(self) -> int:
            shown.append(stage.dispatcher.error)
            if len(shown) == 1:
                raise RuntimeError("the cluster is away")
            return super().free_slots

    executor = Faulty()
    stage = await open_stage(executor)
    job = await stage.submit()
    assert (await arrival(executor)).task_id == job.id
    assert shown[:2] == [None, "RuntimeError: the cluster is away"]
    assert "Traceback" in caplog.text
    async with asyncio.timeout(20):
        while stage.dispatcher.error is not None:  # noqa: ASYNC110 (an attribute sets no event)
            await asyncio.sleep(0)


async def test_with_real_processes_crashes_end_in_poison_and_the_queue_goes_on(open_stage, tmp_path):
    local = LocalExecutor(Settings(data_dir=tmp_path, slots=2), command=STAND_IN)
    stage = await open_stage(local)
    submitted = [await stage.submit(name) for name in ("crash", "exit 3", *["done"] * 6)]
    ended = [await stage.until(job.id, State.FAILED) for job in submitted]
    assert [job.error.code for job in ended] == ["poison"] * 8
    assert "SIGKILL" in ended[0].error.message
    assert ended[1].error.log_tail[-1] == "line 99"
    codes = [[crash["code"] for crash in await stage.crashes(job.id)] for job in ended]
    assert codes == [["worker_died"] * 2] * 2 + [["worker_vanished"] * 2] * 6
    assert {job.attempt for job in ended} == {3}


async def test_handing_over_leaves_running_jobs_alone_and_returns_those_without_a_worker(open_stage):
    executor = FakeExecutor(slots=2)
    stage = await open_stage(executor)
    running = await stage.submit("running")
    await arrival(executor)
    executor.warm.clear()
    waiting = await stage.submit("waiting")
    await stage.until(waiting.id, State.RUNNING)
    await stage.dispatcher.hand_over()
    await stage.until(waiting.id, State.PENDING)
    assert (await jobs.get(stage.db, running.id)).state is State.RUNNING
    assert executor.is_closed
    assert executor.killed == [(waiting.id, 1)]
    await stage.dispatcher.stop(0)
    assert (await jobs.get(stage.db, running.id)).state is State.RUNNING


async def test_what_happens_to_an_attempt_after_it_was_handed_over_is_left_to_the_next_leader(open_stage, executor):
    stage = await open_stage(executor)
    job = await stage.submit()
    ticket = await arrival(executor)
    await stage.dispatcher.hand_over()
    await executor.end(ticket, 1)
    assert (await jobs.get(stage.db, job.id)).state is State.RUNNING


async def test_a_dispatcher_that_leads_no_longer_stops_itself_and_says_so_once(open_stage, executor, monkeypatch):
    stage = await open_stage(executor)
    deposed = []
    stage.dispatcher._on_deposed = lambda: deposed.append(True)

    async def refuse(*_, **options):
        raise NotLeader("this server led in term 1, and another one leads in term 2")

    monkeypatch.setattr("epochd.store.attempts.claim", refuse)
    job = await stage.submit()
    await asyncio.wait_for(stage.dispatcher._loop, 10)
    assert deposed == [True]
    assert "term 2" in stage.dispatcher.error
    assert (await jobs.get(stage.db, job.id)).state is State.PENDING


async def test_the_end_of_an_attempt_of_a_former_leader_is_not_recorded(open_stage, executor, monkeypatch):
    stage = await open_stage(executor)
    job = await stage.submit()
    ticket = await arrival(executor)

    async def refuse(*_, **options):
        raise NotLeader("another server leads")

    monkeypatch.setattr("epochd.store.attempts.crash_attempt", refuse)
    await executor.end(ticket, 1)
    assert (await jobs.get(stage.db, job.id)).state is State.RUNNING
    assert stage.dispatcher._running.own == {}


async def test_where_servers_share_a_database_the_machine_of_a_worker_is_noted(open_stage, marked):
    executor = FakeExecutor()
    executor.worker = marked().identity
    stage = await open_stage(executor, shared=True)
    job = await stage.submit()
    await arrival(executor)
    async with asyncio.timeout(10):
        while (worker := (await jobs.get(stage.db, job.id)).worker) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    assert worker.machine == processes.this_machine()
    assert WorkerIdentity.from_json(worker.as_json()) == worker
