"""A whole server in the test's own process: real store, dispatcher and routes; only the worker is played."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from epochd.api.app import PREFIX, create_app
from epochd.api.server import Server, bind, url_of
from epochd.api.service import Service
from epochd.core.events import ReportKind
from epochd.core.settings import Settings
from epochd.core.tickets import Ticket
from epochd.dispatch.workers.executor import Exit, OnExit

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


class StandIn:
    """An executor without processes: a test takes the tickets and plays the worker."""

    def __init__(self, slots: int = 1) -> None:
        self.slots = slots
        self.tickets: asyncio.Queue[Ticket] = asyncio.Queue()
        self.running: dict[str, Ticket] = {}
        self.error: str | None = None
        self.memory: str | None = None

    async def start(self, on_exit: OnExit, *, has_gpus: bool) -> None:
        self._on_exit = on_exit

    @property
    def free_slots(self) -> int:
        return self.slots - len(self.running)

    async def launch(self, ticket: Ticket) -> None:
        self.running[ticket.task_id] = ticket
        self.tickets.put_nowait(ticket)

    async def end(self, task_id: str, returncode: int = 0) -> None:
        ticket = self.running.pop(task_id)
        await self._on_exit(Exit(task_id, ticket.attempt, returncode, ["last line"]))

    async def kill(self, task_id: str) -> None:
        if task_id in self.running:
            await self.end(task_id, -9)

    async def close(self) -> None:
        for task_id in list(self.running):
            await self.end(task_id, -9)

    def pids(self) -> list[int]:
        return []

    def health(self) -> dict[str, Any]:
        return {"error": self.error, "memory": self.memory}


@dataclass
class PlayedWorker:
    """Speaks for one attempt through the real internal endpoint."""

    http: httpx.AsyncClient
    executor: StandIn
    ticket: Ticket
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

    async def pause(self, **checkpoint: Any) -> None:
        await self.report(ReportKind.PAUSED, path="checkpoints/x", epoch=1, step=0, bytes=9, **checkpoint)
        await self.executor.end(self.ticket.task_id)

    async def cancel(self) -> None:
        await self.report(ReportKind.CANCELLED)
        await self.executor.end(self.ticket.task_id)

    async def complete(self) -> None:
        best = {"loss": 0.1, "accuracy": 0.9, "epoch": 3}
        await self.report(
            ReportKind.COMPLETED, artifact="artifacts/models/x", best=best, stopped_early=False, summary={"epochs": 3}
        )
        await self.executor.end(self.ticket.task_id)

    async def ordered(self, command: str) -> None:
        """Heartbeat until the server wants this."""

        async def wanted() -> bool:
            return await self.report() == command

        await eventually(wanted)


@dataclass
class House:
    """The running server, and ways to use it."""

    app: FastAPI
    executor: StandIn
    http: httpx.AsyncClient

    @property
    def service(self) -> Service:
        service: Service = self.app.state.service
        return service

    async def subscribers(self, number: int, within: float = 10) -> None:
        """Wait until the live feed has exactly so many."""

        async def reached() -> bool:
            return len(self.service.feed) == number

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
        ticket = await asyncio.wait_for(self.executor.tickets.get(), 5)
        return PlayedWorker(self.http, self.executor, ticket)

    async def completed(self, **values: Any) -> str:
        """A training that is over; its id."""
        task_id = await self.start(**values)
        worker = await (await self.worker()).begin()
        await worker.epochs(1, 3)
        await worker.complete()
        return task_id


OpenHouse = Callable[..., Awaitable[House]]


@pytest.fixture
async def open_house(tmp_path: Path) -> AsyncIterator[OpenHouse]:
    """Opens a server with the given settings; closed after the test."""
    closing = []

    async def opened(slots: int = 1, **settings: Any) -> House:
        executor = StandIn(slots)
        app = create_app(Settings(data_dir=tmp_path / "data", slots=slots, **settings), executor=executor)
        context = app.router.lifespan_context(app)
        await context.__aenter__()
        transport = httpx.ASGITransport(app)
        http = httpx.AsyncClient(transport=transport, base_url="http://localhost:8000")
        closing.append((context, http))
        return House(app, executor, http)

    yield opened
    for context, http in closing:
        await http.aclose()
        await context.__aexit__(None, None, None)


@pytest.fixture
async def house(open_house: OpenHouse) -> House:
    return await open_house()


@dataclass
class LiveHouse(House):
    """A house behind a real socket."""

    server: Server


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[LiveHouse]:
    """A real server on a free port, in this event loop."""
    listener = bind("127.0.0.1", 0)
    url, executor = url_of("127.0.0.1", listener), StandIn()
    app = create_app(Settings(data_dir=tmp_path / "data", slots=1), executor=executor, server_url=url)
    server = Server(app, url)
    serving = asyncio.create_task(server.serve([listener]))
    async with httpx.AsyncClient(base_url=url, timeout=10) as http:
        await http.get("/health")
        yield LiveHouse(app, executor, http, server)
    server.should_exit = True
    await serving
