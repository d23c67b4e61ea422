"""A whole server in the test's own process: real store, dispatcher and routes; only the worker is played."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
from fastapi import FastAPI

from epochd.api.server import Server
from epochd.api.service import Service
from epochd.api.tasks.routing import PREFIX
from epochd.core.events import ReportKind
from epochd.core.tickets import AttemptTicket
from tests.support.executors import FakeExecutor

CONFIG = {"dataset": "iris", "target_column": "target", "epochs": 3, "name": "a test"}


def row(epoch: int) -> dict[str, Any]:
    """A history row with the guide's field names."""
    return {
        "epoch": epoch,
        "train_loss": 1 / epoch,
        "train_accuracy": 0.9,
        "val_loss": 2 / epoch,
        "val_accuracy": 0.8,
        "learning_rate": 0.001,
        "time_per_epoch": 0.01,
    }


async def eventually(condition: Callable[[], Awaitable[bool]], within: float = 10) -> None:
    """Wait until a condition that nobody announces holds."""
    async with asyncio.timeout(within):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@dataclass
class PlayedWorker:
    """Speaks for one attempt through the real internal endpoint."""

    http: httpx.AsyncClient
    executor: FakeExecutor
    ticket: AttemptTicket
    number: int = 0
    commands: list[str] = field(default_factory=list)

    async def post(self, reports: list[dict[str, Any]], token: str | None = None) -> httpx.Response:
        return await self.http.post(
            f"/internal/attempts/{self.ticket.task_id}/report",
            json={"attempt": self.ticket.attempt, "reports": reports},
            headers={"Authorization": f"Bearer {token or self.ticket.token}"},
        )

    async def report(self, kind: ReportKind | None = None, **payload: Any) -> str:
        """Send one report, or a heartbeat; the command that comes back."""
        reports = []
        if kind is not None:
            self.number += 1
            reports = [{"number": self.number, "kind": kind, "payload": payload}]
        answer = await self.post(reports)
        assert answer.status_code == 200, answer.text
        self.commands.append(answer.json()["command"])
        return self.commands[-1]

    async def begin(self) -> "PlayedWorker":
        await self.report(ReportKind.STARTED, engine="played", framework="pytorch", resumed=None)
        return self

    async def epochs(self, first: int, last: int) -> None:
        for epoch in range(first, last + 1):
            best = {"loss": 2 / epoch, "accuracy": 0.8, "epoch": epoch}
            await self.report(ReportKind.EPOCH, metrics=row(epoch), best=best, early_stopping={})

    async def end(self, returncode: int = 0) -> None:
        """The process ends."""
        await self.executor.end(self.ticket, returncode, "last line")

    async def pause(self, **checkpoint: Any) -> None:
        await self.report(ReportKind.PAUSED, path="checkpoints/x", epoch=1, step=0, bytes=9, **checkpoint)
        await self.end()

    async def cancel(self) -> None:
        await self.report(ReportKind.CANCELLED)
        await self.end()

    async def complete(self, **metrics: Any) -> None:
        best = {"loss": 0.1, "accuracy": 0.9, "epoch": 3}
        more = {"summary": {"epochs": 3, "metrics": metrics}, "warnings": metrics["warnings"]} if metrics else {}
        payload: dict[str, Any] = {"best": best, "stopped_early": False, "summary": {"epochs": 3}} | more
        await self.report(ReportKind.COMPLETED, artifact="artifacts/models/x", **payload)
        await self.end()

    async def ordered(self, command: str) -> None:
        """Heartbeat until the server wants this."""

        async def wanted() -> bool:
            return await self.report() == command

        await eventually(wanted)


@dataclass
class House:
    """The running server, and ways to use it."""

    app: FastAPI
    executor: FakeExecutor
    http: httpx.AsyncClient

    @property
    def service(self) -> Service:
        service: Service = self.app.state.service
        return service

    async def subscribers(self, number: int, within: float = 10) -> None:
        """Wait until the live feed has exactly so many."""

        async def reached() -> bool:
            return len(self.service.event_bus) == number

        await eventually(reached, within)

    async def get(self, path: str, **options: Any) -> httpx.Response:
        return await self.http.get(PREFIX + path, **options)

    async def post(self, path: str, **options: Any) -> httpx.Response:
        return await self.http.post(PREFIX + path, **options)

    async def start(self, **values: Any) -> str:
        """Start a training; its id."""
        answer = await self.post("/start", json=CONFIG | values)
        assert answer.status_code == 200, answer.text
        task_id: str = answer.json()["task_id"]
        return task_id

    async def worker(self) -> PlayedWorker:
        """The worker that gets the next ticket."""
        ticket = await asyncio.wait_for(self.executor.tickets.get(), 20)
        return PlayedWorker(self.http, self.executor, ticket)

    async def completed(self, **values: Any) -> str:
        """A training that is over; its id."""
        task_id = await self.start(**values)
        worker = await (await self.worker()).begin()
        await worker.epochs(1, 3)
        await worker.complete()
        return task_id


@dataclass
class LiveHouse(House):
    """A house behind a real socket."""

    server: Server


OpenHouse = Callable[..., Awaitable[House]]
