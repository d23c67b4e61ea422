"""What a job may hang in, on a clock that stands still unless the test moves it."""

import asyncio
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from epochd.core.events import Report, ReportKind, Type
from epochd.core.job_values import JobError
from epochd.core.jobs import Command, State
from epochd.core.settings import Settings
from epochd.core.tickets import Ticket
from epochd.dispatch import outcomes
from epochd.dispatch.inherited_workers import InheritedWorkers
from epochd.dispatch.nodes import Node
from epochd.dispatch.running_attempts import Attempt, RunningAttempts
from epochd.dispatch.watchdog import Watchdog
from epochd.store import attempts, events, jobs
from epochd.store.db import Database
from tests.support import tickets
from tests.support.executors import FakeExecutor
from tests.support.stage import SPEC, arrival, until

LEASE = 4.0
HOUR = 3600.0


class Clock:
    """The time of day, which can be set, and the time that passes, which cannot."""

    def __init__(self) -> None:
        self.day, self.passed = 1_800_000_000.0, 1000.0

    def wait(self, seconds: float) -> None:
        self.day += seconds
        self.passed += seconds

    def set(self, seconds: float) -> None:
        self.day += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    shown = SimpleNamespace(time=lambda: clock.day, monotonic=lambda: clock.passed)
    for room in ("store.rows", "dispatch.watchdog", "dispatch.inherited_workers"):
        monkeypatch.setattr(f"epochd.{room}.time", shown)
    return clock


@dataclass
class Post:
    """A watch over one job that this server has started."""

    db: Database
    executor: FakeExecutor
    clock: Clock
    running: RunningAttempts
    watchdog: Watchdog
    ticket: Ticket

    async def check(self) -> State:
        await self.watchdog.check()
        return (await jobs.get(self.db, self.ticket.task_id)).state

    async def report(self, *kinds: ReportKind, idle: float | None = None) -> Command:
        ticket, reports = self.ticket, [Report(number, kind, {}) for number, kind in enumerate(kinds, 1)]
        return await attempts.report(
            self.db, ticket.task_id, 1, ticket.token, reports, lease_seconds=LEASE, idle_seconds=idle
        )

    async def warnings(self) -> list[str]:
        told = [event for event in await events.after(self.db, self.ticket.task_id, 0) if event.type is Type.LOG]
        return [event.payload["message"] for event in told if event.payload["level"] == "warning"]


@pytest.fixture
async def post(db, clock, executor, tmp_path) -> Post:
    settings = Settings(data_dir=tmp_path, lease_seconds=LEASE, hang_seconds=60)
    job = await jobs.submit(db, SPEC)
    job, token = await attempts.claim(db, lease_seconds=LEASE)
    ticket = tickets.ticket(tmp_path, task_id=job.id, token=token, spec=SPEC)
    running = RunningAttempts(executor, InheritedWorkers(db, settings))
    running.own[ticket.key] = Attempt(ticket.key, [Node(executor)], ticket)

    async def on_exit(end):
        outcome = running.own.pop((end.task_id, end.attempt)).outcome or outcomes.of_exit(end.returncode)
        await attempts.crash_attempt(db, end.task_id, end.attempt, JobError(outcome.code, outcome.message))

    async def conclude(attempt):
        raise AssertionError("all its nodes are known")

    await executor.start(on_exit)
    await executor.launch(ticket)
    return Post(db, executor, clock, running, Watchdog(db, settings, running, conclude), ticket)


async def test_a_worker_that_falls_silent_is_killed_and_its_job_goes_on(post):
    post.clock.wait(LEASE + 0.1)
    assert await post.check() is State.RUNNING, "a single look may deceive"
    post.clock.wait(2)
    assert await post.check() is State.PENDING
    assert post.executor.killed == [post.ticket.key]
    assert (await jobs.get(post.db, post.ticket.task_id)).crashes == 1


async def test_a_worker_that_reports_late_but_before_the_second_look_is_left_alone(post):
    for _ in range(5):
        post.clock.wait(LEASE + 0.1)
        await post.check()
        post.clock.wait(1)
        await post.report()
        post.clock.wait(1)
        assert await post.check() is State.RUNNING
    assert post.executor.killed == []


async def test_a_clock_that_jumps_ahead_kills_no_worker_that_reports(post):
    await post.report()
    post.clock.set(HOUR)
    for _ in range(10):
        assert await post.check() is State.RUNNING
        post.clock.wait(0.2)
        await post.report()
    assert post.executor.killed == []


async def test_a_clock_that_is_set_back_keeps_no_dead_worker_for_ever(post):
    await post.report()
    post.clock.set(-HOUR)
    states = []
    for _ in range(8):
        states.append(await post.check())
        post.clock.wait(1)
    assert states[:4] == [State.RUNNING] * 4
    assert states[-1] is State.PENDING


async def test_a_cancellation_that_is_ignored_for_a_lease_is_enforced(post):
    await jobs.stop(post.db, post.ticket.task_id)
    for _ in range(4):
        assert await post.check() is State.RUNNING
        post.clock.wait(LEASE / 4 + 0.1)
        assert await post.report() is Command.CANCEL
    assert await post.check() is State.CANCELLED
    assert post.executor.killed == [post.ticket.key]


async def test_a_worker_that_does_not_exit_after_its_final_report_keeps_its_slot_for_a_lease(post, caplog):
    await jobs.stop(post.db, post.ticket.task_id)
    await post.report(ReportKind.CANCELLED)
    for wait in (0, LEASE):
        post.clock.wait(wait)
        assert await post.check() is State.CANCELLED
        assert post.executor.killed == []
    post.clock.wait(0.1)
    assert await post.check() is State.CANCELLED
    assert post.executor.killed == [post.ticket.key]
    assert post.running.own == {}
    assert "did not exit after attempt 1 had finished" in caplog.text


async def test_only_the_worker_that_lingers_is_killed_not_the_one_that_has_its_task_now(open_stage):
    executor = FakeExecutor(slots=2)
    stage = await open_stage(executor, lease_seconds=1)
    job = await stage.submit()
    first = await arrival(executor)
    await stage.pause(first)
    await jobs.resume(stage.db, job.id)
    second = await arrival(executor)
    await stage.report(second)
    await until(lambda: first.key not in executor.running)
    assert executor.killed == [first.key]
    assert executor.running == {second.key: second}
    found = await jobs.get(stage.db, job.id)
    assert (found.state, found.attempt, found.crashes) == (State.RUNNING, 2, 0)


async def test_a_training_that_gets_nowhere_says_so_once_for_each_hang(post):
    for idle in (1, 59, 61, 64, 67, 1, 61, 64):
        post.clock.wait(LEASE / 2)
        await post.report(idle=idle)
        assert await post.check() is State.RUNNING
    told = await post.warnings()
    assert len(told) == 2
    assert "no step has completed for 61 s" in told[0]


async def test_a_training_that_has_not_begun_or_is_silent_does_not_hang(post):
    await post.report()
    post.clock.wait(100)
    await post.report()
    await post.check()
    await post.report(idle=99)
    post.clock.wait(LEASE + 1)
    await post.check()
    assert await post.warnings() == []


async def test_a_resumed_training_does_not_hang_because_it_was_paused(post):
    await post.report(idle=0)
    await attempts.release_attempt(post.db, post.ticket.task_id, 1, reason="a test")
    post.clock.wait(HOUR)
    await attempts.claim(post.db, lease_seconds=LEASE)
    await post.check()
    assert await post.warnings() == []


async def test_a_silent_worker_is_killed_by_the_running_dispatcher_too(open_stage):
    class Busy(FakeExecutor):
        """The next attempt waits for its worker, and its lease is renewed meanwhile."""

        async def kill(self, key):
            self.warm.clear()
            await super().kill(key)

    executor = Busy()
    stage = await open_stage(executor, lease_seconds=1)
    job = await stage.submit()
    await arrival(executor)
    await until(lambda: (job.id, 2) in executor._waiting)
    assert [crash["code"] for crash in await stage.crashes(job.id)] == ["worker_silent"]
    assert set(executor.killed) == {(job.id, 1)}
    executor.warm.set()
    assert (await arrival(executor)).attempt == 2


@pytest.mark.parametrize(("ask", "state"), [(jobs.stop, State.CANCELLED), (jobs.pause, State.PAUSED)])
async def test_a_job_whose_worker_warms_up_for_long_keeps_its_lease_and_obeys_commands(
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
    ended = await stage.until(job.id, state)
    assert (ended.error, ended.preemptions) == (None, 0)
    last = (await events.after(stage.db, job.id, 0))[-1]
    assert last.payload.get("reason", "no worker had started it") == "no worker had started it"
    assert executor.tickets.empty()
