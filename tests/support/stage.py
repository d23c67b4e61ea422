"""A dispatcher on a stage: a real store, and an executor whose workers do what the test says."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from epochd.core.events import Event, Report, ReportKind, Type
from epochd.core.job_values import WorkerIdentity
from epochd.core.jobs import Command, Job, State
from epochd.core.settings import Settings
from epochd.core.specs import TrainingSpec
from epochd.core.tickets import AttemptTicket
from epochd.dispatch.dispatcher import Dispatcher
from epochd.dispatch.host import processes
from epochd.dispatch.workers.executor import Executor
from epochd.store import attempts, events, jobs
from epochd.store.db import Database
from tests.support.executors import FakeExecutor

STAND_IN = (sys.executable, str(Path(__file__).with_name("stand_in.py")))
SPEC = TrainingSpec(name="job", target_column="target", framework="pytorch")
CHECKPOINT = {"path": "checkpoints/task/1", "epoch": 1, "step": 0, "bytes": 1}


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
        return await jobs.submit(self.db, SPEC.model_copy(update={"name": name}))

    async def until(self, task_id: str, state: State) -> Job:
        async with asyncio.timeout(20):
            while True:
                self._changed.clear()
                if (job := await jobs.get(self.db, task_id)).state is state:
                    return job
                await self._changed.wait()

    async def report(
        self, ticket: AttemptTicket, *reports: tuple[ReportKind, dict[str, Any]], lease: float = 60
    ) -> Command:
        numbered = [Report(number, *report) for number, report in enumerate(reports, 1)]
        return await attempts.report(
            self.db, ticket.task_id, ticket.attempt, ticket.token, numbered, lease_seconds=lease
        )

    async def pause(self, ticket: AttemptTicket) -> None:
        """Request a pause, and answer it as its worker with a checkpoint."""
        await jobs.pause(self.db, ticket.task_id)
        await self.report(ticket, (ReportKind.PAUSED, CHECKPOINT))

    async def crashes(self, task_id: str) -> list[dict[str, Any]]:
        """The crashes in the log of a job."""
        told = [event.payload for event in await events.after(self.db, task_id, 0) if event.type is Type.STATE]
        return [payload["crash"] for payload in told if "crash" in payload]


Open = Callable[..., Awaitable[Stage]]


async def arrival(executor: FakeExecutor) -> AttemptTicket:
    async with asyncio.timeout(20):
        return await executor.tickets.get()


async def until(look: Callable[[], object]) -> object:
    """Look at the outside world until there is something to see."""
    async with asyncio.timeout(20):
        while not (seen := look()):  # noqa: ASYNC110 (other processes set no events)
            await asyncio.sleep(0.005)
    return seen


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Marked:
    """A process that works for a data directory, and leads a group of its own."""

    def __init__(self, data_dir: Path, *command: str) -> None:
        env = os.environ | {processes.MARK: processes.mark_of(data_dir)}
        self.child = subprocess.Popen(
            command or ("sleep", "1000"), env=env, start_new_session=True, stdout=subprocess.PIPE, text=True
        )
        self.pid = self.child.pid
        while processes.MARK not in psutil.Process(self.pid).environ():
            time.sleep(0.001)  # the kernel shows a process before it shows its environment

    @property
    def identity(self) -> WorkerIdentity:
        found = processes.identify(self.pid)
        assert found is not None
        return found

    def line(self) -> str:
        """The next line that it prints."""
        assert self.child.stdout is not None
        return self.child.stdout.readline().strip()

    def end(self) -> None:
        """Kill it with its process group, and wait for it."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.child.wait()
        assert self.child.stdout is not None
        self.child.stdout.close()
