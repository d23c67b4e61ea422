"""A world in which jobs live twice: in a real database, and in a ``model``; and the comparison of the two.

What can happen in it is in ``test_state_machine``; here is who there is, and how they act and speak.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from hypothesis.stateful import RuleBasedStateMachine, invariant
from sqlalchemy import func, select

from epochd.core.errors import IllegalMove, StaleAttempt
from epochd.core.events import FINAL_TYPES, Event, Report, ReportKind
from epochd.core.job_values import Checkpoint, WorkerIdentity
from epochd.core.jobs import Command, Job
from epochd.core.specs import TrainingSpec
from epochd.store import attempts, events, jobs, tables
from epochd.store.db import Database
from tests.support.attempts import NOW, epoch
from tests.support.attempts import history as history_of
from tests.support.job_model import FINAL, FOLLOWS, LEASE, Task

Word = tuple[ReportKind, dict[str, Any]]


@dataclass
class Worker:
    """One attempt: the epochs that it has done, those that its server knows of, and all that it had answered."""

    id: str
    attempt: int
    token: str
    done: int
    told: int
    said: list[Report] = field(default_factory=list)


class World(RuleBasedStateMachine):
    """``now`` is the only clock: no two moves happen at the same time, and none waits."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.now = NOW
        self.tasks: dict[str, Task] = {}
        self.workers: list[Worker] = []
        self.heard: dict[str, list[Event]] = defaultdict(list)
        self.seen: dict[str, Job] = {}
        self.open()
        self.do(self.wipe())

    def do(self, work: Awaitable[Any]) -> Any:
        return self.loop.run_until_complete(work)

    def open(self) -> None:
        self.db = Database(self.url)
        self.do(self.db.open())
        self.db.listen(self.hear)

    def hear(self, batch: list[Event]) -> None:
        for event in batch:
            self.heard[event.task_id].append(event)

    async def wipe(self) -> None:
        async with self.db.write() as transaction:
            await transaction.connection.execute(tables.jobs.delete())

    def teardown(self) -> None:
        self.do(self.db.close())
        self.loop.close()

    # Who there is

    def waiting(self) -> list[Task]:
        return sorted((task for task in self.tasks.values() if task.state == "pending"), key=lambda task: task.queued)

    def final(self) -> list[Task]:
        return [task for task in self.tasks.values() if task.state in FINAL]

    def running(self) -> list[Worker]:
        return [worker for worker in self.workers if self.owns(worker)]

    def gone(self) -> list[Worker]:
        return [worker for worker in self.workers if not self.owns(worker)]

    def owns(self, worker: Worker) -> bool:
        task = self.tasks[worker.id]
        return task.state == "running" and task.attempt == worker.attempt

    def some(self, which: int, asked: str | None = None) -> tuple[Worker, Task]:
        """One that runs; where none does, the dispatcher and people see to it, so that few moves are idle."""
        if not self.running():
            paused = [task for task in self.tasks.values() if task.state == "paused"]
            if paused and not self.waiting():
                self.resume_one(one(paused, which), None)
            elif not self.waiting():
                self.submit(4, None)
            self.claim_next()
        worker = one(self.running(), which)
        task = self.tasks[worker.id]
        if asked:
            self.request(task, asked)
        return worker, task

    # How a worker speaks

    def send(self, worker: Worker, reports: list[Report], **other: Any) -> Command:
        """Report as this worker, or with ``other`` values than its own."""
        sender: dict[str, Any] = {"task_id": worker.id, "attempt": worker.attempt, "token": worker.token} | other
        report = attempts.report(self.db, **sender, received=reports, lease_seconds=LEASE, now=self.now)
        command: Command = self.do(report)
        return command

    def say(self, worker: Worker, *words: Word) -> None:
        """Say something new, in the real world and in the model."""
        task = self.tasks[worker.id]
        reports = numbered(worker, *words)
        answer = self.send(worker, reports, idle_seconds=1.0)
        worker.said += reports
        task.lease, task.progress = self.now + LEASE, self.now - 1.0
        for kind, payload in words:
            task.hear(kind, payload)
        assert answer == task.command

    def measured(self, number: int, loss: float) -> Word:
        payload = epoch(number, loss)
        payload["metrics"]["time_per_epoch"] = self.now
        return ReportKind.EPOCH, payload

    def untold(self, worker: Worker) -> list[Word]:
        """The epochs of its checkpoint that the log lacks: those of a parent, or ones that were rolled back."""
        epochs = range(worker.told + 1, worker.done + 1)
        worker.told = worker.done
        return [self.measured(number, 0.5) for number in epochs]

    def checkpoint(self, worker: Worker, step: int = 0) -> dict[str, Any]:
        path = f"checkpoints/{worker.id}/{worker.attempt:04d}-{len(worker.said):06d}"
        return {"path": path, "epoch": worker.done, "step": step, "bytes": 10}

    def is_stale(self, worker: Worker, reports: list[Report], **other: Any) -> None:
        with pytest.raises(StaleAttempt):
            self.send(worker, reports, **other)

    # How people and the dispatcher act

    def submit(self, epochs: int, parent: Task | None) -> None:
        async def provide(task_id: str) -> Checkpoint | None:
            return Checkpoint.from_json(parent.checkpoint) if parent and parent.checkpoint else None

        spec = TrainingSpec(target_column="target", epochs=epochs)
        former = self.do(jobs.get(self.db, parent.id)) if parent else None
        job = self.do(jobs.submit(self.db, spec, parent=former, provide_checkpoint=provide, now=self.now))
        self.tasks[job.id] = Task(job.id, epochs, queued=self.now)
        if parent:
            self.tasks[job.id].go_on_from(parent)

    def resume_one(self, task: Task, more: int | None) -> None:
        epochs = None if more is None else task.epochs + more
        changes = None if epochs is None else {"epochs": epochs}
        asked = jobs.resume(self.db, task.id, changes, now=self.now)
        self.ask(asked, task.resume(self.now, epochs))

    def request(self, task: Task, verb: str) -> None:
        self.ask(getattr(jobs, verb)(self.db, task.id, now=self.now), getattr(task, verb)())

    def ask(self, asked: Awaitable[Job], is_legal: bool) -> None:
        try:
            self.do(asked)
        except IllegalMove:
            assert not is_legal
        else:
            assert is_legal

    def claim_next(self, is_damaged: bool = False) -> None:
        """Claim what waited longest. The worker starts from the beginning if the checkpoint turns out damaged."""
        task = next(iter(self.waiting()), None)
        claimed = self.do(attempts.claim(self.db, lease_seconds=LEASE, now=self.now))
        if task is None:
            assert claimed is None
            return
        task.claim(self.now)
        task.worker = {"pid": 7, "created": self.now}
        assert (claimed[0].id, claimed[0].attempt) == (task.id, task.attempt)
        self.do(attempts.set_worker(self.db, task.id, task.attempt, WorkerIdentity.from_json(task.worker)))
        done = task.checkpoint["epoch"] if task.checkpoint and not is_damaged else 0
        self.workers.append(Worker(task.id, task.attempt, claimed[1], done, task.current))

    # What always holds

    @invariant()
    def all_is_as_it_has_to_be(self) -> None:
        """Every row after every move; of the logs those that belong to changed rows, and how long all are together."""
        found = {job.id: job for job in self.do(jobs.find(self.db, limit=1000))[0]}
        assert found.keys() == self.tasks.keys()
        for task in self.tasks.values():
            job, former = found[task.id], self.seen.get(task.id)
            self.compare(job, task)
            if job != former:
                assert former is None or not former.state.is_final
                self.check_log(job, task)
        assert self.do(self.count_events()) == sum(len(task.log) for task in self.tasks.values())
        held = [task for task in self.tasks.values() if (task.state, task.error) == ("paused", "disk_full")]
        assert {job.id for job in self.do(jobs.blocked(self.db, "disk_full"))} == {task.id for task in held}
        self.seen = found
        self.now += 0.01

    def compare(self, job: Job, task: Task) -> None:
        known, expected = known_of(job), expected_of(task)
        wrong = {name: (known[name], expected[name]) for name in known if known[name] != expected[name]}
        assert not wrong, f"task {job.id} (is, should be): {wrong}"

    def check_log(self, job: Job, task: Task) -> None:
        log, history = self.do(events.after(self.db, job.id, 0)), self.do(history_of(self.db, job.id))
        assert [name_of(event) for event in log] == task.log
        assert log == self.heard[job.id]
        assert history == list(task.history.values())
        check_rules(job, log, history)

    async def count_events(self) -> int | None:
        async with self.db.read() as connection:
            return await connection.scalar(select(func.count()).select_from(tables.events))


def check_rules(job: Job, log: list[Event], history: list[dict[str, Any]]) -> None:
    """What holds whatever the model says."""
    states = [name for name in map(name_of, log) if name in FOLLOWS]
    assert all(new in FOLLOWS[old] for old, new in pairwise(states))
    assert states[-1] == job.state
    assert [event.type in FINAL_TYPES for event in log] == [False] * (len(log) - 1) + [job.state.is_final]
    assert [event.seq for event in log] == list(range(1, job.last_seq + 1))
    assert [row["epoch"] for row in history] == list(range(1, job.current_epoch + 1))
    assert job.latest_metrics == (history[-1] if history else None)
    assert job.strikes <= min(job.crashes, 3)
    assert job.strikes < 3 or job.state.is_final
    assert job.warnings == []


def one(found: Any, which: int) -> Any:
    found = list(found)
    return found[which % len(found)]


def numbered(worker: Worker, *words: Word) -> list[Report]:
    return [Report(number, *word) for number, word in enumerate(words, len(worker.said) + 1)]


def name_of(event: Event) -> str:
    """By what the model calls an event."""
    if event.type != "state":
        return {"complete": "completed"}.get(event.type, event.type.value)
    return "started" if "started" in event.payload else event.payload["state"]


def known_of(job: Job) -> dict[str, Any]:
    """What the model predicts, as the database has it."""
    return {
        "state": job.state.value,
        "command": job.command.value,
        "attempt": job.attempt,
        "reported": job.reported,
        "lease": job.lease_until,
        "worker": job.worker and job.worker.as_json(),
        "progress": job.progress_at,
        "queued": job.queued_at,
        "current": job.current_epoch,
        "latest": job.latest_metrics,
        "best": job.best_metrics,
        "checkpoint": job.checkpoint and job.checkpoint.as_json(),
        "parent": job.parent,
        "epochs": job.training.epochs,
        "revisions": [revision.changes["epochs"] for revision in job.revisions],
        "crashes": job.crashes,
        "strikes": job.strikes,
        "preemptions": job.preemptions,
        "error": job.error_code,
        "has ended": job.finished_at is not None,
        "has an artifact": job.artifact is not None,
    }


def expected_of(task: Task) -> dict[str, Any]:
    ends = {"has ended": task.state in FINAL, "has an artifact": task.state == "completed"}
    return vars(task) | ends
