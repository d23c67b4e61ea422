"""Jobs in any order of moves: what people ask, what workers say, and every accident, against a model in plain Python.

Hypothesis draws the moves; after each one the whole database has to be what the ``model`` says. A failure prints the
shortest list of moves that it could find, and how to play it again.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule, run_state_machine_as_test

from epochd.core.errors import IllegalMove, InvalidSpec
from epochd.core.events import ReportKind
from epochd.core.job_values import JobError
from epochd.store import attempts, jobs
from tests.support.attempts import COMPLETED, FAILED, STARTED
from tests.support.job_model import FINAL, LEASE
from tests.support.job_walks import World, numbered, one

ANY = st.integers(0, 60)
"""Which one of a list, counted round."""
LOSS = st.sampled_from([0.5, 0.5, 0.25])
ASKED = st.sampled_from([None, None, "pause", "stop"])
"""What somebody asks of a running job just before the thing happens."""
DIED = {"error": JobError("worker_died", "the worker was killed by signal SIGKILL", log_tail=[])}
FULL = {"code": "disk_full", "message": "no room", "problems": [], "needed_bytes": 10**9}
EXAMPLES = {"sqlite": 25, "postgresql": 8}
"""How many lists of moves are played on each store."""


class Jobs(World):
    """The moves; each tells the model what it does to the database."""

    # People

    @initialize(epochs=st.integers(1, 6))
    def begin(self, epochs: int) -> None:
        self.submit(epochs, None)

    @rule(epochs=st.integers(1, 6))
    def start(self, epochs: int) -> None:
        self.submit(epochs, None)

    @precondition(lambda self: self.final())
    @rule(which=ANY, more=st.integers(0, 2))
    def retry(self, which: int, more: int) -> None:
        parent = one(self.final(), which)
        self.submit(parent.epochs + more, parent)

    @rule(which=ANY, verb=st.sampled_from(["pause", "stop"]))
    def interrupt(self, which: int, verb: str) -> None:
        self.request(one(self.tasks.values(), which), verb)

    @rule(which=ANY, more=st.sampled_from([None, 0, 1, 2]))
    def resume(self, which: int, more: int | None) -> None:
        self.resume_one(one(self.tasks.values(), which), more)

    @rule(which=ANY, change=st.sampled_from([{"epochs": 0}, {"batch_size": 8}, {"learning_rate": -1.0}]))
    def resume_with_what_cannot_be(self, which: int, change: dict[str, Any]) -> None:
        task = one(self.tasks.values(), which)
        with pytest.raises(InvalidSpec if task.state == "paused" else IllegalMove):
            self.do(jobs.resume(self.db, task.id, change, now=self.now))

    @precondition(lambda self: len(self.tasks) > 1)
    @rule(which=ANY)
    def remove(self, which: int) -> None:
        """What has ended goes, with its log; its workers find nobody who listens."""
        task = one(self.final() or self.tasks.values(), which)
        self.ask(jobs.remove(self.db, task.id), task.state in FINAL)
        if task.state in FINAL:
            del self.tasks[task.id]
            for worker in [worker for worker in self.workers if worker.id == task.id]:
                self.is_stale(worker, worker.said)
                self.workers.remove(worker)

    # The dispatcher

    @rule(is_damaged=st.sampled_from([False, False, False, True]))
    def claim(self, is_damaged: bool) -> None:
        self.claim_next(is_damaged)

    @rule(which=ANY, asked=ASKED, times=st.sampled_from([1, 1, 3]))
    def crash(self, which: int, asked: str | None, times: int) -> None:
        for _ in range(times):
            worker, task = self.some(which, asked)
            assert self.do(attempts.crash_attempt(self.db, worker.id, worker.attempt, **DIED, now=self.now))
            task.crash()

    @rule(which=ANY, asked=ASKED)
    def release(self, which: int, asked: str | None) -> None:
        worker, task = self.some(which, asked)
        assert self.do(attempts.release_attempt(self.db, worker.id, worker.attempt, reason="restart", now=self.now))
        task.release()

    @rule(is_killed=st.booleans())
    def restart_the_server(self, is_killed: bool) -> None:
        if not is_killed:
            self.ask_release()
        self.do(self.db.close())
        self.open()

    def ask_release(self) -> None:
        asked = [task for task in self.tasks.values() if (task.state, task.command) == ("running", "continue")]
        assert set(self.do(attempts.request_release(self.db))) == {task.id for task in asked}
        for task in asked:
            task.command = "release"

    @rule(seconds=st.sampled_from([1, 6, 16]))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def set_the_clock_back(self) -> None:
        self.now -= 40.0003
        self.do(attempts.shorten_leases(self.db, LEASE, now=self.now))
        for worker in self.running():
            task = self.tasks[worker.id]
            task.lease = min(task.lease, self.now + LEASE)

    @rule(which=ANY)
    def readmit(self, which: int) -> None:
        task = one(self.tasks.values(), which)
        assert self.do(jobs.unblock(self.db, task.id, "disk_full", "room again", now=self.now)) is task.readmit()

    @rule(strangers=st.booleans())
    def take_back_what_is_silent(self, strangers: bool) -> None:
        silent = {worker.id for worker in self.running() if self.tasks[worker.id].lease < self.now}
        assert {job.id for job in self.do(attempts.expired(self.db, now=self.now))} == silent
        for worker in self.running():
            end, how = (attempts.release_attempt, {"reason": "lost"}) if strangers else (attempts.crash_attempt, DIED)
            ended = self.do(end(self.db, worker.id, worker.attempt, **how, only_expired=True, now=self.now))
            assert ended is (worker.id in silent)
            if ended:
                task = self.tasks[worker.id]
                task.release() if strangers else task.crash()

    # Workers that own their jobs

    @rule(which=ANY, idle=st.sampled_from([None, 4.0]), has_begun=st.booleans())
    def live(self, which: int, idle: float | None, has_begun: bool) -> None:
        worker, task = self.some(which)
        if has_begun:
            log = (ReportKind.LOG, {"level": "info", "message": "on"})
            self.say(worker, (ReportKind.STARTED, STARTED), log, (ReportKind.CHECKPOINT, self.checkpoint(worker)))
        assert self.send(worker, [], idle_seconds=idle) == task.command
        task.beat(self.now, idle)

    @rule(which=ANY, losses=st.lists(LOSS, min_size=1, max_size=3), step=st.sampled_from([None, 0, 1]))
    def train(self, which: int, losses: list[float], step: int | None) -> None:
        """Some epochs, told together; after a crash they may have been told before, with the same loss or another."""
        worker, task = self.some(which)
        words = self.untold(worker)
        for loss in losses[: task.epochs - worker.done]:
            worker.done += 1
            words.append(self.measured(worker.done, loss))
        if step is not None or not words:
            words.append((ReportKind.CHECKPOINT, self.checkpoint(worker, step or 0)))
        self.say(worker, *words)

    @rule(which=ANY, losses=st.lists(LOSS, min_size=1, max_size=3), step=st.sampled_from([None, 0, 1]))
    def train_and_crash(self, which: int, losses: list[float], step: int | None) -> None:
        self.train(which, losses, step)
        self.crash(which, None, 1)

    @rule(which=ANY, back=st.integers(0, 3), loss=LOSS, goes_on=st.booleans())
    def roll_back(self, which: int, back: int, loss: float, goes_on: bool) -> None:
        worker, task = self.some(which)
        if not worker.done:
            self.train(which, [loss, loss], None)
        words = self.untold(worker)
        worker.done = max(0, worker.done - back)
        words.append((ReportKind.ROLLBACK, {"epoch": worker.done, "learning_rate": 0.0001, "message": "diverged"}))
        if goes_on and worker.done < task.epochs:
            worker.done += 1
            words.append(self.measured(worker.done, loss))
        self.say(worker, *words)

    @rule(which=ANY, asked=ASKED, has_begun=st.booleans(), knows=st.booleans())
    def obey(self, which: int, asked: str | None, has_begun: bool, knows: bool) -> None:
        """The last word to a command, or to a SIGTERM while there is none; it may not have heard of the newest one."""
        worker, task = self.some(which, asked)
        if task.command == "cancel" and knows:
            self.say(worker, (ReportKind.CANCELLED, {}))
        elif has_begun:
            self.say(worker, *self.untold(worker), (ReportKind.PAUSED, self.checkpoint(worker)))
        else:
            self.say(worker, (ReportKind.PAUSED, {}))

    @rule(which=ANY, asked=ASKED, then=ASKED)
    def find_the_disk_full(self, which: int, asked: str | None, then: str | None) -> None:
        worker, task = self.some(which, asked)
        self.say(worker, (ReportKind.HELD, FULL))
        if then:
            self.request(task, then)

    @rule(which=ANY, asked=ASKED, how=st.sampled_from(["completed", "failed", "out_of_memory"]))
    def end(self, which: int, asked: str | None, how: str) -> None:
        worker, task = self.some(which, asked)
        if how == "out_of_memory":  # said by the dispatcher, which will not see it happen again
            error = JobError(how, "killed at its limit", log_tail=[])
            assert self.do(attempts.fail_attempt(self.db, worker.id, worker.attempt, error, now=self.now))
            task.die(how)
        else:
            self.say(worker, (ReportKind(how), COMPLETED if how == "completed" else FAILED))

    # Workers that repeat themselves, come too late, or speak out of turn

    @precondition(lambda self: any(worker.said for worker in self.workers))
    @rule(which=ANY, last=st.integers(1, 4))
    def repeat(self, which: int, last: int) -> None:
        """An answer was lost. The newest attempt hears it again, even after its job's end; others are stale."""
        worker = one([worker for worker in self.workers if worker.said], which)
        task = self.tasks[worker.id]
        if task.attempt == worker.attempt:
            task.lease = self.now + LEASE if task.state == "running" else None
            assert self.send(worker, worker.said[-last:]) == task.command
        else:
            self.is_stale(worker, worker.said[-last:])

    @precondition(lambda self: self.gone())
    @rule(which=ANY, again=st.booleans())
    def come_late(self, which: int, again: bool) -> None:
        worker = one(self.gone(), which)
        known = worker.said if again else []
        self.is_stale(worker, known + numbered(worker, self.measured(1, 0.125)))
        self.is_stale(worker, numbered(worker, (ReportKind.COMPLETED, COMPLETED)))
        self.is_stale(worker, [])
        if self.tasks[worker.id].attempt != worker.attempt:
            self.is_stale(worker, [], attempt=self.tasks[worker.id].attempt)
        for end, how in ((attempts.crash_attempt, DIED), (attempts.release_attempt, {"reason": "late"})):
            assert not self.do(end(self.db, worker.id, worker.attempt, **how, now=self.now))

    @rule(which=ANY)
    def speak_out_of_turn(self, which: int) -> None:
        worker, _ = self.some(which)
        self.is_stale(worker, [], token="guess")
        self.is_stale(worker, [], attempt=worker.attempt + 1)
        report, after = numbered(worker, (ReportKind.COMPLETED, COMPLETED), self.measured(worker.done + 1, 0.5))
        for batch in ([after], [report, after]):
            with pytest.raises(IllegalMove):
                self.send(worker, batch)


@pytest.fixture(params=EXAMPLES)
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> type[Jobs]:
    """Jobs on one of the two stores; each run of moves finds its one database empty."""
    url = f"sqlite:///{tmp_path / 'epochd.db'}"
    if request.param == "postgresql":
        new_postgres: Callable[[], str] = request.getfixturevalue("new_postgres")
        url = new_postgres()
    return type("Jobs", (Jobs,), {"url": url, "examples": EXAMPLES[request.param]})


@pytest.mark.timeout(420)  # Hypothesis looks for a shorter list of moves for up to five minutes
def test_no_order_of_moves_loses_a_job_or_brings_it_where_it_must_not_be(machine: type[Jobs]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=machine.examples,
            stateful_step_count=30,
            deadline=None,
            derandomize=False,
            phases=(Phase.generate, Phase.shrink),
            print_blob=True,
            database=None,
        ),
    )
