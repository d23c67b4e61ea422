from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from epochd.core.job_values import WorkerIdentity
from epochd.core.jobs import Job
from epochd.core.settings import Settings
from epochd.dispatch.workers.executor import Executor
from epochd.store import attempts, jobs
from epochd.store.db import Database
from tests.support.executors import FakeExecutor
from tests.support.stage import SPEC, Marked, Open, Stage


@pytest.fixture
async def open_stage(tmp_path: Path, db: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Open]:
    """Stages whose loop wakes up by itself only every quarter of a lease, which is long unless asked for."""
    monkeypatch.setattr("epochd.dispatch.dispatcher.CHECK_SECONDS", 1000.0)
    stages: list[Stage] = []

    async def make(executor: Executor, lease_seconds: float = 3600, **options: Any) -> Stage:
        settings = Settings(data_dir=tmp_path, slots=2, lease_seconds=lease_seconds, **options)
        stages.append(Stage(db, executor, settings))
        await stages[-1].dispatcher.start()
        return stages[-1]

    yield make
    for stage in stages:
        await stage.dispatcher.stop(0)


@pytest.fixture
def executor() -> FakeExecutor:
    return FakeExecutor()


@pytest.fixture
def marked(tmp_path: Path) -> Iterator[Callable[..., Marked]]:
    """Starts processes that work for the test's data directory."""
    started: list[Marked] = []

    def start(*command: str) -> Marked:
        started.append(Marked(tmp_path, *command))
        return started[-1]

    yield start
    for process in started:
        process.end()


@pytest.fixture
def leave(db: Database) -> Callable[..., Awaitable[tuple[Job, str]]]:
    """A job that a previous server has left running, with this worker."""

    async def left(worker: WorkerIdentity | None, lease_seconds: float = 3600) -> tuple[Job, str]:
        await jobs.submit(db, SPEC)
        job, token = await attempts.claim(db, lease_seconds=lease_seconds)
        if worker is not None:
            await attempts.set_worker(db, job.id, job.attempt, worker)
        return job, token

    return left
