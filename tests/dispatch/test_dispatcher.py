import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from epochd.core.errors import EpochdError
from epochd.core.events import Event, Kind, Report
from epochd.core.jobs import Command, Job, State
from epochd.core.settings import Settings
from epochd.core.specs import TrainingSpec
from epochd.core.tickets import Ticket
from epochd.dispatch.dispatcher import Dispatcher
from epochd.dispatch.executor import Executor, Exit, OnExit
from epochd.dispatch.local import LocalExecutor
from epochd.store import jobs
from epochd.store.db import Database

STAND_IN = (sys.executable, str(Path(__file__).with_name("stand_in.py")))
CHECKPOINT = {"path": "checkpoints/task/1", "epoch": 1, "step": 0, "bytes": 1}


class HeldExecutor:
    """An executor whose workers do what the test says, and nothing else."""

    def __init__(self, slots: int = 1) -> None:
        self.slots = slots
        self.tickets: asyncio.Queue[Ticket] = asyncio.Queue()
        self.held: dict[str, Ticket] = {}
        self.killed: list[str] = []
        self.is_closed = False
        self.fault: Exception | None = None
        self.warm = asyncio.Event()
        self.warm.set()
        self._on_exit: OnExit

    async def start(self, on_exit: OnExit) -> None:
        self._on_exit = on_exit

    @property
    def free_slots(self) -> int:
        return self.slots - len(self.held)

    async def launch(self, ticket: Ticket) -> None:
        if self.fault is not None:
            raise self.fault
        self.held[ticket.task_id] = ticket
        await self.warm.wait()
        if self.held.get(ticket.task_id) is not ticket:
            raise EpochdError("turned away")
        self.tickets.put_nowait(ticket)

    async def end(self, ticket: Ticket, returncode: int, *log_tail: str) -> None:
        del self.held[ticket.task_id]
        await self._on_exit(Exit(ticket.task_id, ticket.attempt, returncode, list(log_tail)))

    async def kill(self, task_id: str) -> None:
        self.killed.append(task_id)
        if not self.warm.is_set():
            del self.held[task_id]
            self.warm.set()
        elif task_id in self.held:
            await self.end(self.held[task_id], -9)

    async def close(self) -> None:
        for ticket in list(self.held.values()):
            await self.end(ticket, -9)
        self.is_closed = True


class Stage:
    """A store, a dispatcher and an executor; and a way to wait for what they make of a job."""

    def __init__(self, db: Database, executor: Executor, settings: Settings) -> None:
        self.db, self.executor, self.settings = db, executor, settings
        self.dispatcher = Dispatcher(db, executor, settings, "http://127.0.0.1:9")
        self._changed = asyncio.Event()
        db.listen(self._on_events)

    def _on_events(self, events: list[Event]) -> None:
        self._changed.set()

    async def submit(self, name: str = "job") -> Job:
        return await jobs.submit(self.db, TrainingSpec(name=name, target_column="target", framework="pytorch"))

    async def until(self, task_id: str, state: State) -> Job:
        async with asyncio.timeout(20):
            while True:
                self._changed.clear()
                if (job := await jobs.get(self.db, task_id)).state is state:
                    return job
                await self._changed.wait()

    async def report(self, ticket: Ticket, *reports: tuple[Kind, dict[str, Any]], lease: float = 60) -> Command:
        numbered = [Report(number, *report) for number, report in enumerate(reports, 1)]
        return await jobs.report(self.db, ticket.task_id, ticket.attempt, ticket.token, numbered, lease_seconds=lease)


async def arrival(executor: HeldExecutor) -> Ticket:
    async with asyncio.timeout(20):
        return await executor.tickets.get()


Open = Callable[..., Awaitable[Stage]]


@pytest.fixture
async def open_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Open]:
    """Stages whose loop wakes up by itself only every quarter of a lease, which is long unless asked for."""
    monkeypatch.setattr("epochd.dispatch.dispatcher.WATCH_SECONDS", 1000.0)
    db = Database(f"sqlite:///{tmp_path / 'epochd.db'}")
    await db.open()
    stages: list[Stage] = []

    async def make(executor: Executor, lease_seconds: float = 3600) -> Stage:
        settings = Settings(data_dir=tmp_path, slots=2, lease_seconds=lease_seconds)
        stages.append(Stage(db, executor, settings))
        await stages[-1].dispatcher.start()
        return stages[-1]

    yield make
    for stage in stages:
        await stage.dispatcher.stop(0)
    await db.close()


@pytest.fixture
def executor() -> HeldExecutor:
    return HeldExecutor()


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
    await executor.end(ticket, 0)
    assert (await arrival(executor)).task_id == second.id


async def test_a_good_end_is_left_as_the_worker_reported_it(open_stage, executor):
    stage = await open_stage(executor)
    job = await stage.submit()
    ticket = await arrival(executor)
    done = {"artifact": "a", "best": {"loss": 0.5}, "stopped_early": False, "summary": {}}
    await stage.report(ticket, (Kind.COMPLETED, done))
    await executor.end(ticket, 0)
    assert (await jobs.get(stage.db, job.id)).state is State.COMPLETED


@pytest.mark.parametrize(
    ("returncode", "code", "words"),
    [
        (-9, "worker_died", "killed by signal SIGKILL; the system may have run out of memory"),
        (-11, "worker_died", "killed by signal SIGSEGV"),
        (-35, "worker_died", "killed by signal 35"),
        (3, "worker_died", "exited with code 3"),
        (0, "worker_vanished", "without saying how the training went"),
    ],
)
async def test_a_worker_that_ends_without_a_last_word_fails_its_job(open_stage, executor, returncode, code, words):
    stage = await open_stage(executor)
    job = await stage.submit()
    await executor.end(await arrival(executor), returncode, "last", "words")
    failed = await stage.until(job.id, State.FAILED)
    assert failed.error["code"] == code
    assert words in failed.error["message"]
    assert failed.error["log_tail"] == ["last", "words"]


async def test_a_resumed_job_gets_its_checkpoint_even_before_its_old_process_is_through(open_stage):
    executor = HeldExecutor(slots=2)
    stage = await open_stage(executor)
    job = await stage.submit()
    first = await arrival(executor)
    await jobs.pause(stage.db, job.id)
    await stage.report(first, (Kind.PAUSED, CHECKPOINT))
    await jobs.resume(stage.db, job.id)
    second = await arrival(executor)
    await executor._on_exit(Exit(job.id, 1, 0, []))
    assert (second.attempt, second.checkpoint) == (2, CHECKPOINT["path"])
    await executor.end(second, 3)
    assert (await stage.until(job.id, State.FAILED)).error["code"] == "worker_died"


async def test_a_launch_that_fails_fails_the_job_with_the_reason(open_stage, executor):
    stage = await open_stage(executor)
    executor.fault = EpochdError("no pytorch worker can be started")
    job = await stage.submit()
    failed = await stage.until(job.id, State.FAILED)
    assert failed.error["code"] == "worker_unavailable"
    assert "no pytorch worker can be started" in failed.error["message"]


async def test_a_silent_worker_is_killed_and_its_job_says_so(open_stage, executor):
    stage = await open_stage(executor, lease_seconds=1)
    job = await stage.submit()
    await arrival(executor)
    failed = await stage.until(job.id, State.FAILED)
    assert failed.error["code"] == "worker_silent"
    assert executor.killed == [job.id]


async def test_a_worker_that_reports_but_does_not_heed_its_cancellation_is_killed(open_stage, executor):
    stage = await open_stage(executor, lease_seconds=1)
    job = await stage.submit()
    await stage.report(await arrival(executor), lease=60)
    await jobs.stop(stage.db, job.id)
    await stage.until(job.id, State.CANCELLED)
    assert executor.killed == [job.id]


@pytest.mark.parametrize(("ask", "state"), [(jobs.stop, State.CANCELLED), (jobs.pause, State.PAUSED)])
async def test_a_job_whose_worker_warms_up_for_long_keeps_its_lease_and_heeds_commands(
    open_stage, executor, ask, state
):
    executor.warm.clear()
    stage = await open_stage(executor, lease_seconds=1)
    job = await stage.submit()
    claimed = await stage.until(job.id, State.RUNNING)
    await asyncio.wait({asyncio.create_task(executor.warm.wait())}, timeout=1.5)
    renewed = await jobs.get(stage.db, job.id)
    assert renewed.state is State.RUNNING
    assert renewed.lease_until > claimed.lease_until
    await ask(stage.db, job.id)
    assert (await stage.until(job.id, state)).error is None
    assert executor.tickets.empty()


async def test_a_job_left_by_a_former_server_keeps_a_slot_until_its_lease_runs_out(open_stage, tmp_path):
    former = Database(f"sqlite:///{tmp_path / 'epochd.db'}")
    await former.open()
    left = await jobs.submit(former, TrainingSpec(target_column="target", framework="pytorch"))
    await jobs.claim(former, lease_seconds=0.5)
    await former.close()
    executor = HeldExecutor(slots=1)
    stage = await open_stage(executor, lease_seconds=1)
    await stage.submit("waits behind")
    assert executor.tickets.empty()
    ticket = await arrival(executor)
    assert (ticket.task_id, ticket.attempt) == (left.id, 2)


async def test_stop_lets_workers_save_their_work_and_leaves_their_jobs_pending(open_stage):
    executor = HeldExecutor(slots=2)
    stage = await open_stage(executor)
    saved, stuck = await stage.submit("saved"), await stage.submit("stuck")
    ticket = await arrival(executor)
    stopping = asyncio.create_task(stage.dispatcher.stop(0.3))
    while await stage.report(ticket) is not Command.RELEASE:
        await asyncio.wait({stopping}, timeout=0.01)
    await stage.report(ticket, (Kind.PAUSED, CHECKPOINT))
    await executor.end(ticket, 0)
    await stopping
    assert executor.is_closed
    found = [await jobs.get(stage.db, job.id) for job in (saved, stuck)]
    assert [(job.state, job.error) for job in found] == [(State.PENDING, None)] * 2
    assert [job.checkpoint for job in found] == [CHECKPOINT, None]


async def test_stop_does_not_wait_when_nothing_runs(open_stage, executor):
    stage = await open_stage(executor)
    async with asyncio.timeout(1):
        await stage.dispatcher.stop(60)
        await stage.dispatcher.stop(60)
    assert executor.is_closed


async def test_a_loop_that_fails_shows_its_error_and_recovers(open_stage, caplog):
    shown: list[str | None] = []

    class Faulty(HeldExecutor):
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


async def test_with_real_processes_a_crash_is_one_jobs_failure_and_the_queue_goes_on(open_stage, tmp_path):
    local = LocalExecutor(Settings(data_dir=tmp_path, slots=2), command=STAND_IN)
    stage = await open_stage(local)
    submitted = [await stage.submit(name) for name in ("crash", "exit 3", *["done"] * 18)]
    ended = [await stage.until(job.id, State.FAILED) for job in submitted]
    assert [job.error["code"] for job in ended] == ["worker_died"] * 2 + ["worker_vanished"] * 18
    assert "SIGKILL" in ended[0].error["message"]
    assert ended[1].error["log_tail"][-1] == "line 99"
    assert {job.attempt for job in ended} == {1}
