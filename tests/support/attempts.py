"""A worker as the store sees it: someone who numbers reports and shows a token."""

import json
from typing import Any

from epochd.core.events import Event, Report, ReportKind
from epochd.core.jobs import Command, Job, State
from epochd.core.specs import TrainingSpec
from epochd.store import attempts, events, jobs
from epochd.store.db import Database

SPEC = TrainingSpec(target_column="target", epochs=3)
NOW = 1_800_000_000.0
LEASE = 15.0
CHECKPOINT = {"path": "checkpoints/x/1", "epoch": 1, "step": 0, "bytes": 10}
STARTED = {"framework": "pytorch", "task": "binary", "resumed": None}
COMPLETED = {
    "artifact": "models/x",
    "best": {"loss": 0.5, "accuracy": 0.9, "epoch": 2},
    "stopped_early": False,
    "summary": {"seconds": 1.5},
}
FAILED = {"code": "data_error", "message": "no rows", "problems": []}
LAST_WORDS: dict[State, tuple[ReportKind, dict[str, Any]]] = {
    State.PAUSED: (ReportKind.PAUSED, CHECKPOINT),
    State.CANCELLED: (ReportKind.CANCELLED, {}),
    State.COMPLETED: (ReportKind.COMPLETED, COMPLETED),
    State.FAILED: (ReportKind.FAILED, FAILED),
}


class Attempt:
    """One claimed attempt; what it says is numbered from 1."""

    def __init__(self, db: Database, job: Job, token: str) -> None:
        self.db, self.id, self.number, self.token = db, job.id, job.attempt, token
        self.said = 0

    def next(self, kind: ReportKind, payload: dict[str, Any]) -> Report:
        self.said += 1
        return Report(self.said, kind, payload)

    async def send(self, *reports: Report, token: str | None = None, now: float = NOW) -> Command:
        return await attempts.report(
            self.db, self.id, self.number, token or self.token, reports, lease_seconds=LEASE, now=now
        )

    async def say(self, kind: ReportKind, payload: dict[str, Any], now: float = NOW) -> Command:
        return await self.send(self.next(kind, payload), now=now)

    async def job(self) -> Job:
        return await jobs.get(self.db, self.id)

    async def log(self) -> list[Event]:
        return await events.after(self.db, self.id, 0)


def epoch(number: int, loss: float = 0.5) -> dict[str, Any]:
    return {"metrics": {"epoch": number, "train_loss": loss}, "best": {"loss": loss, "epoch": number}}


async def started(db: Database, spec: TrainingSpec = SPEC) -> Attempt:
    """Submit a job and claim the oldest one."""
    await jobs.submit(db, spec, now=NOW)
    return await claimed(db)


async def claimed(db: Database, now: float = NOW) -> Attempt:
    claim = await attempts.claim(db, lease_seconds=LEASE, now=now)
    assert claim is not None
    return Attempt(db, *claim)


async def in_state(db: Database, state: State) -> Attempt | Job:
    """A job brought to a state by the road that jobs take."""
    if state is State.PENDING:
        return await jobs.submit(db, SPEC, now=NOW)
    attempt = await started(db)
    if state is State.PAUSED:
        await jobs.pause(db, attempt.id)
    if state in LAST_WORDS:
        await attempt.say(*LAST_WORDS[state])
    return attempt


async def history(db: Database, task_id: str) -> list[dict[str, Any]]:
    """The metrics of a job, one row per epoch."""
    job = await jobs.get(db, task_id)
    return [json.loads(row) async for page in events.history(db, job) for row in page]
